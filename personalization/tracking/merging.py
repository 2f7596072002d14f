"""Two shoppers turn out to be one, and sometimes not after all: merge, and take a merge back.

A merge notes every row that it moves. Taking it back returns those rows, and no others: what happened since then was
done by somebody who was signed in, and stays with the account. Money stays where it was spent (see
``campaigns.merging``). Consent is never moved: the ledger only grows, so the account gets lines of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Model, QuerySet, UniqueConstraint
from django.utils import timezone

from personalization.exceptions import MergeGone, MergeRefused
from personalization.models import (
    ConsentRecord,
    Decision,
    Event,
    Exposure,
    QuarantinedEvent,
    SessionVerdict,
    Shopper,
    ShopperAlias,
    ShopperMerge,
)
from personalization.ports.signals import consent_withdrawn, events_rewritten, shoppers_merged, shoppers_unmerged
from personalization.tracking import aliases, audit, identity, profiles
from personalization.types import CONSENT_PURPOSES, Purpose

BEHAVIOUR: tuple[type[Model], ...] = (Event, QuarantinedEvent, Decision, Exposure, SessionVerdict)
"""What requests that were under way during a merge may still write under the visitor."""
GIVEN, TAKEN = "merge", "unmerge"
NOT_THEIR_WORD = (GIVEN, TAKEN)
"""Where consent came from that the account did not answer itself."""
ERASED = "erased"
"""Why a merge is refused where one of the two was erased at that moment."""
LATE = timedelta(hours=1)
"""How long after a merge its chore looks for such rows."""
CHUNK = 500


class Moves:
    """What a merge moves from the visitor to the account, noted row by row."""

    def __init__(self, merge: ShopperMerge) -> None:
        self.merge = merge
        self.rows: dict[str, list[Any]] = {label: list(keys) for label, keys in merge.moved.items()}

    def take(self, rows: QuerySet[Any]) -> list[Any]:
        """Move these rows of the visitor's and return their keys; what the account holds already stays."""
        keys = _unclaimed(rows.filter(shopper_id=self.merge.visitor_id), self.merge.account_id)
        for chunk in _chunks(keys):
            rows.model._default_manager.filter(pk__in=chunk).update(shopper_id=self.merge.account_id)
        if keys:
            self.rows.setdefault(rows.model._meta.label_lower, []).extend(_plain(key) for key in keys)
        return keys


class Returns:
    """What goes back to the visitor when a merge is taken back."""

    def __init__(self, merge: ShopperMerge) -> None:
        self.merge = merge

    def moved(self, model: type[Model]) -> Iterator[QuerySet[Any]]:
        """Yield, piece by piece, the rows that the merge moved and that still are the account's."""
        for chunk in _chunks(self.merge.moved.get(model._meta.label_lower, [])):
            yield model._default_manager.filter(pk__in=chunk, shopper_id=self.merge.account_id)

    def give(self, rows: QuerySet[Any]) -> int:
        """Give these rows back and return how many; one that the visitor has anew meanwhile stays."""
        keys = _unclaimed(rows, self.merge.visitor_id)
        return rows.model._default_manager.filter(pk__in=keys).update(shopper_id=self.merge.visitor_id)

    def give_all(self, model: type[Model]) -> int:
        """Give back all that was moved of a table."""
        return sum(self.give(rows) for rows in self.moved(model))


def merge(
    visitor: Shopper, account: Shopper, *, reason: str = ShopperMerge.Reason.API, by: Any = None
) -> ShopperMerge | None:
    """Move all that is known of ``visitor`` to ``account``; None: they are one already.

    Consent only ever widens by the person's own act: the account keeps its ledger, and takes over a purpose only if it
    never answered for it. Raises MergeRefused for a visitor who has an account, or belongs to another one, and where
    one of the two has been erased meanwhile.
    """
    if visitor.pk == account.pk:
        return None
    with transaction.atomic():
        identity.lock([visitor.pk, account.pk])
        try:
            visitor.refresh_from_db()  # another request may have merged them while this one waited
            account.refresh_from_db()
        except Shopper.DoesNotExist:
            raise MergeRefused(reason=ERASED) from None
        if visitor.merged_into_id == account.pk:
            return None
        if visitor.user_id is not None or visitor.merged_into_id is not None or account.merged_into_id is not None:
            raise MergeRefused
        done = ShopperMerge.objects.create(visitor=visitor, account=account, reason=reason, by=by)
        moves = Moves(done)
        days = _days_of(Event.objects.filter(shopper=visitor))
        for model in BEHAVIOUR:
            moves.take(model._default_manager.all())
        leading = list(ShopperAlias.objects.filter(shopper=visitor))
        aliases.hand_over(leading, account)
        moves.rows[ShopperAlias._meta.label_lower] = [alias.pk for alias in leading]
        shoppers_merged.send(sender=Shopper, visitor=visitor, account=account, moves=moves)
        done.moved = moves.rows
        done.agreed = [purpose.value for purpose in CONSENT_PURPOSES if visitor.allows(purpose)]
        done.taken_over = _take_over_consent(visitor, account)
        done.save(update_fields=["moved", "agreed", "taken_over"])
        _set_flags(visitor, (), merged_into=account)
        _rewritten([visitor.pk, account.pk], days)
    return done


