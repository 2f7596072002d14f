"""The button *Less like this* on a rendered offer, and taking it back: each counts from the next decision on.

Only what the shopper was shown can be dismissed. A second press changes nothing, also one at the same moment: both
carry the key of the showing and of the wish that was the latest before. The showing is in it because a key is taken for
long after its wish is deleted: whoever is shown the offer again then can dismiss it again.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.db import connection
from django.http import HttpRequest
from django.utils import timezone

from personalization.exceptions import PersonalizationError
from personalization.models import Event, EventClaim, Exposure, Shopper, claim_key
from personalization.models.events import WISHES
from personalization.tracking.event_types import LESS, NEITHER
from personalization.tracking.ingest import track
from personalization.tracking.parsing import FUTURE_TOLERANCE

SOURCE = "server"
NAMESPACE = uuid.UUID("5b0f7a3e-6d0c-4f2e-9a35-1f0f2c8f7d61")
"""Of the keys of wishes."""
SESSION_DISMISSED = "pz_dismissed"
"""Where a visitor's session holds the showings that were dismissed of late: pages offer to take that back."""
UNDO_FOR = timedelta(minutes=15)
MOST_NOTED = 5
"""Dismissed showings that a session holds."""
MOST_SHOWN = 200
"""Times that an offer was shown, the latest first, among which the pressed card is looked for."""


class NotShown(PersonalizationError):
    """There is no such offer among those that you were shown."""

    code = "not_shown"


@dataclass(frozen=True, slots=True)
class Showing:
    """Where the shopper saw the offer: the card that was pressed, or the latest one; ``exposure_id`` is its row.

    ``headline`` is what the card was headed with.
    """

    exposure_id: int
    offer_id: int
    headline: str
    decision_id: str
    slot: str


def showing(shopper: Shopper, offer_id: int, decision_id: str = "") -> Showing:
    """Return where the shopper was shown the offer. Raises NotShown, also for one that does not exist."""
    rows = list(
        Exposure.objects.filter(shopper=shopper, offer_id=offer_id)
        .order_by("-exposed_at", "-pk")
        .values_list("pk", "decision_id", "decision__slot", "offer__headline", "offer__name")[:MOST_SHOWN]
    )
    if not rows:
        raise NotShown
    key, decision, slot, headline, name = next((row for row in rows if str(row[1]) == decision_id), rows[0])
    return Showing(key, offer_id, headline or name, str(decision or ""), slot or "")


def dismiss(request: HttpRequest, shopper: Shopper, seen: Showing) -> bool:
    """Note that the shopper wants less like the offer; False: not kept, for want of consent or otherwise."""
    last, wish = _latest(shopper, seen.offer_id)
    if wish == LESS:
        return True
    about = {"decision_id": seen.decision_id} if seen.decision_id else {}
    return _note(request, shopper, seen, last, "offer_dismissed", about)


def take_back(request: HttpRequest, shopper: Shopper, seen: Showing) -> bool:
    """Note that the shopper has no wish about the offer any more; False: not kept, for want of consent or otherwise."""
    last, wish = _latest(shopper, seen.offer_id)
    if wish != LESS:
        return True
    return _note(request, shopper, seen, last, "feedback_given", {"wish": NEITHER})


def offer_undo(session: SessionBase, seen: Showing) -> None:
    """Let the slot of a dismissed showing offer for ``UNDO_FOR`` to take that back, however often it is loaded."""
    now = timezone.now()
    others = [noted for noted in _noted(session, now) if noted["offer_id"] != seen.offer_id]
    session[SESSION_DISMISSED] = [*others, {**asdict(seen), "until": (now + UNDO_FOR).timestamp()}][-MOST_NOTED:]


def withdraw_undo(session: SessionBase, offer_id: int) -> None:
    """Offer no longer to take the dismissal of an offer back."""
    session[SESSION_DISMISSED] = [noted for noted in _noted(session, timezone.now()) if noted["offer_id"] != offer_id]


def dismissed_in(session: SessionBase, slot: str) -> list[dict[str, Any]]:
    """Return the showings in a slot whose dismissal can be taken back there. It only reads: a page may be loaded ahead,
    or again.
    """
    return [noted for noted in _noted(session, timezone.now()) if noted.get("slot") == slot]


def _noted(session: SessionBase, now: datetime) -> list[dict[str, Any]]:
    """Return what the session holds of late; sessions of an earlier release hold something else there."""
    held = session.get(SESSION_DISMISSED)
    noted = [each for each in held if isinstance(each, dict)] if isinstance(held, list) else []
    return [each for each in noted if each.get("offer_id") and each.get("until", 0) > now.timestamp()]


def _latest(shopper: Shopper, offer_id: int) -> tuple[int, str]:
    """Return the key of the latest event that wishes about the offer (0: none), and the wish; empty: none."""
    by_now = timezone.now() + FUTURE_TOLERANCE
    wishes = Event.objects.filter(shopper=shopper, offer_id=offer_id, type__in=WISHES, occurred_at__lte=by_now)
    last = wishes.order_by("-occurred_at", "-pk").values_list("pk", "type", "properties").first()
    pk, kind, properties = last or (0, "", {})
    return pk, LESS if kind == "offer_dismissed" else str(properties.get("wish", ""))


def _note(
    request: HttpRequest, shopper: Shopper, seen: Showing, last: int, kind: str, properties: dict[str, str]
) -> bool:
    """Store what follows the wish ``last``; return whether it is there, by this press or by one at the same moment.

    Inside a transaction it comes with the commit: then True means that its key is free.
    """
    key = uuid.uuid5(NAMESPACE, f"{shopper.pk}:{seen.offer_id}:{seen.exposure_id}:{last}").hex
    if not track(
        kind,
        request=request,
        shopper=shopper,
        offer_id=seen.offer_id,
        properties=properties,
        event_id=key,
        source=SOURCE,
    ):
        return False
    if Event.objects.filter(shopper=shopper, offer_id=seen.offer_id, type=kind, event_id=key).exists():
        return True
    return connection.in_atomic_block and not EventClaim.objects.filter(key=claim_key(SOURCE, key)).exists()
