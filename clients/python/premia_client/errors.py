"""What the service refuses, as exceptions.

PremiaError
├── ConnectionFailed    no answer came
└── Problem             the service answered with a problem (RFC 9457)
    ├── NotAllowed          401, 403
    ├── NotFound            404
    ├── Conflict            409: past this step, another price, under way
    ├── Invalid             422: `errors` point at the fields
    └── ServiceBusy         429, 503: after all retries
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from premia_client import models

if TYPE_CHECKING:
    import httpx


class PremiaError(Exception):
    """Root of everything the client raises."""


class ConnectionFailed(PremiaError):
    """No answer came; a request that writes may be sent again with the same key."""


class Problem(PremiaError):
    """The service answered with a problem.

    Attributes
    ----------
    status, kind, detail
        HTTP status, last part of the type, and what was wrong in words.
    errors, links, trace_id
        Faulty fields by JSON pointer, what can be done instead, and how the operator finds the request.
    """

    def __init__(self, status: int, problem: models.Problem | None, text: str) -> None:
        self.status = status
        self.kind = problem.type.rsplit("/", 1)[-1] if problem else "unknown"
        self.detail = problem.detail if problem else text[:200]
        self.errors = problem.errors if problem else []
        self.links = problem.links if problem else {}
        self.trace_id = problem.trace_id if problem else None
        super().__init__(f"{status} {self.kind}: {self.detail}")


class NotAllowed(Problem):
    """The key, or the lack of a licence, does not allow this."""


class NotFound(Problem):
    """There is none, or it belongs to another channel."""


class Conflict(Problem):
    """The quote is past this step, has another price, or the request is under way."""


class Invalid(Problem):
    """The request is not usable; `errors` point at its fields."""


class ServiceBusy(Problem):
    """The service took no request, after all retries."""


KINDS: dict[int, type[Problem]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: ServiceBusy,
    503: ServiceBusy,
}


def problem_of(answer: httpx.Response) -> Problem:
    """Give the exception of an answer of 400 or more."""
    found: models.Problem | None = None
    try:
        body: Any = answer.json()
        found = models.Problem.model_validate(body)
    except (ValueError, ValidationError):
        found = None
    return KINDS.get(answer.status_code, Problem)(answer.status_code, found, answer.text)
