"""A decision told to people: what was eligible, what was left out and why, what was chosen and how likely it was.

Reads :class:`personalization.models.Decision` rows of any age: whatever a JSON column holds is shown or left to the
raw record below, and never an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from personalization import conf
from personalization.admin.causes import Why, why_of
from personalization.admin.display import DASH, change_url, money, number, percent, plain, pretty
from personalization.campaigns import switch
from personalization.decisioning.withdrawal import without_why
from personalization.learning.figures import is_number, mapping
from personalization.learning.wordings import kinds_of_offers
from personalization.models import Campaign, Decision, Offer
from personalization.types import HEADS, Arm

LEAST_SHARE = 0.0005
"""What a percentage with one decimal shows."""


@dataclass(frozen=True)
class OfferLine:
    """One offer of a decision. ``heads`` are its predicted effects in the order of HEADS."""

    name: str
    url: str
    campaign: str = ""
    value: str = DASH
    heads: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    outcome: str = ""
    position: str = ""
    propensity: str = ""
    why: Why | None = None


@dataclass(frozen=True)
class Explanation:
    """A decision as its page shows it."""

    summary: list[str]
    chosen: list[OfferLine]
    eligible: list[OfferLine]
    excluded: list[OfferLine]
    head_labels: list[str]
    features: list[tuple[str, str]]
    raw: str


def names_of(offers: Mapping[int, Offer]) -> dict[int, str]:
    """Return the name of each offer; of several with the same, with campaign, and number if they share that too."""
    plain_names = Counter(offer.name for offer in offers.values())
    of_campaign = Counter((offer.name, offer.campaign_id) for offer in offers.values())
    found = {}
    for pk, offer in offers.items():
        parts = [offer.name]
        if plain_names[offer.name] > 1:
            parts.append(offer.campaign.name)
        if of_campaign[offer.name, offer.campaign_id] > 1:
            parts.append(f"#{pk}")
        found[pk] = " · ".join(parts)
    return found


def explain(decision: Decision, *, with_features: bool) -> Explanation:
    """Return the decision in words and tables; ``with_features`` includes values about the shopper."""
    eligible, chosen, excluded = _rows(decision.eligible), _rows(decision.chosen), _pairs(decision.excluded)
    ids = {_offer_id(row) for row in [*eligible, *chosen]} | {_as_id(key) for key, _reason in excluded}
    offers = Offer.objects.select_related("campaign").in_bulk([pk for pk in ids if pk is not None])
    raw = {"eligible": decision.eligible, "excluded": decision.excluded, "chosen": decision.chosen}
    if with_features:
        raw["features"] = decision.features
    else:
        raw["chosen"] = [without_why(row) for row in chosen]
    reasons = {_offer_id(row): row.get("reasons", ()) for row in eligible if isinstance(row, Mapping)}
    drawn = _drawn(eligible, chosen)
    return Explanation(
        summary=summary(decision, len(eligible), len(chosen), len(excluded)),
        chosen=[
            _line(_with(row if with_features else without_why(row), reasons), offers, drawn.get(_offer_id(row), ""))
            for row in chosen
        ],
        eligible=[_line(row, offers, _became(row, decision, drawn)) for row in eligible],
        excluded=[_line({"offer": key, "reasons": reason}, offers) for key, reason in excluded],
        head_labels=head_labels(),
        features=feature_values(decision.features) if with_features else [],
        raw=pretty(raw),
    )


def summary(decision: Decision, eligible: int, chosen: int, excluded: int) -> list[str]:
    """Return the decision in a few sentences."""
    slot = conf.get().slots.get(decision.slot, decision.slot)
    lines = [
        _("Offers for “%(slot)s”: %(eligible)d eligible, %(excluded)d left out, %(chosen)d chosen.")
        % {"slot": slot, "eligible": eligible, "excluded": excluded, "chosen": chosen}
    ]
    if decision.arm == Arm.HOLDOUT.value:
        lines.append(_("The shopper is in the holdout: every offer was withheld, to measure what offers add."))
    if decision.arm == Arm.CONTROL.value:
        lines.append(_("The shopper is in the control group: the offer was withheld."))
    counted = excluded_in_words(decision.excluded)
    if counted:
        lines.append(_("Left out: %(reasons)s.") % {"reasons": counted})
    elif not eligible and not excluded and decision.fallback != switch.REASON:
        lines.append(_("No running offer names this slot."))
    if decision.fallback:
        lines.append(_("Not personal: %(reason)s.") % {"reason": fallback_in_words(decision.fallback)})
    elif decision.model_version_id is None:
        lines.append(_("No model took part."))
    return lines


def why_in_words(decision: Decision) -> str:
    """Return in a line what became of a decision and why; it reads neither what was eligible nor the values used."""
    chosen = _rows(decision.chosen)
    if decision.fallback == switch.REASON:
        return _("nothing served: everything was stopped")
    if decision.arm == Arm.HOLDOUT.value:
        return _("held back: the shopper is in the holdout")
    if decision.arm == Arm.CONTROL.value:
        return _("held back: the shopper is in the control group")
    if not chosen:
        counted = excluded_in_words(decision.excluded)
        if counted:
            return _("nothing served; left out: %(reasons)s") % {"reasons": counted}
        return _("nothing served: no running offer names this slot")
    if decision.fallback:
        return _("served, not personal: %(reason)s") % {"reason": fallback_in_words(decision.fallback)}
    if decision.model_version_id is None:
        return _("served without a model")
    return _("served by the shopper’s predictions")


def excluded_in_words(excluded: Any) -> str:
    """Return why offers were left out, each reason with how many, the most frequent first."""
    counts = Counter(reason_in_words(reason) for _key, reason in _pairs(excluded) if reason)
    return ", ".join(f"{words} ({count})" if count > 1 else words for words, count in counts.most_common())


def _with(row: Any, reasons: Mapping[int | None, Any]) -> Any:
    """Return a chosen offer's row with the reasons of its place among the eligible."""
    return {"reasons": reasons.get(_offer_id(row), ()), **row} if isinstance(row, Mapping) else row


