"""What is kept about a shopper, erased. Each room's table is registered in :mod:`personalization.privacy.rooms`.

Erasure deletes behaviour, scores, decisions, messages, signs of abuse and aliases; coupons, reservations, redemptions,
gift cards and what support did lose the shopper and keep their amounts, so that the ledgers' totals do not change.
Erased events leave their claims, hashes of what they were called: a replay stores nothing. The audit log keeps how many
rows went, and the models that may have learnt from them.
Visitors who were merged into the shopper are the same person: what stayed with them goes along.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.apps import apps
from django.db import IntegrityError, connection
from django.db.models import CharField, Max, Min, Model, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from personalization.features import rollups
from personalization.models import (
    CampaignRevision,
    ConsentRecord,
    Coupon,
    Event,
    Exposure,
    GiftCardHold,
    Job,
    ModelVersion,
    Offer,
    QuarantinedEvent,
    Reservation,
    RiskReview,
    Shopper,
    ShopperAlias,
    ShopperMerge,
    SupportAction,
)
from personalization.ports.signals import events_rewritten
from personalization.privacy.rooms import ANONYMISED, ERASED
from personalization.tracking import audit
from personalization.tracking.identity import batches, lock, people_of
from personalization.tracking.quarantine import payload_of
from personalization.types import JobKind, JobState, Purpose

TRIES = 5
"""An erasure waits for nobody: what is written meanwhile is erased with the next try."""
SEARCHED = 500
"""Rows of the quarantine that are looked through at a time."""
LEARNING = (JobKind.TRAIN.value, JobKind.TUNE.value)


def erase(shopper: Shopper, *, by: Any = None, why: str = audit.Why.REQUEST, reference: str = "") -> dict[str, int]:
    """Erase a shopper everywhere and return how many rows went, by table. Repeating it erases nothing more.

    ``by`` is the member of staff who does it, None where the shopper does; with ``why`` and ``reference`` (a ticket's
    number) they stand in the audit log.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            return _erase(shopper, by, why, reference)
        except IntegrityError:  # a request of theirs wrote into a table that had been emptied already
            if not tries_left:
                raise
    raise AssertionError("The last try returns or raises.")


def _erase(shopper: Shopper, by: Any, why: str, reference: str) -> dict[str, int]:
    """Erase in one transaction. Raises IntegrityError where somebody wrote more about the shopper meanwhile."""
    counts: dict[str, int] = {}
    with rollups.held():  # nothing is counted about them while they go
        people = people_of(shopper.pk)
        lock(people)
        learnable = _learnable(people)
        _tell_rewritten(people)
        _blank_words(people)
        unowned = _unowned(people)
        counts["logentry"] = _forget_history(people, unowned)
        counts["set_aside_unowned"] = QuarantinedEvent.objects.filter(pk__in=unowned).delete()[0]
        counts["events"] = Event.objects.filter(shopper__in=people)._raw_delete("default")
        for model in ERASED:
            counts[model._meta.model_name or ""] = model._default_manager.filter(shopper__in=people).delete()[0]
        # A coupon that belongs to nobody is everybody's: it is voided. What it holds already still goes through.
        Coupon.objects.filter(shopper__in=people, voided_at=None).update(voided_at=timezone.now())
        for kept in ANONYMISED:
            counts[kept._meta.model_name or ""] = kept._default_manager.filter(shopper__in=people).update(shopper=None)
        counts["shoppermerge"] = ShopperMerge.objects.filter(Q(visitor__in=people) | Q(account__in=people)).delete()[0]
        counts["shopper"] = Shopper.objects.filter(pk__in=people).delete()[0]
        if counts["shopper"]:
            gone = {name: count for name, count in counts.items() if count}
            audit.note(
                audit.Action.ERASED,
                by=by,
                subject=audit.pseudonym(shopper),
                why=why,
                reference=reference,
                rows=gone,
                # Asked last: a training that began while the rows went may have read them still.
                models=may_have_learnt(learnable),
                learning=may_be_learning(learnable),
            )
        _refuse_leftovers()
    return counts


def _refuse_leftovers() -> None:
    """Raise IntegrityError now if a row still points to who was erased, while this can still be done again.

    The shopper's row is deleted by now, so nobody can commit another. On SQLite a transaction is alone anyway.
    """
    if connection.vendor == "postgresql":
        connection.check_constraints()


@dataclass(frozen=True, slots=True)
class Learnable:
    """Of whom models may have learnt, and from when on: the moment of their first event or exposure."""

    populations: list[str]
    since: datetime


def may_have_learnt(people: Learnable | None) -> list[int]:
    """Return the keys of the model versions whose training data may have held these people.

    Those of their population that were trained on data until some moment after their first event or exposure; none
    if they never agreed to personalisation. Oldest first, retired ones included: their files may still be there.
    """
    if people is None:
        return []
    versions = ModelVersion.objects.filter(population__in=people.populations, cutoff_at__gt=people.since)
    return list(versions.order_by("pk").values_list("pk", flat=True))


def may_be_learning(people: Learnable | None) -> list[int]:
    """Return the keys of the jobs that learn right now, and may have read these people's data already.

    What they make comes after the erasure and is not among :func:`may_have_learnt`; it is made of what was read before.
    """
    if people is None:
        return []
    running = Job.objects.filter(kind__in=LEARNING, state=JobState.RUNNING.value)
    return list(running.order_by("pk").values_list("pk", flat=True))


