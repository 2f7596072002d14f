"""The button *Less like this* on a rendered offer, and taking it back: each counts from the next decision on.

Only what the shopper was shown can be dismissed. A second press changes nothing, also one at the same moment: both
carry the key of the wish that was the latest before.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.http import HttpRequest

from personalization.exceptions import PersonalizationError
from personalization.models import Event, Exposure, Shopper
from personalization.models.events import WISHES
from personalization.tracking.event_types import LESS, NEITHER
from personalization.tracking.ingest import track

NAMESPACE = uuid.UUID("5b0f7a3e-6d0c-4f2e-9a35-1f0f2c8f7d61")
"""Of the keys of wishes."""
SESSION_DISMISSED = "pz_dismissed"
"""Where a visitor's session holds the showing that was dismissed last, until a page has offered to take it back."""
MOST_SHOWN = 200
"""Times that an offer was shown, the latest first, among which the pressed card is looked for."""


class NotShown(PersonalizationError):
    """There is no such offer among those that you were shown."""

    code = "not_shown"


@dataclass(frozen=True, slots=True)
class Showing:
    """Where the shopper saw the offer: the card that was pressed, or the latest one."""

    offer_id: int
    headline: str
    decision_id: str
    slot: str


def showing(shopper: Shopper, offer_id: int, decision_id: str = "") -> Showing:
    """Return where the shopper was shown the offer. Raises NotShown, also for one that does not exist."""
    rows = list(
        Exposure.objects.filter(shopper=shopper, offer_id=offer_id)
        .order_by("-exposed_at", "-pk")
        .values_list("decision_id", "decision__slot", "offer__headline")[:MOST_SHOWN]
    )
    if not rows:
        raise NotShown
    found = next((row for row in rows if str(row[0]) == decision_id), rows[0])
    return Showing(offer_id, found[2], str(found[0] or ""), found[1] or "")


def dismiss(request: HttpRequest, shopper: Shopper, seen: Showing) -> bool:
    """Note that the shopper wants less like the offer; False: not kept, for want of consent."""
    key, wish = _latest(shopper, seen.offer_id)
    if wish == LESS:
        return True
    about = {"decision_id": seen.decision_id} if seen.decision_id else {}
    return track(
        "offer_dismissed",
        request=request,
        shopper=shopper,
        offer_id=seen.offer_id,
        properties=about,
        event_id=key,
    )


def take_back(request: HttpRequest, shopper: Shopper, seen: Showing) -> bool:
    """Note that the shopper has no wish about the offer any more; False: not kept, for want of consent."""
    key, wish = _latest(shopper, seen.offer_id)
    if wish != LESS:
        return True
    return track(
        "feedback_given",
        request=request,
        shopper=shopper,
        offer_id=seen.offer_id,
        properties={"wish": NEITHER},
        event_id=key,
    )


def _latest(shopper: Shopper, offer_id: int) -> tuple[str, str]:
    """Return the key of a wish about the offer that would follow now, and the one that holds; empty: none."""
    wishes = Event.objects.filter(shopper=shopper, offer_id=offer_id, type__in=WISHES)
    last = wishes.order_by("-occurred_at", "-pk").values_list("pk", "type", "properties").first()
    pk, kind, properties = last or (0, "", {})
    wish = LESS if kind == "offer_dismissed" else str(properties.get("wish", ""))
    return uuid.uuid5(NAMESPACE, f"{shopper.pk}:{offer_id}:{pk}").hex, wish
