"""Money: integer minor units on the inside, decimal strings on the outside."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from pricing.errors import CurrencyError

# Digits after the decimal point, ISO 4217.
EXPONENT = {"CNY": 2, "EUR": 2, "USD": 2, "GBP": 2, "HKD": 2, "SGD": 2, "JPY": 0, "KRW": 0}


def exponent(currency: str) -> int:
    """Digits after the decimal point of a currency (ISO 4217).

    Raises
    ------
    CurrencyError
        If the currency is not known here.
    """
    if currency not in EXPONENT:
        raise CurrencyError(f"currency {currency!r} is unknown; allowed: {', '.join(sorted(EXPONENT))}")
    return EXPONENT[currency]


def to_minor(amount: str | Decimal, currency: str) -> int:
    """Read a decimal amount as minor units, exactly.

    Parameters
    ----------
    amount
        Decimal text or `Decimal` in major units, for example `"12.50"`.
    currency
        ISO 4217 code.

    Raises
    ------
    CurrencyError
        If the text is no finite decimal or has more digits than the currency.
    """
    try:
        scaled = Decimal(amount).scaleb(exponent(currency))
    except InvalidOperation as error:
        raise CurrencyError(f"{amount!r} is not a decimal amount") from error
    if not scaled.is_finite() or scaled != scaled.to_integral_value():
        raise CurrencyError(f"{amount!r} has more digits than {currency} has minor units")
    return int(scaled)


def from_minor(minor: int, currency: str) -> str:
    """Write minor units as a decimal string in major units, for example `"12.50"`."""
    digits = exponent(currency)
    return f"{Decimal(int(minor)).scaleb(-digits):.{digits}f}"


@dataclass(frozen=True)
class Money:
    """An amount of one currency.

    Attributes
    ----------
    minor
        Integer minor units (fen, cents).
    currency
        ISO 4217 code.
    """

    minor: int
    currency: str

    def __add__(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise CurrencyError(f"cannot add {other.currency} to {self.currency}")
        return Money(self.minor + other.minor, self.currency)

    def __str__(self) -> str:
        return f"{from_minor(self.minor, self.currency)} {self.currency}"
