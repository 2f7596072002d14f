"""Signing in and out: when a visitor becomes an account, and when a browser becomes a stranger's.

The rules, for devices that one person owns and for those that several share:

- A visitor without an account becomes the account that signs in: merged, and it can be taken back.
- A browser that still leads to another account is never merged: it forgets that account, and the visit of the one who
  signs in now is theirs alone.
- Signing out takes the browser for a stranger's (``consent.forget_browser``): who uses it next is a fresh visitor.
- Staff who "log in as" a shopper change nothing.
"""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest

from personalization.exceptions import MergeRefused
from personalization.models import Shopper, ShopperMerge
from personalization.tracking import aliases, identity
from personalization.tracking.impersonation import is_impersonated, look_again
from personalization.tracking.merging import ERASED, merge

SIGNED_OUT = "_pz_signed_out"
"""Set on a request whose account signed out, or whose cookie led to another one: its browser is to be forgotten."""
AWAITED = "_pz_login_awaited"
"""Set by the middleware: it links logins at the end of the request, when the marks of "log in as" are set."""
SIGNED_IN = "_pz_signed_in"


def awaits(request: HttpRequest) -> None:
    """Promise that :func:`finish` is called at the request's end."""
    setattr(request, AWAITED, True)


def begin(request: HttpRequest, user: AbstractBaseUser) -> bool:
    """Note that somebody has just signed in; False: nobody promised to finish it, so it has to be done now.

    The packages for "log in as" sign in first and leave their mark afterwards: who it is shows at the request's end.
    """
    look_again(request)
    identity.distrust(request)
    setattr(request, SIGNED_IN, user)
    return bool(getattr(request, AWAITED, False))


def signed_in(request: HttpRequest) -> AbstractBaseUser | None:
    """Return who signed in during this request and is still to be linked."""
    return getattr(request, SIGNED_IN, None)


def link_at_login(request: HttpRequest, user: AbstractBaseUser) -> Shopper | None:
    """Join the visitor to the account that has just signed in, by the rules in the module's docstring.

    Returns the account's shopper; None where staff are behind the request and the account has no shopper yet.
    """
    look_again(request)
    setattr(request, SIGNED_IN, None)
    account = Shopper.objects.filter(user_id=user.pk).first()
    if is_impersonated(request):
        identity.remember(request, account)
        return account
    alias = identity.visitor_alias(request)
    visitor = identity.visitor_shopper(request)
    account = account or identity.shopper_for_user(user)
    if visitor is not None and visitor.pk != account.pk:
        try:
            merge(visitor, account, reason=ShopperMerge.Reason.LOGIN)
        except MergeRefused as refused:
            if refused.reason == ERASED:  # at this moment, in another window: who signs in is somebody new
                account = identity.shopper_for_user(user)
            else:  # another account's browser, whatever became of its session
                if alias is not None:
                    aliases.end([alias])
                setattr(request, SIGNED_OUT, True)
    getattr(request, "session", {}).pop(identity.SESSION_KEY, None)
    identity.remember(request, account)
    return account
