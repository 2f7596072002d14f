"""Keyed hashes and encryption for pseudonyms and codes, with key rotation.

Keys come from PERSONALIZATION["SECRET_KEYS"], newest first, or are derived from Django's SECRET_KEY.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet as _Fernet
from cryptography.fernet import InvalidToken, MultiFernet
from django.conf import settings
from django.core.signals import setting_changed
from django.utils.encoding import force_bytes

from personalization import conf

_PSEUDONYM = "pseudonym"


@lru_cache(maxsize=1)
def _keys() -> tuple[bytes, ...]:
    material: list[str | bytes] = [*conf.get().secret_keys] or [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return tuple(hashlib.sha256(b"personalization:" + force_bytes(key)).digest() for key in material)


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting in {"PERSONALIZATION", "SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        _keys.cache_clear()


setting_changed.connect(_forget, dispatch_uid="personalization.secrets")


def digest(value: str, purpose: str) -> str:
    """Return the keyed hash (HMAC-SHA-256, hex) of a value under the newest key."""
    return _digest(_keys()[0], value, purpose)


def digests(value: str, purpose: str) -> list[str]:
    """Return the hashes under every key, newest first: for looking up what an older key stored."""
    return [_digest(key, value, purpose) for key in _keys()]


def _digest(key: bytes, value: str, purpose: str) -> str:
    begun = _begun(key).copy()
    begun.update(f"{purpose}:{value}".encode())
    return begun.hexdigest()


@lru_cache(maxsize=8)
def _begun(key: bytes) -> hmac.HMAC:
    """Return the HMAC of nothing yet under a key: a copy of it is sooner made than a new one."""
    return hmac.new(key, digestmod="sha256")


def pseudonym(identity: str) -> str:
    """Return the keyed pseudonym of somebody, for logs and exports: it tells two people apart, and leads to nobody."""
    return digest(identity, _PSEUDONYM)


def pseudonyms(identity: str) -> list[str]:
    """Return the pseudonyms under every key, newest first."""
    return digests(identity, _PSEUDONYM)


def _cipher() -> MultiFernet:
    return _cipher_of(_keys())


@lru_cache(maxsize=4)
def _cipher_of(keys: tuple[bytes, ...]) -> MultiFernet:
    return MultiFernet([_Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def encrypt(value: str) -> str:
    """Return ciphertext under the newest key."""
    return _cipher().encrypt(value.encode()).decode()


def decrypt(token: str) -> str:
    """Return the plain text; an empty string if no key fits any more."""
    try:
        return _cipher().decrypt(token.encode()).decode()
    except InvalidToken:
        return ""


def rotate(token: str) -> str | None:
    """Return the same secret encrypted under the newest key; None if no key fits any more."""
    try:
        return _cipher().rotate(token.encode()).decode()
    except InvalidToken:
        return None


def is_newest(token: str) -> bool:
    """Return whether the newest key opens this."""
    try:
        _cipher_of((_keys()[0],)).decrypt(token.encode())
    except InvalidToken:
        return False
    return True
