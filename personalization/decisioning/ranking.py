"""Predicted value of each eligible offer, best first.

value = P(purchase) · basket · margin − P(redeem) · expected benefit, in minor units, over the outcome window. An
offer that was launched after the last scoring borrows its kind's mean effect, scaled by how much more (or less) the
strategy gives this kind to this shopper than to the average one. For a shopper whom no batch has scored, or too long
ago, the quick model moves each offer's mean by what they did last.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from personalization import conf
from personalization.decisioning.scores import Scores
from personalization.models import Offer
from personalization.pure import quick
from personalization.pure.costs import expected_benefit
from personalization.types import HEADS

REDEEM, PURCHASE = HEADS.index("redeem"), HEADS.index("purchase")
FRESH_BOOST = 0.5
HOLDS_COUPON = "holds_coupon"
"""Reason of an offer whose coupon waits for the shopper: to claim it again gives the same one."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One eligible offer with its prediction; ``value_minor`` is None where nothing is predicted."""

    offer: Offer
    heads: tuple[float, ...]
    value_minor: float | None
    reasons: tuple[str, ...]


def rank(
    offers: list[Offer],
    scores: Scores,
    fresh_interest: dict[str, float],
    held: Collection[int] = (),
    known: quick.Known | None = None,
) -> list[Ranked]:
    """Return the offers by falling value; without predictions by the campaigns' priority.

    ``held``: offers whose coupon the shopper has already; it is said, and changes nothing else. ``known``: what
    the page knows of a shopper who has no scores.
    """
    ranked = [_judge(offer, scores, fresh_interest, known) for offer in offers]
    ranked = [
        replace(item, reasons=(*item.reasons, HOLDS_COUPON)) if item.offer.pk in held else item for item in ranked
    ]
    return sorted(
        ranked,
        key=lambda item: (
            item.value_minor is None,
            -(item.value_minor or 0.0),
            -item.offer.campaign.priority,
            item.offer.pk,
        ),
    )


def _judge(offer: Offer, scores: Scores, fresh_interest: dict[str, float], known: quick.Known | None) -> Ranked:
    heads, source = _heads(offer, scores, known)
    if heads is None:
        return Ranked(offer, (), None, ("by_priority",))
    basket = float(scores.values.get("basket_minor") or scores.defaults.get("basket_minor") or 0.0)
    gain = heads[PURCHASE] * basket * conf.get().margin
    value = gain - heads[REDEEM] * expected_benefit(offer.terms(), basket)
    reasons = [source]
    freshness = fresh_interest.get(offer.category, 0.0) if offer.category else 0.0
    if freshness > 0:
        value += abs(value) * FRESH_BOOST * freshness
        reasons.append("recent_interest")
    interest = scores.values.get("interest", {}).get(offer.category, 0.0) if offer.category else 0.0
    if interest > 0:
        reasons.append("known_interest")
    return Ranked(offer, tuple(heads), value, tuple(reasons))


def _heads(offer: Offer, scores: Scores, known: quick.Known | None) -> tuple[list[float] | None, str]:
    personal = scores.offers.get(str(offer.pk))
    if personal is not None:
        return personal, "predicted_for_shopper"
    if scores.student is not None and known is not None:
        moved = quick.predict(scores.student, str(offer.pk), offer.kind, quick.features(known, offer.category))
        if moved is not None:
            return moved, "predicted_from_recent"
    average = scores.defaults.get("offers", {}).get(str(offer.pk))
    kind_mean = scores.defaults.get("kinds", {}).get(offer.kind)
    usual = scores.defaults.get("strategy", {}).get(offer.kind)
    if scores.kinds and kind_mean is not None and usual:
        lift = scores.kinds.get(offer.kind, usual) / usual
        return [min(1.0, value * lift) for value in kind_mean], "predicted_by_kind"
    if average is not None:
        return average, "average_of_offer"
    if kind_mean is not None:
        return kind_mean, "average_of_kind"
    return None, ""