def _drawn(eligible: list[Any], chosen: list[Any]) -> dict[int | None, str]:
    """Return by offer how it was chosen: as the best that was left, or by the policy's chance."""
    left = [_offer_id(row) for row in eligible]
    told: dict[int | None, str] = {}
    for row in chosen:
        offer = _offer_id(row)
        if offer not in left:
            continue
        told[offer] = _("the best that was left") if left[0] == offer else _("by chance, to learn how it does")
        left.remove(offer)
    return told


def _became(row: Any, decision: Decision, drawn: Mapping[int | None, str]) -> str:
    """Return what became of an eligible offer."""
    if decision.arm == Arm.HOLDOUT.value:
        return _("held back: the shopper is in the holdout")
    if decision.arm == Arm.CONTROL.value:
        return _("held back: the shopper is in the control group")
    offer = _offer_id(row)
    return _("served: %(how)s") % {"how": drawn[offer]} if offer in drawn else _("not served: the places were taken")


def fallback_in_words(code: str) -> str:
    """Return why a decision was not personal."""
    words = {
        "no_consent": _("the shopper has not agreed to personalisation"),
        "no_scores": _("no scores are published yet"),
        "unknown_shopper": _("the visitor is not known"),
        "stale_scores": _("the scores were too old"),
        "not_scored": _("the shopper was not in the last scoring; averages were used"),
        switch.REASON: _("everything was stopped"),
    }
    return words.get(code) or str(code).replace("_", " ")


def reason_in_words(code: Any) -> str:
    """Return a reason code as words; an unknown code as it is."""
    words = {
        "campaign_not_running": _("the campaign was not running"),
        "outside_campaign_dates": _("outside the campaign’s dates"),
        "outside_window": _("outside the offer’s window"),
        "all_issued": _("all coupons were issued"),
        "sold_out": _("all redemptions were taken"),
        "budget_used_up": _("the campaign’s budget was used up"),
        "paced": _("the day’s share of the budget was used up"),
        "no_occasion": _("there was no occasion for this shopper"),
        "switched_off": _("everything was stopped"),
        "not_a_member": _("for other loyalty tiers"),
        "not_in_audience": _("the shopper is not in the audience"),
        "already_used": _("the shopper had used it already"),
        "dismissed": _("the shopper asked for less like this"),
        "predicted_loss": _("predicted to cost more than it brings"),
        "by_priority": _("placed by the campaign’s priority"),
        "predicted_for_shopper": _("predicted for this shopper"),
        "predicted_from_recent": _("predicted from what the shopper did last"),
        "predicted_by_kind": _("predicted from this kind of offer"),
        "average_of_offer": _("the offer’s average"),
        "average_of_kind": _("the average of this kind of offer"),
        "recent_interest": _("recent interest in its category"),
        "known_interest": _("known interest in its category"),
        "holds_coupon": _("the shopper has its coupon already"),
    }
    return words.get(str(code)) or str(code).replace("_", " ")


