"""Chance without chance: every draw is a salted, versioned hash, so that a decision can be computed again."""

from __future__ import annotations

import hashlib

VERSION = "v1"


def unit(salt: str, *parts: object) -> float:
    """Return a number in [0, 1) determined by the salt and the parts; uniform over distinct parts."""
    text = "\x1f".join((VERSION, salt, *map(str, parts)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # 53 bits: all that a float holds below 1


def in_holdout(salt: str, shopper_key: object, percent: float) -> bool:
    """Return whether this shopper is withheld from all personalisation."""
    return unit(salt, "holdout", shopper_key) * 100 < percent
