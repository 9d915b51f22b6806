"""What each route needs, as the OpenAPI document says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute

from serving.access.caller import SCOPES, caller
from serving.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastapi import FastAPI
    from starlette.routing import BaseRoute

SCHEMES: dict[str, Any] = {
    "key": {"type": "http", "scheme": "bearer", "description": "`premia_<live|test>_<key id>_<secret>`"},
    "token": {
        "type": "oauth2",
        "flows": {"clientCredentials": {"tokenUrl": "/v1/oauth/token", "scopes": SCOPES}},
    },
}
REFUSALS = {
    "401": "Who calls is not known",
    "403": "The key does not allow this",
    "429": "The key has used up its calls, or too many keys that do not exist came from the address",
}


def all_routes(routes: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    """Give every route, those of included routers too; none of ours has a prefix."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from all_routes(included.routes)


def scopes_of(route: APIRoute) -> list[str] | None:
    """Give the scopes that a route needs; None when it asks for no caller."""
    for needed in route.dependant.dependencies:
        if needed.call is caller:
            return list(needed.own_oauth_scopes or [])
    return None


def document_access(app: FastAPI) -> None:
    """Say in the OpenAPI document who may call what, and how it is refused."""
    document = app.openapi()
    document.setdefault("components", {})["securitySchemes"] = SCHEMES
    refusal = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for route in all_routes(app.routes):
        scopes = scopes_of(route)
        if scopes is None:
            continue
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            operation["security"] = [{"key": []}, {"token": scopes}]
            for status, why in REFUSALS.items():
                operation["responses"].setdefault(status, {"description": why, **refusal})