def _learnable(people: list[int]) -> Learnable | None:
    """Return what :func:`may_have_learnt` asks about people who are to go; None where nothing can be learnt of them.

    That is who has no event and no exposure, or never agreed.
    """
    agreed = Shopper.objects.filter(pk__in=people, consent_personalisation=True).exists()
    granted = ConsentRecord.objects.filter(shopper__in=people, purpose=Purpose.PERSONALISATION.value, granted=True)
    if not agreed and not granted.exists():
        return None
    first = [
        Event.objects.filter(shopper__in=people).aggregate(at=Min("occurred_at"))["at"],
        Exposure.objects.filter(shopper__in=people).aggregate(at=Min("exposed_at"))["at"],
    ]
    known = [moment for moment in first if moment is not None]
    populations = Shopper.objects.filter(pk__in=people).values_list("population", flat=True).distinct()
    return Learnable(list(populations), min(known)) if known else None


def _tell_rewritten(people: list[int]) -> None:
    """Say from which days events vanish: what was counted from them is out of date."""
    span = Event.objects.filter(shopper__in=people).aggregate(first=Min("occurred_at"), last=Max("occurred_at"))
    if span["first"] is not None:
        first, last = (moment.astimezone(UTC).date() for moment in (span["first"], span["last"]))
        events_rewritten.send(sender=Event, shopper_ids=people, first_day=first, last_day=last)


def _blank_words(people: list[int]) -> None:
    """Take out what staff wrote about the shopper, the keys that hosts chose, and their name from what others hold."""
    SupportAction.objects.filter(shopper__in=people).exclude(reason="").update(reason="")
    RiskReview.objects.filter(reservation__shopper__in=people).exclude(note="").update(note="")
    Coupon.objects.filter(shopper__in=people).exclude(claim_key="").update(claim_key="")
    mine = Reservation.objects.filter(shopper__in=people)
    mine.exclude(basket_reference="").update(basket_reference="")
    # A basket that is being paid for still finds its hold.
    mine.exclude(state=Reservation.State.HELD).update(idempotency_key=_erased_key(), basket_key="")
    GiftCardHold.objects.filter(card__shopper__in=people).exclude(state=GiftCardHold.State.HELD).update(
        idempotency_key=_erased_key()
    )
    for key in Shopper.objects.filter(pk__in=people).values_list("key", flat=True):
        Coupon.objects.filter(claim_key__startswith=f"referral:{key.hex}").update(claim_key="")
        for spelling in (str(key), key.hex):
            _forget_referrer(spelling)


def _erased_key() -> Concat:
    """Return a key in place of one that a host chose: unique as the row is, and without meaning."""
    return Concat(Value("erased:"), Cast("pk", CharField()))


def _forget_referrer(spelling: str) -> None:
    """Take the name of who referred others off the offers for those, as they are and as they were."""
    for offer in Offer.objects.filter(attributes__referrer=spelling):
        offer.attributes.pop("referrer")
        offer.save(update_fields=["attributes"])
        for revision in CampaignRevision.objects.filter(campaign=offer.campaign_id):
            for name in ("snapshot", "changes"):
                text = json.dumps(getattr(revision, name))
                if spelling in text:
                    setattr(revision, name, json.loads(text.replace(spelling, "")))
            revision.save(update_fields=["snapshot", "changes"])


def _forget_history(people: list[int], unowned: list[int]) -> int:
    """Delete the admin's history of what is deleted with the shopper: its lines name the rows in words."""
    if not apps.is_installed("django.contrib.admin"):
        return 0
    from django.contrib.admin.models import LogEntry  # the app may run without the admin
    from django.contrib.contenttypes.models import ContentType

    gone = 0
    for model in (Event, *ERASED, Shopper):
        rows: QuerySet[Model] = model._default_manager.all()
        mine = rows.filter(pk__in=people) if model is Shopper else rows.filter(shopper__in=people)
        entries = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(model))
        if entries.exists():
            keys = [*mine.values_list("pk", flat=True), *(unowned if model is QuarantinedEvent else ())]
            for batch in batches(map(str, keys)):
                gone += entries.filter(object_id__in=batch).delete()[0]
    return gone


def _unowned(people: list[int]) -> list[int]:
    """Return what was kept aside of the shopper's before it was known whose it is: it names them by an imported id."""
    external = ShopperAlias.objects.filter(shopper__in=people, kind=ShopperAlias.Kind.EXTERNAL)
    names = list(external.values_list("value", flat=True))
    if not names:
        return []
    return [
        row.pk
        for row in QuarantinedEvent.objects.filter(shopper=None).iterator(chunk_size=SEARCHED)
        if any(_mentions(payload_of(row), name) for name in names)
    ]


def _mentions(value: Any, name: str) -> bool:
    """Return whether a payload holds this id: as a whole value, so that 7 is not found in 17."""
    if isinstance(value, dict):
        return any(_mentions(each, name) for each in value.values())
    if isinstance(value, list):
        return any(_mentions(each, name) for each in value)
    return str(value) == name