def head_labels() -> list[str]:
    """Return the names of the predicted effects, in the order of HEADS."""
    words = {
        "view": pgettext("of an offer", "View"),
        "click": _("Click"),
        "redeem": _("Redeem"),
        "purchase": _("Purchase"),
    }
    return [words.get(head, head) for head in HEADS]


def head_texts(values: Any) -> tuple[str, ...]:
    """Return predicted effects as percentages, padded to the length of HEADS."""
    listed = list(values) if isinstance(values, list | tuple) else []
    return tuple(percent(value) for value in (*listed[: len(HEADS)], *[None] * (len(HEADS) - len(listed))))


def feature_values(features: Any) -> list[tuple[str, str]]:
    """Return the values a decision used as pairs of words."""
    if not isinstance(features, Mapping):
        return [(_("Values"), pretty(features))] if features else []
    pairs: list[tuple[str, str]] = []
    for name, value in features.items():
        if value not in (None, {}, []):
            told = _USED[name](value) if name in _USED and isinstance(value, Mapping | int) else []
            pairs += told or [(str(name).replace("_", " ").capitalize(), plain(value))]
    return pairs


def _of_set(value: Any) -> list[tuple[str, str]]:
    return [(_("Scores"), f"#{value}")]


def _of_strategy(value: Any) -> list[tuple[str, str]]:
    return [(_("Likely kinds of offer"), shares_in_words(value, kinds_of_offers()))]


def _of_values(value: Any) -> list[tuple[str, str]]:
    told = mapping(value)
    visits = told.get("visit_rate")
    return [
        (_("Expected basket"), money(told.get("basket_minor"), conf.get().currency)),
        (_("Visits a day"), number(visits) if is_number(visits) else DASH),
        *([(_("Interests"), shares_in_words(told["interest"], {}))] if told.get("interest") else []),
    ]


def _of_interest(value: Any) -> list[tuple[str, str]]:
    return [(_("Interests of late"), shares_in_words(value, {}))]


def _of_draw(value: Any) -> list[tuple[str, str]]:
    """Return how the draw was set; the salt is for the record only."""
    told = mapping(value)
    return [
        (_("Places"), number(told.get("limit"))),
        (_("Drawn by chance"), percent(told.get("exploration"))),
        (_("Share in the holdout"), f"{number(told.get('holdout_percent'))} %"),
    ]


def shares_in_words(value: Any, names: Mapping[str, Any]) -> str:
    """Return names with their shares, the largest first; those that would be told as nothing are left out."""
    known = {str(key): share for key, share in mapping(value).items() if is_number(share) and share >= LEAST_SHARE}
    ordered = sorted(known.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{names.get(key, key)} {percent(share)}" for key, share in ordered) or DASH


_USED: dict[str, Callable[[Any], list[tuple[str, str]]]] = {
    "score_set": _of_set,
    "strategy": _of_strategy,
    "values": _of_values,
    "recent_interest": _of_interest,
    "assignment": _of_draw,
}
"""What a decision used, by the names under which it is stored."""


def _line(row: Any, offers: Mapping[int, Offer], outcome: str = "") -> OfferLine:
    if not isinstance(row, Mapping):
        row = {"offer": row}
    offer = offers.get(_offer_id(row) or 0)
    currency = offer.campaign.currency if offer is not None else conf.get().currency
    reasons = row.get("reasons", ())
    listed: Iterable[Any] = reasons if isinstance(reasons, list | tuple) else [reasons]
    gone = _("Offer %(id)s (gone)") % {"id": row.get("offer", "?")}
    return OfferLine(
        name=names_of(offers)[offer.pk] if offer is not None else gone,
        url=change_url(Campaign, offer.campaign_id) if offer is not None else "",
        campaign=offer.campaign.name if offer is not None else "",
        value=money(row.get("value_minor"), currency),
        heads=head_texts(row.get("heads")),
        reasons=tuple(reason_in_words(reason) for reason in listed if reason),
        outcome=outcome,
        position=str(row.get("position", "")),
        propensity=percent(row.get("propensity")),
        why=why_of(row.get("why")),
    )


def _rows(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    pairs = []
    for row in _rows(value):
        if isinstance(row, Mapping):
            pairs.append((row.get("offer"), row.get("reason", row.get("reasons", ""))))
        else:
            pairs.append((row, ""))
    return pairs


def _offer_id(row: Any) -> int | None:
    return _as_id(row.get("offer", row.get("offer_id")) if isinstance(row, Mapping) else row)


def _as_id(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        pk = int(value)
    except ValueError:
        return None
    return pk if 0 < pk < 2**63 else None
