"""What a campaign looked like after each edit, who made it and what differs; and which edits its state still allows.

An edit is: :func:`require` (locks, and refuses whoever looked at an older revision) → write → :func:`record`, in one
transaction. ``record`` compares what the database holds now with the revision before, refuses what the campaign's
state has frozen, and counts the revision up by a conditional UPDATE.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, models, transaction
from django.db.models import F, ProtectedError
from django.db.transaction import TransactionManagementError
from django.utils.translation import gettext_noop

from personalization import conf
from personalization.exceptions import FrozenField, PersonalizationError, RevisionOutdated
from personalization.models import Campaign, CampaignRevision, Offer, Trigger

Status = Campaign.Status
Snapshot = dict[str, Any]
Change = dict[str, Any]
OPEN = frozenset({Status.DRAFT, Status.REVIEW})
CLOSED = frozenset({Status.ENDED, Status.ARCHIVED})
PARTS: dict[str, type[models.Model]] = {"offers": Offer, "triggers": Trigger}
MODELS: dict[str, type[models.Model]] = {"campaign": Campaign, "offer": Offer, "trigger": Trigger}
WHAT = {"offers": "offer", "triggers": "trigger"}


def columns(model: type[models.Model]) -> tuple[str, ...]:
    """Return the columns that people and programs edit: no key, no counter, no state."""
    kept = {"attributes"} if model is Offer else set()
    return tuple(
        field.name
        for field in model._meta.concrete_fields
        if not field.primary_key and not field.is_relation and (field.editable or field.name in kept)
    )


@dataclass(frozen=True, slots=True)
class Editable:
    """What may be edited now. ``later_end``: the end may only move further away."""

    campaign: frozenset[str]
    offers: frozenset[str]
    triggers: frozenset[str]
    may_add: bool
    later_end: bool = False


EVERYTHING = Editable(frozenset(columns(Campaign)), frozenset(columns(Offer)), frozenset(columns(Trigger)), True)
NOTHING = Editable(frozenset(), frozenset(), frozenset(), False)
WORDS = frozenset({"name", "headline", "body", "body_html", "cta_label", "cta_url"})
LIVE = Editable(
    campaign=frozenset({"name", "goal", "priority", "budget_minor", "pacing", "gate_liability", "ends_at", "sites"}),
    offers=WORDS | {"slots", "max_issued", "max_redemptions"},
    triggers=frozenset({"active", "channels"}),
    may_add=False,
)


def editable_fields(campaign: Campaign) -> Editable:
    """Return what may be edited in the campaign's state.

    A draft: everything. From the schedule on, what coupons, forecast and measurement rest on is fixed (kind, terms,
    audience, delivery, start, currency); words, places, limits and budget stay open, the database holding them above
    what is used. Once it has started the end only moves away: coupons carry it. Where approval is required, a running
    campaign takes no edit but of its name and goal: whoever wants more pauses it, and it is approved again.
    """
    if campaign.status in OPEN:
        return EVERYTHING
    if campaign.status in CLOSED:
        return NOTHING
    if campaign.status == Status.SCHEDULED:
        return LIVE
    if campaign.status == Status.RUNNING and conf.get().approval_required:
        return Editable(frozenset({"name", "goal"}), frozenset(), frozenset(), may_add=False)
    return Editable(LIVE.campaign, LIVE.offers, LIVE.triggers, may_add=False, later_end=True)


def snapshot(campaign: Campaign) -> Snapshot:
    """Return the campaign, its offers and triggers as JSON, as the database holds them now."""
    stored = Campaign.objects.get(pk=campaign.pk)
    taken: Snapshot = {"campaign": _row(stored)}
    for part, model in PARTS.items():
        rows = model._default_manager.filter(campaign=stored).order_by("pk")
        taken[part] = {str(row.pk): _row(row) for row in rows}
    return taken


def require(campaign: Campaign, revision: int) -> None:
    """Lock the campaign for an edit; raise RevisionOutdated unless ``revision`` is still the latest.

    Call it inside the edit's transaction, before the first write. Raises FrozenField for a campaign that is over.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("require() belongs inside the edit's transaction.atomic().")
    # The app's order of locks: offers before their campaign.
    list(Offer.objects.select_for_update().filter(campaign=campaign).order_by("pk").values_list("pk"))
    stored = Campaign.objects.select_for_update().filter(pk=campaign.pk).values_list("revision", "status").first()
    if stored is None or stored[0] != revision:
        raise RevisionOutdated
    if stored[1] in CLOSED:
        raise FrozenField(gettext_noop("The campaign is over: everything is kept as it was."))
    if not CampaignRevision.objects.filter(campaign=campaign).exists():
        # A campaign from before revisions were kept: what it was is the first thing to know.
        CampaignRevision.objects.create(campaign=campaign, number=revision, snapshot=snapshot(campaign))


