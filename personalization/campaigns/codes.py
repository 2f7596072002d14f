"""Coupon codes: drawn from a CSPRNG, found by keyed hash, kept only as ciphertext."""

from __future__ import annotations

import secrets as chance
from functools import partial
from typing import Any

from django.views.decorators.debug import sensitive_variables

from personalization.models import Coupon, GiftCard
from personalization.privacy import rotation
from personalization.tracking import secrets

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXY"
"""31 symbols without the look-alikes 0 and O, 1 and I, 2 and Z: 16 of them carry 79 bits."""
LENGTH = 16
MAX_INPUT = 64


def generate() -> str:
    """Return a new code of 16 symbols in four groups."""
    symbols = [chance.choice(ALPHABET) for _ in range(LENGTH)]
    return "-".join("".join(symbols[start : start + 4]) for start in range(0, LENGTH, 4))


@sensitive_variables()
def normalise(code: str) -> str:
    """Return the code as it is hashed: capitals, without spaces and dashes."""
    return "".join(code.upper().split()).replace("-", "")[:MAX_INPUT]


@sensitive_variables()
def digest(code: str) -> str:
    """Return the lookup hash of a code under the newest key."""
    return secrets.digest(normalise(code), "coupon")


@sensitive_variables()
def digests(code: str) -> list[str]:
    """Return the lookup hashes under every key still accepted."""
    return secrets.digests(normalise(code), "coupon")


@sensitive_variables()
def seal(code: str) -> str:
    """Return the ciphertext of a code."""
    return secrets.encrypt(code)


def renewed(row: Any) -> dict[str, Any]:
    """Return the columns of a coupon or a card under the newest key; none if they are, or if no key opens its code."""
    if not row.code_ciphertext or secrets.is_newest(row.code_ciphertext):
        return {}
    code = reveal(row.code_ciphertext)
    return {"code_digest": digest(code), "code_ciphertext": seal(code)} if code else {}


def register_rooms() -> None:
    """Have codes renewed when the keys are."""
    for name, model in (("coupons", Coupon), ("gift_cards", GiftCard)):
        rows = model._default_manager.only
        rotation.register(
            rotation.Room(
                name,
                partial(rows, "pk", "code_digest", "code_ciphertext"),
                ("code_digest", "code_ciphertext"),
                renewed,
            )
        )


def reveal(ciphertext: str) -> str:
    """Return the code for its rightful holder; empty if no key fits any more."""
    return secrets.decrypt(ciphertext)
