"""Errors of the serving room.

ServingError
├── UnknownProductError      no such product is in service
├── NotInServiceError        nobody has put a model or a rating plan of the product into service
├── UnknownBundleError       no such bundle is in service
├── BundleMembersError       a request names other members than the bundle has
├── MemberError              a member of a bundle cannot be priced as it stands; holds the error
├── UnknownQuoteError        no quote has this id
│   └── ErasedQuoteError         its contents were erased with the customer's key
├── StepConflictError        another step has taken a quote on in the meantime
├── ReplyConflictError       a request under this idempotency key has been answered already
├── CursorError              a cursor is none that a page has given
├── PriceMismatchError       a quote was accepted at another price than its own
├── DecisionError            what a person decided is no decision on this quote
├── ExpandError              a part of the answer that does not exist was asked for
├── RepeatError              an idempotency key was used for another request
├── InFlightError            the request under an idempotency key is under way
├── UnknownCustomerError     the serving store has never heard of this customer
├── UnknownPriceTestError    no file declares a price test of this name
├── UnknownOfferTestError    no file declares an offer test of this name
├── UnknownPurposeError      no source of features has this purpose
│   └── WithdrawnPurposeError    so that what a request withdraws would withhold nothing
├── MissingEntityError       the product's profile needs a customer or seller that was not named
├── NoChampionError          no model of the product has been promoted
├── BundleMismatchError      a model was trained for another product file than the one in service
├── PortfolioError           a portfolio cannot be repriced as it stands
├── ImpactError              two ways of pricing cannot be compared
├── RequestError             a file holds no request of the documented form
├── WebhookError             a webhook cannot be kept as it stands, or may not be called
├── SettingsError            a setting cannot be used as it stands
├── NotAllowedError          the caller's key does not allow this
├── AccessKeyError           an API key cannot be made, found or changed as asked
└── StoreError               the serving store is missing or of another layout
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable


class ServingError(Exception):
    """Root of everything the serving room refuses."""


class UnknownProductError(ServingError):
    """No such product is in service."""

    def __init__(self, product: str, known: Iterable[str], why: str | None = None) -> None:
        self.product = product
        self.known = tuple(sorted(known))
        hint = None if why else nearest(product, self.known)
        super().__init__(
            f"product {product!r} is not in service"
            + (f": {why}" if why else f"; allowed: {', '.join(self.known) or 'none yet'}")
            + (f". Hint: {hint}" if hint else "")
        )


class NotInServiceError(ServingError):
    """Nobody has put a model or a rating plan of the product into service, or both were taken out."""


class UnknownBundleError(ServingError):
    """No such bundle is in service."""

    def __init__(self, bundle: str, known: Iterable[str], products: Iterable[str]) -> None:
        self.bundle = bundle
        self.known = tuple(sorted(known))
        super().__init__(
            f"bundle {bundle!r} is not in service; allowed: {', '.join(self.known) or 'none'}. Hint: all its "
            f"members must be; in service are {', '.join(sorted(products)) or 'none'}"
        )


class BundleMembersError(ServingError):
    """A request names other members than the bundle has."""

    def __init__(self, bundle: str, given: Iterable[str], members: Iterable[str]) -> None:
        self.given, self.members = tuple(given), tuple(members)
        super().__init__(
            f"members {', '.join(self.given) or 'none'} are not those of {bundle!r}; "
            f"allowed: exactly {', '.join(self.members)}"
        )


class MemberError(ServingError):
    """A member of a bundle cannot be priced as it stands.

    Attributes
    ----------
    product, error
        Which, and why.
    part
        Where in the request it stands: `members`, or `risks` of which offers are made.
    """

    def __init__(self, product: str, error: Exception, part: str = "members") -> None:
        self.product, self.error, self.part = product, error, part
        super().__init__(f"{product}: {error}")


class UnknownQuoteError(ServingError):
    """No quote has this id."""


class ErasedQuoteError(UnknownQuoteError):
    """The contents of a quote were erased with the key of its customer."""


class StepConflictError(ServingError):
    """Another step has taken a quote on in the meantime."""


class ReplyConflictError(ServingError):
    """A request under this idempotency key has been answered already."""


class CursorError(ServingError):
    """A cursor is none that a page has given."""


class PriceMismatchError(ServingError):
    """A quote was accepted at another price than its own."""

    def __init__(self, asked_minor: int, price_minor: int) -> None:
        self.asked_minor = asked_minor
        self.price_minor = price_minor
        super().__init__(f"price_minor is {asked_minor}, the quote says {price_minor}. Hint: show it anew")


class DecisionError(ServingError):
    """What a person decided is no decision on this quote."""

    def __init__(self, pointer: str, code: str, why: str, allowed: str | None = None) -> None:
        self.pointer = pointer
        self.code = code
        self.allowed = allowed
        super().__init__(why)


class ExpandError(ServingError):
    """A part of the answer that does not exist was asked for."""

    def __init__(self, part: str, known: Iterable[str]) -> None:
        self.part = part
        self.known = tuple(known)
        super().__init__(f"expand={part!r} is not a part of the answer; allowed: {', '.join(self.known)}")


class RepeatError(ServingError):
    """An idempotency key was used for another request."""


class InFlightError(ServingError):
    """The request under this idempotency key is under way."""


class UnknownCustomerError(ServingError):
    """The serving store has never heard of this customer."""


class UnknownPriceTestError(ServingError):
    """No file declares a price test of this name."""


class UnknownOfferTestError(ServingError):
    """No file declares an offer test of this name."""


class UnknownPurposeError(ServingError):
    """No source of features has this purpose."""

    def __init__(self, purpose: str, known: Iterable[str]) -> None:
        self.purpose = purpose
        self.known = tuple(sorted(known))
        super().__init__(f"no feature is used for {purpose!r}; allowed: {', '.join(self.known)}")


class WithdrawnPurposeError(UnknownPurposeError):
    """A request withdraws a purpose that does not exist, so that nothing would be withheld."""

    def __init__(self, place: int, purpose: str, known: Iterable[str]) -> None:
        self.place = place
        super().__init__(purpose, known)


class MissingEntityError(ServingError):
    """The product's profile needs a customer or seller that was not named."""

    def __init__(self, field: str, product: str) -> None:
        self.field = field
        super().__init__(f"product {product!r} is priced from the history behind {field}; give it")


class NoChampionError(ServingError):
    """No model of the product has been promoted."""


class BundleMismatchError(ServingError):
    """A model was trained for another product file than the one in service."""


class PortfolioError(ServingError):
    """A portfolio cannot be repriced as it stands."""


class ImpactError(ServingError):
    """Two ways of pricing cannot be compared on a portfolio."""


class RequestError(ServingError):
    """A file holds no request of the documented form."""


class NotAllowedError(ServingError):
    """The caller's key does not allow this."""

    def __init__(self, code: str, why: str, pointer: str | None = None, value: str | None = None) -> None:
        self.code = code
        self.pointer = pointer
        self.value = value
        super().__init__(why)


class WebhookError(ServingError):
    """A webhook cannot be kept as it stands, or may not be called."""


class SettingsError(ServingError):
    """A setting cannot be used as it stands."""


class AccessKeyError(ServingError):
    """An API key cannot be made, found or changed as asked."""


class StoreError(ServingError):
    """The serving store is missing or of another layout."""
