"""The kill switch of a population: one button that stops every offer at once.

While it is engaged nothing is shown, claimed or reserved. What is held already can still be redeemed, released and
refunded: an order in flight must not break. Pages read a copy that is at most two seconds old; claiming and
reserving ask the database in their own transaction.
"""

from __future__ import annotations

import time
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.utils import timezone
from django.utils.translation import gettext_noop

from personalization.exceptions import InvalidTransition
from personalization.models import Switch, SwitchChange
from personalization.models.prepared import Prepared
from personalization.tracking.checking import storable

REASON = "switched_off"
TTL_SECONDS = 2.0
PERMISSION = "personalization.stop_campaign"
_SWITCH = Prepared(lambda: Switch.objects.all(), "population")
_cache: dict[str, tuple[float, bool]] = {}


def engaged(population: str) -> bool:
    """Return whether everything is stopped, as known at most two seconds ago in this process."""
    cached = _cache.get(population)
    if cached is None or cached[0] < time.monotonic():
        until = time.monotonic() + TTL_SECONDS  # counted from before the query: what it answers may be as old
        cached = (until, engaged_now(population))
        _cache[population] = cached
    return cached[1]


def engaged_now(population: str) -> bool:
    """Return whether everything is stopped, as the database has it (one query)."""
    switch = _SWITCH.get(population)
    return switch is not None and switch.engaged


def engage(population: str, by: Any = None, reason: str = "") -> bool:
    """Stop everything in a population; False if it was stopped already (the first reason is kept).

    ``by`` None is the system or a program. Raises InvalidTransition without permission or without a reason.
    """
    if not storable(reason).strip():
        raise InvalidTransition(gettext_noop("Say why everything is stopped."))
    return _turn(population, to=True, by=by, reason=reason)


def open(population: str, by: Any = None, reason: str = "") -> bool:
    """Let a population's campaigns go on; False if nothing was stopped. Raises InvalidTransition."""
    return _turn(population, to=False, by=by, reason=reason)


def state(population: str) -> Switch | None:
    """Return the switch with who turned it last, when and why; None if nobody ever did."""
    return Switch.objects.select_related("by").filter(population=population).first()


def history(population: str, most: int = 10) -> list[SwitchChange]:
    """Return the latest changes, newest first."""
    return list(SwitchChange.objects.select_related("by").filter(population=population).order_by("-pk")[:most])


def _turn(population: str, *, to: bool, by: Any, reason: str) -> bool:
    if by is not None and not by.has_perm(PERMISSION):
        raise InvalidTransition(gettext_noop("You may not stop or open all campaigns."), reason="permission")
    given: dict[str, Any] = {"reason": storable(reason).strip()[:300], "by": by, "at": timezone.now()}
    with transaction.atomic():
        Switch.objects.get_or_create(population=population)
        turned = Switch.objects.filter(population=population, engaged=not to).update(engaged=to, **given)
        if turned:
            SwitchChange.objects.create(population=population, engaged=to, **given)
    forget()
    return bool(turned)


def forget(**kwargs: Any) -> None:
    """Drop the copy of this process."""
    _cache.clear()


for _signal, _name in ((post_save, "save"), (post_delete, "delete")):
    _signal.connect(forget, sender=Switch, dispatch_uid=f"personalization.switch.{_name}")