def record(campaign: Campaign, by: Any = None, note: str = "") -> CampaignRevision | None:
    """Write down an edit that has just been made; None if nothing differs from the latest revision.

    ``campaign.revision`` is the revision that was edited; it is counted up, and an approval lapses with it. Raises
    RevisionOutdated if another edit came first, and FrozenField for a change that the state does not allow: inside
    the edit's transaction, so that nothing of it stays.
    """
    with transaction.atomic():
        counted = Campaign.objects.filter(pk=campaign.pk, revision=campaign.revision)
        if not counted.update(revision=F("revision") + 1):
            raise RevisionOutdated
        previous = CampaignRevision.objects.filter(campaign=campaign).order_by("-number").first()
        taken = snapshot(campaign)
        changes = diff(previous.snapshot, taken) if previous is not None else []
        if previous is not None and not changes:
            Campaign.objects.filter(pk=campaign.pk).update(revision=campaign.revision)
            return None
        status = Campaign.objects.values_list("status", flat=True).get(pk=campaign.pk)
        _refuse_frozen(Campaign(status=status), changes)
        made = CampaignRevision.objects.create(
            campaign=campaign,
            number=campaign.revision + 1,
            snapshot=taken,
            changes=changes,
            note=note[:300],
            by=by,
        )
    campaign.revision = made.number
    return made


def diff(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return what differs: each change names what (campaign, offer, trigger), which, field, before and after.

    What was added or taken away is one change without a field.
    """
    found = _differences("campaign", "", before["campaign"], after["campaign"])
    for part, what in WHAT.items():
        old, new = before.get(part, {}), after.get(part, {})
        for key in sorted({*old, *new}, key=int):
            if key not in new:
                found.append(_change(what, _name(old[key]), "", _name(old[key]), None))
            elif key not in old:
                found.append(_change(what, _name(new[key]), "", None, _name(new[key])))
            else:
                found += _differences(what, _name(new[key]), old[key], new[key])
    return found


def restore(campaign: Campaign, number: int, by: Any = None) -> CampaignRevision | None:
    """Bring a draft back to an older revision, as a new revision; None if it looks like that already.

    Raises FrozenField unless the campaign is a draft, and RevisionOutdated if another edit came first.
    """
    old = CampaignRevision.objects.filter(campaign=campaign, number=number).first()
    if old is None:
        raise PersonalizationError(gettext_noop("There is no such revision."))
    try:
        with transaction.atomic():
            require(campaign, campaign.revision)
            status = Campaign.objects.values_list("status", flat=True).get(pk=campaign.pk)
            if status != Status.DRAFT:
                raise FrozenField(gettext_noop("Only a draft can be brought back to an older revision. Clone it."))
            Campaign.objects.filter(pk=campaign.pk).update(**values(Campaign, old.snapshot["campaign"]))
            for part, model in PARTS.items():
                _restore_rows(model, campaign, old.snapshot.get(part, {}))
            made = record(campaign, by, f"r{number}")
    except ProtectedError:
        raise FrozenField(gettext_noop("An offer that has coupons already cannot be taken away.")) from None
    campaign.refresh_from_db()
    return made


def _restore_rows(model: type[models.Model], campaign: Campaign, rows: dict[str, Any]) -> None:
    manager = model._default_manager
    there = {str(key) for key in manager.filter(campaign=campaign).values_list("pk", flat=True)}
    manager.filter(campaign=campaign, pk__in=there - set(rows)).delete()
    for key, row in rows.items():
        if key in there:
            manager.filter(pk=key).update(**values(model, row))
        else:
            model(campaign=campaign, **values(model, row)).save(force_insert=True)


def _row(row: models.Model) -> dict[str, Any]:
    """Return a row's columns in the shapes that JSON knows; moments in UTC."""
    return {name: _plain(row, name) for name in columns(type(row))}


def _plain(row: models.Model, name: str) -> Any:
    if isinstance(_field(type(row), name), models.DateTimeField | models.DecimalField):
        value = getattr(row, name)
        return value.isoformat() if isinstance(value, datetime) else None if value is None else str(value)
    return getattr(row, name)


def values(model: type[models.Model], row: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot's columns as the database takes them; columns that are gone since are left out."""
    known = set(columns(model))
    return {name: _field(model, name).to_python(value) for name, value in row.items() if name in known}


def _field(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    field = model._meta.get_field(name)
    assert isinstance(field, models.Field)
    return field


def _differences(what: str, name: str, before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    return [
        _change(what, name, field, before[field], value)
        for field, value in after.items()
        if field in before and before[field] != value
    ]


def _change(what: str, name: str, field: str, before: Any, after: Any) -> Change:
    return {"what": what, "name": name, "field": field, "before": before, "after": after}


def _name(row: dict[str, Any]) -> str:
    return str(row.get("name") or row.get("kind") or "")


def _refuse_frozen(campaign: Campaign, changes: list[Change]) -> None:
    """Raise FrozenField for the first change that the campaign's state does not allow."""
    may = editable_fields(campaign)
    open_fields = {"campaign": may.campaign, "offer": may.offers, "trigger": may.triggers}
    state = {"state": Status(campaign.status).label}
    for change in changes:
        if not change["field"]:
            if not may.may_add:
                text = gettext_noop("The campaign is %(state)s: no offer or occasion can be added or taken away.")
                raise FrozenField(text, params=state)
        elif change["field"] not in open_fields[change["what"]]:
            model = MODELS[change["what"]]
            label = str(_field(model, change["field"]).verbose_name)
            text = gettext_noop("The campaign is %(state)s: “%(field)s” cannot be changed.")
            raise FrozenField(text, params={**state, "field": label}, reason=change["field"])
        elif may.later_end and _ends_sooner(change):
            text = gettext_noop("The campaign has started: its end can only move to a later day. End it instead.")
            raise FrozenField(text, reason="ends_at")


def _ends_sooner(change: Change) -> bool:
    if (change["what"], change["field"]) != ("campaign", "ends_at"):
        return False
    return datetime.fromisoformat(change["after"]) < datetime.fromisoformat(change["before"])
