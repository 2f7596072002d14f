"""The signed token by which a page's own script proves its page: it cannot send a CSRF header at unload."""

from __future__ import annotations

from django.core import signing
from django.http import HttpRequest

from personalization.tracking import identity, secrets

SALT = "personalization.page"
AGE_SECONDS = 86_400


def page_token(request: HttpRequest) -> str:
    """Return the token that the page script sends along with its events.

    Its first part differs from shopper to shopper, so that the script never sends one's events for another. It is a
    hash: what the cookie hides from scripts, the page does not tell them.
    """
    shopper = identity.shopper_for(request)
    owner = "page" if shopper is None else secrets.digest(str(shopper.key), "page")[:16]
    return signing.TimestampSigner(salt=SALT).sign(owner)


def is_page_token(token: str) -> bool:
    """Return whether one of our pages carried this token, not longer than a day ago."""
    try:
        return bool(token) and bool(signing.TimestampSigner(salt=SALT).unsign(token, max_age=AGE_SECONDS))
    except (signing.BadSignature, ValueError):  # ValueError: not even text that can be signed
        return False
