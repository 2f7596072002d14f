"""Events from the shop's own files: a batch and how far it brought the file are one transaction.

Killed at any moment, an import goes on where the last committed batch ended. Run again from the start it adds nothing:
an event's identity is its id, or the file's digest and the row's number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import transaction
from django.utils import timezone

from personalization import conf
from personalization.exceptions import ImportMoved
from personalization.models import EventImport, Shopper, ShopperAlias
from personalization.tracking import identity, parsing, partitions
from personalization.tracking.checking import storable
from personalization.tracking.ingest import Sorting
from personalization.tracking.parsing import Envelope
from personalization.types import CONSENT_PURPOSES, IngestResult, Purpose, ShopperData

SHOPPER = "shopper"
"""The field that says whose event it is; it is not stored with the event."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, counted from 0: an event as far as it could be read, else what is wrong with it."""

    number: int
    raw: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an import takes for granted.

    ``accounts``: shoppers are named by the primary key of their account, else by their external id. ``purposes`` are
    what people whom nobody knows yet agreed to: they are written to the consent ledger.
    """

    accounts: bool = False
    purposes: frozenset[Purpose] = frozenset()
    channel: str = ""


@dataclass(slots=True)
class Report:
    """What became of the rows so far; ``reasons`` counts those that were kept aside."""

    rows: int = 0
    result: IngestResult = field(default_factory=IngestResult)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, rows: int, result: IngestResult, reasons: Counter[str]) -> None:
        """Add one batch."""
        self.rows += rows
        self.reasons += reasons
        self.result = IngestResult(
            self.result.accepted + result.accepted,
            self.result.duplicates + result.duplicates,
            self.result.quarantined + result.quarantined,
            self.result.dropped + result.dropped,
        )


def begin(digest: str, source: str, name: str, *, resume: bool) -> EventImport:
    """Return how far this file has come: with ``resume`` as it was left, else from the start."""
    run, made = EventImport.objects.get_or_create(digest=digest, source=source, defaults={"name": name[:200]})
    if not made and not resume:
        run.rows_done = run.accepted = run.duplicates = run.quarantined = run.dropped = 0
        run.started_at, run.finished_at = timezone.now(), None
        run.save()
    return run


def store(run: EventImport, rows: Sequence[Row], terms: Terms, report: Report, *, dry: bool = False) -> None:
    """Store the file's next rows, with how far it has come now. ``dry``: only say what would become of them.

    Raises ImportMoved where somebody else imports the same file.
    """
    with transaction.atomic():
        current = EventImport.objects.select_for_update().get(pk=run.pk) if not dry else run
        if current.rows_done != run.rows_done:
            raise ImportMoved
        sorting = _sorted(run, rows, terms)
        result = sorting.store(per_source=conf.get().quarantine_per_day)
        if dry:
            transaction.set_rollback(True)
        current.rows_done = rows[-1].number + 1
        current.accepted += result.accepted
        current.duplicates += result.duplicates
        current.quarantined += result.quarantined
        current.dropped += result.dropped
        if not dry:
            current.save()
    run.rows_done = current.rows_done
    partitions.keep_house()
    report.add(len(rows), result, Counter(each.code for each in sorting.rejected))


def finish(run: EventImport) -> None:
    """Note that the file is done."""
    EventImport.objects.filter(pk=run.pk).update(finished_at=timezone.now())


def _sorted(run: EventImport, rows: Sequence[Row], terms: Terms) -> Sorting:
    none = frozenset({Purpose.CONTRACT})
    envelope = Envelope(run.source, timezone.now(), none, channel=terms.channel, trusted=True)
    sorting = Sorting(envelope)
    owners = _owners(rows, terms, envelope)
    for row in rows:
        origin = f"{run.digest[:16]}:{row.number}"
        raw = {name: value for name, value in row.raw.items() if name != SHOPPER}
        named = _named(row)
        if row.error:
            sorting.reject(raw, "bad_row", row.error, None, origin)
        elif not named:
            sorting.reject(raw, "no_shopper", "The row does not say whose event it is.", None, origin)
        elif (owner := owners.get(named)) is not None:
            agreed = frozenset({Purpose.CONTRACT, *(each for each in CONSENT_PURPOSES if owner.allows(each))})
            sorting.add(raw, owner.pk, default_id=origin, envelope=replace(envelope, purposes=agreed))
        elif terms.accounts:
            sorting.reject(raw, "no_shopper", "There is no such account.", None, origin)
        else:
            sorting.dropped += 1  # nobody knows them, and they agreed to nothing
    return sorting


def _named(row: Row) -> str:
    """Return whom a row names; nothing where that is no name: a list, say, or text that no database can hold."""
    value = row.raw.get(SHOPPER)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value in (math.inf, -math.inf):
        return ""
    name = str(value) if value == value else ""  # NaN stands for an empty cell
    return name if name.strip() and storable(name) == name else ""


def _owners(rows: Sequence[Row], terms: Terms, envelope: Envelope) -> dict[str, Shopper]:
    """Return whose the events are, by the name in the file; those who may have no event are not made for it."""
    named = {name for row in rows if not row.error and (name := _named(row))}
    if terms.accounts:
        return _of_accounts(named)
    kind = ShopperAlias.Kind.EXTERNAL
    known = dict(ShopperAlias.objects.filter(kind=kind, value__in=named).values_list("value", "shopper_id"))
    allowed = {*terms.purposes, *envelope.purposes}
    wanted = {_named(row) for row in rows if parsing.purpose_of(parsing.declared(row.raw), envelope) in allowed}
    fresh = [
        ShopperData(name, population=conf.get().population, purposes=terms.purposes)
        for name in sorted((named & wanted) - known.keys())
        if len(name) <= 128
    ]
    known.update(identity.upsert_shoppers(fresh))
    shoppers = Shopper.objects.select_related("merged_into").in_bulk(set(known.values()))
    return {name: shoppers[pk].merged_into or shoppers[pk] for name, pk in known.items()}


def _of_accounts(names: set[str]) -> dict[str, Shopper]:
    """Return primary key as it is written → the account's shopper, made if there is none yet."""
    field = get_user_model()._meta.pk
    keys: dict[Any, str] = {}
    for name in sorted(names):
        try:
            keys[field.clean(name, None)] = name
        except ValidationError:  # no key of any account, written or counted
            continue
    found = {keys[shopper.user_id]: shopper for shopper in Shopper.objects.filter(user_id__in=keys)}
    for key, name in keys.items():
        if name not in found:
            try:
                found[name] = identity.shopper_for_user_id(key)
            except ObjectDoesNotExist:
                continue
    return found
