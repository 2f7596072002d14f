"""Everything that is kept about a shopper, handed out. The rooms are those of :mod:`personalization.privacy.rooms`."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from personalization.models import Shopper
from personalization.privacy.rooms import EXPORTED, RELATED
from personalization.tracking import audit, sealing
from personalization.tracking.identity import people_of
from personalization.types import CONSENT_PURPOSES


def export(shopper: Shopper, *, by: Any = None, why: str = audit.Why.REQUEST, reference: str = "") -> dict[str, Any]:
    """Return everything kept about a shopper, ready for JSON.

    ``by``: the member of staff who hands it out; the audit log then says so, with ``why`` and ``reference`` (a
    ticket's number). Shoppers who look at their own leave no line.
    """
    profile = {
        "population": shopper.population,
        "attributes": sealing.open_properties(shopper.attributes),
        "key": str(shopper.key),
        "joined_at": shopper.joined_at,
        **{f"consent_{purpose.value}": shopper.allows(purpose) for purpose in CONSENT_PURPOSES},
    }
    kept: dict[str, Any] = {"profile": profile}
    people = people_of(shopper.pk)
    with transaction.atomic():
        for name, (model, fields) in EXPORTED.items():
            kept[name] = _rows(model, "shopper", people, fields)
        for name, (model, path, fields) in RELATED.items():
            kept[name] = _rows(model, path, people, fields)
        kept["disclosures"] = list(audit.about(shopper).order_by("pk").values("action", "kind", "why", "at"))
        if by is not None:
            audit.note(
                audit.Action.EXPORTED, by=by, subject=audit.pseudonym(shopper), why=why, reference=reference,
                rows={name: len(rows) for name, rows in kept.items() if name != "profile"},
            )  # fmt: skip
    return kept


def _rows(model: Any, path: str, people: list[int], fields: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = model._default_manager.filter(**{f"{path}__in": people}).order_by("pk")
    return [_opened(row) for row in rows.values(*fields).iterator(chunk_size=2000)]


def _opened(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("properties", "payload", "attributes"):
        if name in row:
            row[name] = sealing.open_properties(sealing.unseal(row[name]))
    return row