def _take_over_consent(visitor: Shopper, account: Shopper) -> list[int]:
    """Write what the visitor agreed to into the account's ledger, where it never answered; returns the new lines."""
    own = ConsentRecord.objects.filter(shopper=account).exclude(source__in=NOT_THEIR_WORD)
    answered = set(own.values_list("purpose", flat=True))
    # What it has by an earlier merge stays that one's: taken back, this one leaves it alone.
    lacking = [purpose for purpose in CONSENT_PURPOSES if not account.allows(purpose)]
    wanted = {purpose.value for purpose in lacking if visitor.allows(purpose)} - answered
    latest = {row.purpose: row for row in ConsentRecord.objects.filter(shopper=visitor).order_by("at", "pk")}
    lines = [
        ConsentRecord(
            shopper=account,
            purpose=purpose,
            granted=True,
            wording_version=latest[purpose].wording_version if purpose in latest else "",
            source=GIVEN,
        )
        for purpose in sorted(wanted)
    ]
    written = ConsentRecord.objects.bulk_create(lines)
    if wanted:
        _set_flags(account, {*wanted, *(each.value for each in CONSENT_PURPOSES if account.allows(each))})
    return [line.pk for line in written]


def unmerge(merge_id: int, *, by: Any = None) -> ShopperMerge:
    """Take a merge back: what it moved returns to the visitor. Raises MergeGone if there is none to take back.

    What the account did since then stays with it; so does money that it has spent. The account loses the consent that
    it had by the merge alone. The visitor gets back what they had agreed to, unless the account has refused it since.
    """
    found = ShopperMerge.objects.filter(pk=merge_id).first()
    if found is None:
        raise MergeGone
    with transaction.atomic():
        identity.lock([found.visitor_id, found.account_id])
        found = ShopperMerge.objects.select_related("visitor", "account").get(pk=merge_id)
        open_still = ShopperMerge.objects.filter(pk=merge_id, undone_at=None)
        if not open_still.update(undone_at=timezone.now(), undone_by=by):
            raise MergeGone
        returns = Returns(found)  # late rows that were not swept yet are the visitor's anyway
        days = _together(_days_of(rows) for rows in returns.moved(Event))
        for model in BEHAVIOUR:
            returns.give_all(model)
        for rows in returns.moved(ShopperAlias):
            aliases.hand_over(rows, found.visitor)
        shoppers_unmerged.send(
            sender=Shopper, visitor=found.visitor, account=found.account, merge=found, returns=returns
        )
        _return_consent(found)
        audit.note(audit.Action.UNMERGED, by=by, subject=audit.pseudonym(found.account), merge=found.pk)
        _rewritten([found.visitor_id, found.account_id], days)
    found.refresh_from_db()
    return found


def _return_consent(done: ShopperMerge) -> None:
    visitor, account = done.visitor, done.account
    latest = {row.purpose: row for row in ConsentRecord.objects.filter(shopper=account).order_by("at", "pk")}
    borrowed = {purpose for purpose, row in latest.items() if row.pk in set(done.taken_over)}
    refused = {
        purpose for purpose, row in latest.items() if not row.granted and row.source != TAKEN and row.at >= done.at
    }
    kept = {each.value for each in CONSENT_PURPOSES if account.allows(each)} - borrowed
    lost = set(done.agreed) & refused
    ConsentRecord.objects.bulk_create(
        ConsentRecord(
            shopper=person, purpose=purpose, granted=False,
            wording_version=latest[purpose].wording_version, source=TAKEN,
        )
        for person, purposes in ((account, borrowed), (visitor, lost))
        for purpose in sorted(purposes)
    )  # fmt: skip
    _set_flags(account, kept)
    _set_flags(visitor, set(done.agreed) - lost, merged_into=None)
    for person, purposes in ((account, borrowed), (visitor, lost)):
        withdrawn = frozenset(Purpose(purpose) for purpose in purposes)
        if Purpose.PERSONALISATION in withdrawn:
            profiles.forget(person)
        if withdrawn:
            consent_withdrawn.send(sender=ConsentRecord, shopper_id=person.pk, purposes=withdrawn)


