"""Who calls, and what the caller may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Request, Security
from fastapi.security import SecurityScopes  # noqa: TC002 - FastAPI reads it at run time

from serving.access.denials import note_why
from serving.errors import NotAllowedError

if TYPE_CHECKING:
    from collections.abc import Iterable

# Scope -> what it lets a caller do.
SCOPES: Final[dict[str, str]] = {
    "quotes:read": "read the quotes of the own channel",
    "quotes:write": "ask for quotes; they are priced, and stored unless only previewed",
    "quotes:accept": "accept and decline quotes",
    "quotes:review": "ask for, and record, the review of a quote by a person",
    "compare": "compare products side by side",
    "recommend": "rank products for a customer",
    "profile:read": "read risk profiles of customers",
    "events:write": "send orders, returns and claims",
    "consents:write": "record and read consents of customers",
    "expand:ladder": "see every step of the premium",
    "expand:commission": "see the commission",
    "expand:reasons": "see the reasons of the risk premium",
    "admin": "see what every channel does",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes
    ----------
    key_id, name
        Identity of the key and what it is called.
    channel
        Sales channel; None: every channel (the open mode and administrators).
    sub_channels, products
        What the caller may sell through and sell; empty: all.
    scopes
        What the caller may do, of `SCOPES`.
    licence
        Licence number of the channel; who has none may neither compare, preview premiums nor recommend.
    sandbox
        Whether the quotes are for trial only.
    """

    key_id: str
    name: str
    channel: str | None
    scopes: frozenset[str]
    sub_channels: frozenset[str] = field(default=frozenset())
    products: frozenset[str] = field(default=frozenset())
    licence: str | None = None
    sandbox: bool = False

    def need(self, scopes: Iterable[str]) -> None:
        """Refuse who lacks a scope.

        Raises
        ------
        NotAllowedError
            If one is missing.
        """
        for scope in scopes:
            if scope not in self.scopes:
                raise _denied("scope", f"the key has no scope {scope!r}. Hint: it may {SCOPES[scope]}")

    def need_licence(self, deed: str) -> None:
        """Refuse a channel without licence what only a licensed one may do.

        Raises
        ------
        NotAllowedError
            If the channel has no licence.
        """
        if self.licence is None:
            raise _denied("licence", f"only a channel with a licence may {deed}")

    def need_sale(self, product: str, channel: str, sub_channel: str | None) -> None:
        """Refuse a sale of another channel, sub-channel or product than the caller's.

        Raises
        ------
        NotAllowedError
            If the caller may not sell this here.
        """
        if self.channel is not None and channel != self.channel:
            raise _denied(
                "channel", f"the key is of channel {self.channel!r}, not {channel!r}", "/channel", channel
            )
        if self.sub_channels and sub_channel not in self.sub_channels:
            raise _denied(
                "sub-channel",
                f"the key may use {_listed(self.sub_channels)}, not {sub_channel!r}",
                "/sub_channel",
                sub_channel,
            )
        if not self.sells(product):
            raise _denied(
                "product", f"the key may sell {_listed(self.products)}, not {product!r}", "/product", product
            )

    def sells(self, product: str) -> bool:
        """Tell whether the caller may sell a product."""
        return not self.products or product in self.products

    def owns(self, channel: str, sub_channel: str | None) -> bool:
        """Tell whether a stored quote is the caller's; what is not must look as if it did not exist."""
        owned = self.channel is None or (
            channel == self.channel and (not self.sub_channels or sub_channel in self.sub_channels)
        )
        if not owned:
            note_why("not-owned")
        return owned


def _denied(code: str, why: str, pointer: str | None = None, value: str | None = None) -> NotAllowedError:
    note_why(code)
    return NotAllowedError(code, why, pointer, value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names)))


OPEN: Final = Caller("open", "open mode", channel=None, scopes=frozenset(SCOPES), licence="open mode")


async def caller(request: Request, wanted: SecurityScopes) -> Caller:
    """Give who calls, as `Guard` found out, or refuse who may not use the route."""
    who: Caller = request.scope["premia.caller"]
    who.need(wanted.scopes)
    return who


# What each route needs; a route names one of these, or a `Security(caller, scopes=[...])` of its own.
AnyCaller = Annotated[Caller, Security(caller)]
QuoteReader = Annotated[Caller, Security(caller, scopes=["quotes:read"])]
QuoteWriter = Annotated[Caller, Security(caller, scopes=["quotes:write"])]
QuoteAccepter = Annotated[Caller, Security(caller, scopes=["quotes:accept"])]
QuoteReviewer = Annotated[Caller, Security(caller, scopes=["quotes:review"])]
Comparer = Annotated[Caller, Security(caller, scopes=["compare"])]
Recommender = Annotated[Caller, Security(caller, scopes=["recommend"])]
ProfileReader = Annotated[Caller, Security(caller, scopes=["profile:read"])]
EventWriter = Annotated[Caller, Security(caller, scopes=["events:write"])]
ConsentWriter = Annotated[Caller, Security(caller, scopes=["consents:write"])]
