"""`POST /v1/oauth/token`: client credentials (RFC 6749 section 4.4); key id and secret for a token."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request  # noqa: TC002 - FastAPI reads it at run time
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from serving.access.credentials import Credentials
from serving.access.denials import Denial
from serving.access.guard import address_of
from serving.access.tokens import LIFETIME, Token

if TYPE_CHECKING:
    from fastapi import FastAPI

    from serving.access.desk import Desk
    from serving.access.keyring import Shown

FORM: Final = "application/x-www-form-urlencoded"
NEVER_STORED: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenAnswer(BaseModel):
    """A token (RFC 6749 section 5.1)."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - a word of the standard
    expires_in: int = Field(description="Seconds.")
    scope: str = Field(description="What it allows, names with spaces between.")


class TokenError(BaseModel):
    """Why there is no token (RFC 6749 section 5.2)."""

    error: str
    error_description: str


@dataclass(frozen=True, slots=True)
class Refused(Exception):  # noqa: N818 - never leaves this module
    """Why there is no token."""

    error: str
    description: str
    status: int = 400
    wait: int | None = None


BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"type": "string", "const": "client_credentials"},
                        "scope": {"type": "string"},
                        "client_id": {"type": "string", "description": "Key id; or by HTTP Basic."},
                        "client_secret": {"type": "string", "description": "Secret of the key."},
                    },
                },
                "example": {"grant_type": "client_credentials", "scope": "quotes:write"},
            }
        },
    }
}


def add_token_route(app: FastAPI, desk: Desk | None) -> None:
    """Offer tokens."""
    answers: dict[int | str, dict[str, Any]] = {
        400: {"model": TokenError, "description": "The request cannot be granted"},
        401: {"model": TokenError, "description": "The key is not known"},
        429: {"model": TokenError, "description": "Too many tries"},
    }

    @app.post("/v1/oauth/token", responses=answers, openapi_extra=BODY, response_model=TokenAnswer)
    async def give_token(request: Request) -> JSONResponse:
        """Exchange a key for a token that is good for an hour."""
        try:
            return JSONResponse(await _grant(request, desk), headers=NEVER_STORED)
        except Refused as refused:
            return _refusal(request, desk, refused)


async def _grant(request: Request, desk: Desk | None) -> dict[str, Any]:
    form = await _form(request)
    if desk is None:
        raise Refused("invalid_client", "the service runs in the open mode and knows no keys", 401)
    shown = _authenticate(request, form, desk)
    if "grant_type" not in form:
        raise Refused("invalid_request", "grant_type is missing; allowed: client_credentials")
    if form["grant_type"] != "client_credentials":
        raise Refused("unsupported_grant_type", "allowed: client_credentials")
    scopes = frozenset(form["scope"].split()) if form.get("scope") else shown.caller.scopes
    if not scopes <= shown.caller.scopes:
        raise Refused("invalid_scope", "the key has not all of these scopes")
    now = desk.clock()
    token = Token(shown.caller.key_id, shown.secret, scopes, now + LIFETIME)
    return TokenAnswer(
        access_token=desk.signer.sign(token, now),
        expires_in=int(LIFETIME.total_seconds()),
        scope=" ".join(sorted(scopes)),
    ).model_dump()


async def _form(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != FORM:
        raise Refused("invalid_request", f"the body is of type {FORM}")
    try:
        pairs = parse_qsl(
            (await request.body()).decode("ascii"), strict_parsing=True, max_num_fields=16, errors="strict"
        )
    except ValueError as error:
        raise Refused("invalid_request", "the body is no form") from error
    if len(dict(pairs)) != len(pairs):
        raise Refused("invalid_request", "a parameter is given twice")
    return dict(pairs)


def _authenticate(request: Request, form: dict[str, str], desk: Desk) -> Shown:
    address, now = address_of(request.scope), monotonic()
    key_id, secret = _client(request, form)
    wait = desk.failures.must_wait(address, key_id, now)
    if wait is not None:
        raise Refused("invalid_client", f"too many tries; wait {wait} s", 429, wait)
    # Who holds the secret knows whether the key is for trial: both spellings are tried, always.
    tries = [desk.keys.by_key(Credentials(key_id, secret, test).text, desk.clock()) for test in (False, True)]
    found = [shown for shown in tries if not isinstance(shown, str)]
    if not found:
        desk.failures.failed(address, now)
        raise Refused("invalid_client", "the key is not known, or has ended", 401)
    (shown,) = found
    desk.failures.works(address, key_id)
    if not shown.bucket.take(now):
        raise Refused("invalid_client", "the key has used up its calls", 429, shown.bucket.wait())
    return shown


def _client(request: Request, form: dict[str, str]) -> tuple[str, str]:
    basic = request.headers.get("authorization")
    if basic is None:
        return form.get("client_id", ""), form.get("client_secret", "")
    if "client_secret" in form:
        raise Refused("invalid_request", "the secret is given twice: in the head and in the body")
    kind, _, text = basic.partition(" ")
    try:
        key_id, _, secret = base64.b64decode(text, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError) as error:
        raise Refused("invalid_client", "Authorization is no HTTP Basic", 401) from error
    if kind.lower() != "basic":
        raise Refused("invalid_client", "Authorization is no HTTP Basic", 401)
    return unquote_plus(key_id), unquote_plus(secret)


def _refusal(request: Request, desk: Desk | None, refused: Refused) -> JSONResponse:
    if desk is not None and refused.status != 400:
        scope = request.scope
        desk.deny(Denial(refused.status, "token", None, address_of(scope), "POST", scope["path"]))
    body = TokenError(error=refused.error, error_description=refused.description).model_dump()
    answer = JSONResponse(body, refused.status, NEVER_STORED)
    if refused.status == 401:
        answer.headers["WWW-Authenticate"] = 'Basic realm="premia"'
    if refused.wait is not None:
        answer.headers["Retry-After"] = str(refused.wait)
    return answer