def _set_flags(shopper: Shopper, agreed: Collection[str], **also: Any) -> None:
    """Cache which purposes somebody has agreed to, in the row and in the object at hand."""
    changes = {f"consent_{purpose.value}": purpose.value in agreed for purpose in CONSENT_PURPOSES} | also
    Shopper.objects.filter(pk=shopper.pk).update(**changes)
    for name, value in changes.items():
        setattr(shopper, name, value)


def settle() -> int:
    """Move what requests under way during a recent merge wrote under the visitor; returns how many rows (a chore)."""
    recent = ShopperMerge.objects.filter(undone_at=None, at__gte=timezone.now() - LATE)
    visitors = recent.values("visitor")
    late = {
        shopper
        for model in BEHAVIOUR
        for shopper in model._default_manager.filter(shopper__in=visitors).values_list("shopper", flat=True).distinct()
    }
    return sum(_settle_one(merge_id) for merge_id in recent.filter(visitor__in=late).values_list("pk", flat=True))


def _settle_one(merge_id: int) -> int:
    done = ShopperMerge.objects.get(pk=merge_id)
    with transaction.atomic():
        identity.lock([done.visitor_id, done.account_id])
        still = ShopperMerge.objects.filter(pk=merge_id, undone_at=None).first()
        return 0 if still is None else _sweep(still)


def _sweep(done: ShopperMerge) -> int:
    """Move late rows after their merge, and note them with it; call it with both shoppers locked."""
    moves = Moves(done)
    days = _days_of(Event.objects.filter(shopper=done.visitor_id))
    count = sum(len(moves.take(model._default_manager.all())) for model in BEHAVIOUR)
    if count:
        done.moved = moves.rows
        done.save(update_fields=["moved"])
        _rewritten([done.visitor_id, done.account_id], days)
    return count


def _unclaimed(rows: QuerySet[Any], owner: int) -> list[Any]:
    """Return the keys of rows for which ``owner`` has no counterpart in a table that allows one."""
    keys = _keys_beside_shopper(rows.model)
    if not keys:
        return list(rows.values_list("pk", flat=True))
    held = set(rows.model._default_manager.filter(shopper_id=owner).values_list(*keys))
    return [row[0] for row in rows.order_by("pk").values_list("pk", *keys) if row[1:] not in held]


def _keys_beside_shopper(model: type[Model]) -> tuple[str, ...]:
    """Return what a shopper can have only one row of, by the table's own constraint; empty if nothing limits it."""
    for constraint in model._meta.constraints:
        if isinstance(constraint, UniqueConstraint) and "shopper" in constraint.fields and not constraint.condition:
            return tuple(name for name in constraint.fields if name != "shopper")
    return ()


def _chunks(keys: Collection[Any]) -> Iterator[list[Any]]:
    return identity.batches(keys, CHUNK)


def _plain(key: Any) -> Any:
    return key if isinstance(key, int) else str(key)


_Days = tuple[date, date] | None


def _days_of(events: QuerySet[Event]) -> _Days:
    """Return the first and the last day (UTC) of these events; None if there are none."""
    moments: list[datetime] = list(events.order_by("occurred_at").values_list("occurred_at", flat=True)[:1])
    if not moments:
        return None
    last = events.order_by("-occurred_at").values_list("occurred_at", flat=True)[0]
    return moments[0].astimezone(UTC).date(), last.astimezone(UTC).date()


def _together(spans: Iterable[_Days]) -> _Days:
    known = [span for span in spans if span is not None]
    return (min(span[0] for span in known), max(span[1] for span in known)) if known else None


def _rewritten(shopper_ids: list[int], days: _Days) -> None:
    if days is not None:
        events_rewritten.send(sender=Event, shopper_ids=shopper_ids, first_day=days[0], last_day=days[1])
