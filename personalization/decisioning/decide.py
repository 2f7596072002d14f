"""The decision path: candidates → eligibility → ranking → policy → one committed write.

Nothing here waits for a broker, a worker or a model file. Where predictions are missing or stale the answer is a
ranked non-personal fallback, and says so.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from personalization import conf
from personalization.campaigns import sites, switch
from personalization.decisioning import candidates, eligibility, momentary, scores, session, withdrawal
from personalization.decisioning.ranking import HOLDS_COUPON, Ranked, rank
from personalization.exceptions import UnknownSlot
from personalization.models import Decision, Exposure, Offer, Shopper
from personalization.pure import assignment, policy
from personalization.tracking import bots, consent, identity
from personalization.types import HEADS, Arm, DecisionResult, OfferKind, Purpose, RankedOffer

MAX_LIMIT = 20
POLICY = f"{policy.NAME}/{assignment.VERSION}"


def decide(
    slot: str,
    *,
    request: HttpRequest | None = None,
    shopper: Shopper | None = None,
    limit: int = 1,
    context: Mapping[str, Any] | None = None,
) -> DecisionResult:
    """Choose up to ``limit`` offers for a slot and log the decision with its exposures.

    Give the request, or the shopper. Without consent to personalisation the answer is not personal and nothing is
    logged about the shopper. Raises UnknownSlot for a slot that is not declared in the settings.
    """
    decision, shown, shopper = _choose(slot, request, shopper, limit, context)
    if request is None or not bots.is_bot(request.headers.get("User-Agent", "")):
        had_choice = bool(decision.eligible)
        _write(decision, shown, shopper, had_choice)
    return _result(decision, shown, Arm(decision.arm))


def rehearse(
    slot: str, shopper: Shopper, *, limit: int = 1, extra: Iterable[Offer] = ()
) -> tuple[Decision, DecisionResult]:
    """Return what :func:`decide` would answer this shopper now, with the decision it would log. Writes nothing.

    ``extra`` are offers to consider besides the running ones, as they stand in memory. Raises UnknownSlot.
    """
    decision, shown, _shopper = _choose(slot, None, shopper, limit, {}, extra)
    return decision, _result(decision, shown, Arm(decision.arm))


def _choose(
    slot: str,
    request: HttpRequest | None,
    shopper: Shopper | None,
    limit: int,
    context: Mapping[str, Any] | None,
    extra: Iterable[Offer] = (),
) -> tuple[Decision, list[tuple[Ranked, float]], Shopper | None]:
    """Return an unsaved decision, what it shows, and the shopper it may be logged for."""
    if slot not in conf.get().slots:
        raise UnknownSlot(f"There is no slot {str(slot)[:60]!r}.")
    now = timezone.now()
    shopper, personal = _subject(request, shopper)
    population = shopper.population if shopper is not None else conf.get().population
    recent = session.read(shopper if personal else None, now)
    stopped = switch.engaged(population)
    offers = [] if stopped else _candidates(slot, population, sites.host_of(request), extra)
    decision, shown = judged(
        offers,
        shopper,
        personal=personal,
        slot=slot,
        limit=limit,
        recent=recent,
        context=context,
        decision_id=uuid.uuid4(),
        now=now,
    )
    if stopped:
        decision.fallback = switch.REASON
    return decision, shown, shopper if personal else None


def judged(
    offers: list[Offer],
    shopper: Shopper | None,
    *,
    personal: bool,
    slot: str,
    limit: int,
    recent: session.Session,
    context: Mapping[str, Any] | None,
    decision_id: uuid.UUID,
    now: datetime,
) -> tuple[Decision, list[tuple[Ranked, float]]]:
    """Return an unsaved decision among these offers, and what it shows with which probability: nothing in the holdout.

    ``personal``: the shopper agreed to personalisation; otherwise the decision is about nobody.
    """
    population = shopper.population if shopper is not None else conf.get().population
    eligible, excluded, held = eligibility.split(offers, shopper, personal=personal, recent=recent, now=now)
    predictions = scores.for_shopper(shopper if personal else None, population)
    known = momentary.read(shopper, now) if shopper is not None and predictions.student is not None else None
    ranked = rank(eligible, predictions, recent.interest, held, known)
    kept = [item for item in ranked if item.value_minor is None or item.value_minor > 0]
    excluded.update({item.offer.pk: "predicted_loss" for item in ranked if item not in kept})
    arm, how = _arm(shopper if personal else None), _assignment(limit)
    decision = Decision(
        id=decision_id,
        shopper=shopper if personal else None,
        slot=slot,
        at=now,
        arm=arm.value,
        policy=POLICY,
        fallback=_fallback(shopper, personal, predictions),
        model_version_id=predictions.version_id,
        eligible=[_as_record(item) for item in kept],
        excluded={str(key): reason for key, reason in excluded.items()},
        features={**_used_values(predictions, recent, context), "assignment": how},
    )
    shown = [] if arm == Arm.HOLDOUT else _draw(kept, how, str(decision.pk))
    decision.chosen = [
        {"offer": item.offer.pk, "position": place, "propensity": propensity, **_why(item, predictions)}
        for place, (item, propensity) in enumerate(shown, start=1)
    ]
    return decision, shown


def _fallback(shopper: Shopper | None, personal: bool, predictions: scores.Scores) -> str:
    return "no_consent" if shopper is not None and not personal else predictions.fallback


def _candidates(slot: str, population: str, host: str | None, extra: Iterable[Offer]) -> list[Offer]:
    """Return the running offers of a slot; one given as extra takes the place of its running self."""
    added = {offer.pk: offer for offer in extra if slot in offer.slots and offer.campaign.population == population}
    running = candidates.for_slot(slot, population, host)
    return [*(offer for offer in running if offer.pk not in added), *added.values()]


def _subject(request: HttpRequest | None, shopper: Shopper | None) -> tuple[Shopper | None, bool]:
    """Return the shopper, and whether they may be personalised."""
    if shopper is None and request is not None:
        shopper = identity.shopper_for(request)
    if shopper is None:
        return None, False
    if request is not None:
        return shopper, Purpose.PERSONALISATION in consent.purposes_of(request)
    return shopper, shopper.allows(Purpose.PERSONALISATION)


def _arm(shopper: Shopper | None) -> Arm:
    settings = conf.get()
    if shopper is not None and assignment.in_holdout(settings.salt, shopper.key, settings.holdout_percent):
        return Arm.HOLDOUT
    return Arm.TREATMENT


def _assignment(limit: int) -> dict[str, Any]:
    """Return what the draw depends on besides the ranking: with it the record can be drawn again."""
    settings = conf.get()
    return {
        "salt": settings.salt,
        "limit": max(1, min(limit, MAX_LIMIT)),
        "exploration": settings.exploration,
        "holdout_percent": settings.holdout_percent,
    }


def _draw(kept: list[Ranked], how: Mapping[str, Any], decision_id: str) -> list[tuple[Ranked, float]]:
    uniforms = [assignment.unit(how["salt"], decision_id, place) for place in range(how["limit"])]
    drawn = policy.draw(kept, how["limit"], how["exploration"], uniforms)
    return [(kept[item.index], item.propensity) for item in drawn]


def _as_record(item: Ranked) -> dict[str, Any]:
    return {
        "offer": item.offer.pk,
        "value_minor": None if item.value_minor is None else round(item.value_minor, 2),
        "heads": [round(value, 5) for value in item.heads],
        "reasons": list(item.reasons),
    }


def _why(item: Ranked, predictions: scores.Scores) -> dict[str, Any]:
    """Return what the last scoring gave as reasons for this offer, to be kept with the decision; nothing if nothing."""
    parts = predictions.reasons.get("offers", {}).get(str(item.offer.pk))
    return {"why": {"head": predictions.reasons.get("head", ""), **parts}} if parts else {}


def _used_values(
    predictions: scores.Scores, recent: session.Session, context: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "score_set": predictions.score_set_id,
        "strategy": predictions.kinds,
        "values": predictions.values,
        "recent_interest": {key: round(value, 4) for key, value in recent.interest.items()},
        "context": dict(context or {}),
    }


def window_end(offer: Offer, exposed_at: datetime) -> datetime:
    """Return until when an outcome counts for an exposure to this offer."""
    hours = offer.campaign.attribution_hours or conf.get().attribution_hours
    return exposed_at + timedelta(hours=hours)


def _write(decision: Decision, shown: list[tuple[Ranked, float]], shopper: Shopper | None, had_choice: bool) -> None:
    """Commit the decision and its exposures together; nothing of a shopper who withdrew or was erased meanwhile.

    A holdout with nothing to withhold is no exposure.
    """
    exposures = [
        Exposure(
            decision=decision,
            shopper=shopper,
            campaign_id=item.offer.campaign_id,
            offer=item.offer,
            arm=decision.arm,
            position=place,
            propensity=propensity,
            exposed_at=decision.at,
            window_ends_at=window_end(item.offer, decision.at),
        )
        for place, (item, propensity) in enumerate(shown, start=1)
        if shopper is not None
    ]
    if decision.arm == Arm.HOLDOUT and had_choice and shopper is not None:
        window = timedelta(hours=conf.get().attribution_hours)
        exposures.append(
            Exposure(
                decision=decision,
                shopper=shopper,
                arm=decision.arm,
                propensity=conf.get().holdout_percent / 100,
                exposed_at=decision.at,
                window_ends_at=decision.at + window,
            )
        )
    with transaction.atomic():
        if shopper is not None and not withdrawal.stays(shopper):
            return
        decision.save(force_insert=True)
        Exposure.objects.bulk_create(exposures)


def _result(decision: Decision, shown: list[tuple[Ranked, float]], arm: Arm) -> DecisionResult:
    return DecisionResult(
        decision_id=str(decision.pk),
        slot=decision.slot,
        offers=tuple(_as_offer(item, place, propensity) for place, (item, propensity) in enumerate(shown, start=1)),
        arm=arm,
        fallback=decision.fallback,
        model_version_id=decision.model_version_id,
    )


def sketch(offer: Offer) -> RankedOffer:
    """Return an offer as a page shows it, without a decision: for a preview."""
    return _as_offer(Ranked(offer, (0.0,) * len(HEADS), None, ()), 1, 1.0)


def _as_offer(item: Ranked, position: int, propensity: float) -> RankedOffer:
    offer = item.offer
    claimable = offer.kind != OfferKind.ANNOUNCEMENT and offer.application == Offer.Application.CLAIM
    label = offer.cta_label or (_("Get the coupon") if claimable else _("Have a look"))
    if claimable and HOLDS_COUPON in item.reasons:
        label = _("Show my coupon")
    return RankedOffer(
        offer_id=offer.pk,
        campaign_id=offer.campaign_id,
        kind=offer.kind,
        headline=offer.headline or offer.name,
        body=offer.body,
        cta_label=label,
        cta_url=offer.cta_url,
        position=position,
        propensity=propensity,
        value_minor=item.value_minor,
        reasons=item.reasons,
        ends_at=min(filter(None, [offer.ends_at, offer.campaign.ends_at])),
        needs_claim=claimable,
        body_html=offer.body_html,
    )
