"""Whether a member of staff sits behind a request that looks like a shopper's ("log in as").

What they do is theirs, not the shopper's: nothing is recorded as behaviour, no consent is given, nobody is merged.
"""

from __future__ import annotations

from django.http import HttpRequest

from personalization.ports import adapters

SESSION_MARKS = ("_impersonate", "hijack_history", "is_hijacked_user", "loginas_from_user", "exit_users_pk")
"""What django-impersonate, django-hijack (now and before 3.0), django-loginas and django-su leave in the session."""
_CACHE = "_pz_impersonated"


def is_impersonated(request: HttpRequest) -> bool:
    """Return whether staff are behind this request: by a known package's mark, or by the host's own word.

    Costs no query: only somebody signed in is looked at, and their session is loaded already.
    """
    known = getattr(request, _CACHE, None)
    if known is None:
        known = _look(request)
        setattr(request, _CACHE, known)
    return bool(known)


def look_again(request: HttpRequest) -> None:
    """Forget the answer: somebody signs in, and the packages leave their marks only after that."""
    if hasattr(request, _CACHE):
        delattr(request, _CACHE)


def _look(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return False
    session = getattr(request, "session", {})
    if any(mark in session for mark in SESSION_MARKS):
        return True
    hook = adapters.impersonation()
    return hook is not None and bool(hook(request))
