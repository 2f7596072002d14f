"""Money at the edges: whole minor units inside, Decimal major units where people type and read.

Exact both ways: an amount with more decimals than its currency has is refused, never rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

# ISO 4217: every currency that does not have two decimals.
_EXPONENTS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}


def exponent(currency: str) -> int:
    """Return the number of decimals of a currency; two for a code that ISO 4217 lists no exception for."""
    return _EXPONENTS.get(currency.upper(), 2)


def to_minor(amount: Decimal, currency: str) -> int:
    """Return ``amount`` in minor units. Raise ValueError if it has more decimals than the currency."""
    if not amount.is_finite():
        raise ValueError(f"{amount} is not an amount of money.")
    scaled = amount.scaleb(exponent(currency))
    minor = int(scaled)
    if minor != scaled:
        raise ValueError(f"{currency} has {exponent(currency)} decimals; {amount} has more.")
    return minor


def from_minor(minor: int, currency: str) -> Decimal:
    """Return minor units as an amount with exactly the currency's decimals."""
    return Decimal(minor).scaleb(-exponent(currency))


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount inside a sentence. Its own text, ``EUR 1,234.50``, is for logs and programs in any language.

    People read it as :mod:`personalization.ports.money` words it.
    """

    minor: int
    currency: str

    def __str__(self) -> str:
        return f"{self.currency} {from_minor(self.minor, self.currency):,f}"
