"""Each call as a value: what is sent, and how the answer is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote as quoted
from uuid import uuid4

from premia_client import models
from premia_client.errors import problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

M = TypeVar("M", bound=models.Model)
Body = models.Model | dict[str, Any]


@dataclass(frozen=True)
class Call(Generic[M]):
    """One request, before it is sent. What writes has an idempotency key, so that it can be sent again."""

    method: str
    path: str
    answer: type[M]
    body: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Give the request as httpx sends it."""
        headers = {} if self.key is None else {"Idempotency-Key": self.key}
        return http.build_request(
            self.method, self.path, json=self.body, params=dict(self.params), headers=headers
        )

    def read(self, answer: httpx.Response) -> M:
        """Read the answer, or raise its problem."""
        if answer.is_error:
            raise problem_of(answer)
        return self.answer.model_validate_json(answer.content)


def _sent(body: Body) -> dict[str, Any]:
    return body.model_dump(mode="json", exclude_unset=True) if isinstance(body, models.Model) else body


def quote(body: Body, key: str | None, expand: Sequence[str] | None) -> Call[models.QuoteAnswer]:
    """Price and keep."""
    return _write("/v1/quotes", body, key, expand)


def draft(body: Body, key: str | None) -> Call[models.QuoteAnswer]:
    """Keep what cannot be priced yet."""
    return _write("/v1/quotes:draft", body, key)


def step(quote_id: str, verb: str, body: Body, key: str | None) -> Call[models.QuoteAnswer]:
    """Take a quote one step on."""
    return _write(f"/v1/quotes/{quoted(quote_id, safe='')}/{verb}", body, key)


def preview(body: Body) -> Call[models.QuoteAnswer]:
    """Price for a look."""
    return Call("POST", "/v1/quotes:preview", models.QuoteAnswer, _sent(body))


def compare(options: Sequence[Body]) -> Call[models.Comparison]:
    """Put covers side by side."""
    body = {"options": [{"request": _sent(option)} for option in options]}
    return Call("POST", "/v1/quotes:compare", models.Comparison, body)


def batch(requests: Sequence[Body], key: str | None) -> Call[models.BatchAnswers]:
    """Price many."""
    body = {"requests": [_sent(one) for one in requests]}
    return Call("POST", "/v1/quotes:batch", models.BatchAnswers, body, key=key or str(uuid4()))


def get(quote_id: str, expand: Sequence[str] | None) -> Call[models.QuoteAnswer]:
    """Read a quote."""
    path = f"/v1/quotes/{quoted(quote_id, safe='')}"
    return Call("GET", path, models.QuoteAnswer, params=_expand(expand))


def steps(quote_id: str) -> Call[models.Steps]:
    """Read the life of a quote."""
    return Call("GET", f"/v1/quotes/{quoted(quote_id, safe='')}/steps", models.Steps)


def page(cursor: str | None, limit: int) -> Call[models.QuotePage]:
    """Read a page of quotes."""
    params = {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
    return Call("GET", "/v1/quotes", models.QuotePage, params=params)


def verify(certificate: Body) -> Call[models.Verification]:
    """Ask what a certificate is worth."""
    body = certificate.model_dump(mode="json") if isinstance(certificate, models.Model) else certificate
    return Call("POST", "/v1/quotes:verify", models.Verification, body)


def verification_keys() -> Call[models.VerificationKeys]:
    """Fetch the public keys."""
    return Call("GET", "/v1/verification-keys", models.VerificationKeys)


def _expand(expand: Sequence[str] | None) -> dict[str, str]:
    return {} if expand is None else {"expand": ",".join(expand)}


def _write(
    path: str, body: Body, key: str | None, expand: Sequence[str] | None = None
) -> Call[models.QuoteAnswer]:
    return Call("POST", path, models.QuoteAnswer, _sent(body), _expand(expand), key or str(uuid4()))
