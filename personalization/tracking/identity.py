"""Who is behind a request: visitor cookie, account, guest reference, imported id, all leading to one Shopper.

An account's shopper wins over the visitor's. What happens at login: see ``logins``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache, partial
from itertools import islice
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from personalization import conf
from personalization.models import (
    ConsentRecord,
    Coupon,
    Redemption,
    Reservation,
    Shopper,
    ShopperAlias,
)
from personalization.ports import adapters, records
from personalization.tracking import profiles, sealing, secrets
from personalization.types import ProfileData, ShopperData

_CACHE = "_pz_shopper"
SESSION_KEY = "pz_shopper"
BATCH = 500
T = TypeVar("T")
Profile = tuple[dict[str, Any], datetime | None]
"""A profile's attributes in clear, and since when somebody is a customer."""


def visitor_id(request: HttpRequest) -> str:
    """Return the visitor id from the cookie; an empty string if there is none or it is malformed."""
    return _parsed(request.COOKIES.get(conf.get().cookie_name, ""))


@lru_cache(maxsize=1024)  # one request asks several times
def _parsed(cookie: str) -> str:
    try:
        return uuid.UUID(cookie).hex if cookie else ""
    except ValueError:
        return ""


def remember(request: HttpRequest, shopper: Shopper | None) -> None:
    """Keep the answer for the rest of this request."""
    setattr(request, _CACHE, shopper)


def is_known(request: HttpRequest) -> bool:
    """Return whether this request's shopper was looked up already."""
    return hasattr(request, _CACHE)


def distrust(request: HttpRequest) -> None:
    """Forget an account that the browser led to: somebody else may just have signed in."""
    shopper = getattr(request, _CACHE, None)
    if shopper is not None and shopper.user_id is not None:
        delattr(request, _CACHE)


def shopper_for(request: HttpRequest, *, create: bool = False) -> Shopper | None:
    """Return the request's shopper, or None for somebody unknown.

    At most one query, once a request. ``create=True`` is for contract writes (claiming a coupon, checking out): it
    makes a shopper without any consent, known by the Django session only.
    """
    shopper = getattr(request, _CACHE, None)
    if shopper is None and not hasattr(request, _CACHE):
        shopper = _find(request)
        remember(request, shopper)
    if shopper is None and create:
        shopper = _create_for(request)
        remember(request, shopper)
    return shopper


def _find(request: HttpRequest) -> Shopper | None:
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        return Shopper.objects.filter(user_id=user.pk).first()
    return visitor_shopper(request)


def visitor_shopper(request: HttpRequest) -> Shopper | None:
    """Return the shopper that this browser itself leads to, whoever is signed in: by its cookie, else its session."""
    alias = visitor_alias(request)
    return alias.shopper if alias is not None else _session_shopper(request)


def visitor_alias(request: HttpRequest) -> ShopperAlias | None:
    """Return the alias of the request's visitor cookie, with its shopper; None if it leads nowhere."""
    visitor = visitor_id(request)
    if not visitor:
        return None
    return ShopperAlias.objects.select_related("shopper").filter(kind=ShopperAlias.Kind.VISITOR, value=visitor).first()


def _session_shopper(request: HttpRequest) -> Shopper | None:
    """Return the shopper that the session knows. Of one who was erased or merged since, it forgets the pseudonym:
    only signing in leads to an account."""
    session = getattr(request, "session", None)
    key = session.get(SESSION_KEY) if session is not None else None
    if session is None or not key:
        return None
    found = Shopper.objects.filter(key=key, merged_into=None).first()
    if found is None:
        del session[SESSION_KEY]
    return found


def people_of(shopper: int) -> list[int]:
    """Return a shopper's key and those of everybody merged into them, however many merges ago."""
    people, newest = [shopper], [shopper]
    while newest:
        merged = Shopper.objects.filter(merged_into__in=newest).exclude(pk__in=people).order_by("pk")
        newest = list(merged.values_list("pk", flat=True))
        people += newest
    return people


def is_gone(shopper: Shopper) -> bool:
    """Return whether a shopper who was found before has been erased since."""
    return not Shopper.objects.filter(pk=shopper.pk).exists()


def _create_for(request: HttpRequest) -> Shopper:
    shopper = new_shopper(request)
    if shopper.user_id is None:
        request.session[SESSION_KEY] = str(shopper.key)
    return shopper


def new_shopper(request: HttpRequest) -> Shopper:
    """Return the account's shopper, or a new one that nothing leads to yet."""
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        return shopper_for_user(user)
    return Shopper.objects.create(population=conf.get().population)


def shopper_for_user(user: AbstractBaseUser) -> Shopper:
    """Return the account's shopper, made with its profile if it has none yet."""
    found = Shopper.objects.filter(user_id=user.pk).first()
    if found is not None:
        return found
    adapter = adapters.shoppers()
    profile = adapter.profile(user) if adapter is not None else None
    try:
        with transaction.atomic():
            return Shopper.objects.create(
                user_id=user.pk,
                population=conf.get().population,
                joined_at=profile.joined_at if profile else None,
                attributes=sealing.seal_attributes(profile.attributes) if profile else {},
            )
    except IntegrityError:  # another request of the same account was first
        return Shopper.objects.get(user_id=user.pk)


def shopper_for_guest(reference: str) -> Shopper:
    """Return the shopper behind a guest reference (an e-mail address, say), stored as a keyed hash only.

    A reference is typed, not proven: it never leads to a shopper whom a browser or an account can look into.
    """
    values = secrets.digests(reference.strip().lower(), "guest")
    alias = (
        ShopperAlias.objects.select_related("shopper").filter(kind=ShopperAlias.Kind.GUEST, value__in=values).first()
    )
    if alias is not None:
        return alias.shopper
    try:
        with transaction.atomic():
            shopper = Shopper.objects.create(population=conf.get().population)
            ShopperAlias.objects.create(kind=ShopperAlias.Kind.GUEST, value=values[0], shopper=shopper)
            return shopper
    except IntegrityError:
        return ShopperAlias.objects.select_related("shopper").get(value=values[0]).shopper


def shopper_for_user_id(user_id: Any) -> Shopper:
    """Return the shopper of the account with this primary key."""
    found = Shopper.objects.filter(user_id=user_id).first()
    return found or shopper_for_user(get_user_model()._default_manager.get(pk=user_id))


def lock(people: Iterable[int]) -> None:
    """Lock shoppers and their share of the money, each table in the order in which everybody else locks it.

    For whoever moves or deletes all that is known of somebody: call it first, inside the transaction. Rows that only
    point to a shopper may still be added meanwhile.
    """
    mine = list(people)
    tables: tuple[tuple[QuerySet[Any], tuple[str, ...]], ...] = (
        (Shopper.objects.filter(pk__in=mine), ("pk",)),
        (Reservation.objects.filter(shopper__in=mine), ("coupon_id", "pk")),
        (Redemption.objects.filter(shopper__in=mine), ("coupon_id", "pk")),
        (Coupon.objects.filter(shopper__in=mine), ("pk",)),
    )
    for rows, order in tables:
        list(rows.select_for_update(no_key=True).order_by(*order).values_list("pk", flat=True))


def batches(rows: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Cut a stream into lists of at most ``size``."""
    stream = iter(rows)
    while batch := list(islice(stream, size)):
        yield batch


def upsert_shoppers(rows: Iterable[ShopperData]) -> dict[str, int]:
    """Make or update shoppers known by an external id; returns external id → primary key.

    Idempotent: attributes are replaced, consent is written to the ledger once, in batches of 500.
    """
    found: dict[str, int] = {}
    for batch in batches(rows):
        with transaction.atomic():
            found.update(_upsert_batch(batch))
    return found


def _upsert_batch(batch: list[ShopperData]) -> dict[str, int]:
    external = ShopperAlias.Kind.EXTERNAL
    known = dict(
        ShopperAlias.objects.filter(kind=external, value__in=[row.external_id for row in batch]).values_list(
            "value", "shopper_id"
        )
    )
    known.update(_join_accounts([row for row in batch if row.external_id not in known]))
    latest = {row.external_id: row for row in batch}
    fresh = [row for key, row in latest.items() if key not in known]
    made = Shopper.objects.bulk_create([_new_shopper(row) for row in fresh])
    ShopperAlias.objects.bulk_create(
        ShopperAlias(kind=external, value=row.external_id, shopper_id=shopper.pk)
        for row, shopper in zip(fresh, made, strict=True)
    )
    ConsentRecord.objects.bulk_create(
        ConsentRecord(
            shopper_id=shopper.pk,
            purpose=purpose.value,
            granted=True,
            wording_version="import",
            source=row.consent_source,
        )
        for row, shopper in zip(fresh, made, strict=True)
        for purpose in sorted(row.purposes)
    )
    _refresh_attributes([row for key, row in latest.items() if key in known], known)
    known.update({row.external_id: shopper.pk for row, shopper in zip(fresh, made, strict=True)})
    return known


def _join_accounts(rows: list[ShopperData]) -> dict[str, int]:
    """Know the shoppers of accounts that are here already by their external id too; returns external id → key."""
    users = {row.user_id for row in rows if row.user_id is not None}
    accounts = dict(Shopper.objects.filter(user_id__in=users).values_list("user_id", "pk")) if users else {}
    joined = {row.external_id: accounts[row.user_id] for row in rows if row.user_id in accounts}
    ShopperAlias.objects.bulk_create(
        ShopperAlias(kind=ShopperAlias.Kind.EXTERNAL, value=value, shopper_id=pk) for value, pk in joined.items()
    )
    return joined


def _new_shopper(row: ShopperData) -> Shopper:
    return Shopper(
        population=row.population,
        user_id=row.user_id,
        joined_at=row.joined_at,
        attributes=sealing.seal_attributes(row.attributes),
        created_at=row.joined_at or timezone.now(),
        **{f"consent_{purpose.value}": True for purpose in row.purposes},
    )


def _refresh_attributes(rows: list[ShopperData], known: dict[str, int]) -> None:
    wanted = {known[row.external_id]: (dict(row.attributes), row.joined_at) for row in rows}
    _change(Shopper.objects.filter(pk__in=wanted), lambda shopper: wanted[shopper.pk])


def _change(rows: QuerySet[Shopper], profile_of: Callable[[Shopper], Profile]) -> int:
    """Give shoppers the profile that they have now, in a transaction; returns how many there are.

    What has not changed is not written; the attributes that somebody had before are kept as history.
    """
    shoppers = list(rows.select_for_update(no_key=True).order_by("pk"))
    old = {shopper.pk: (sealing.open_properties(shopper.attributes), shopper.joined_at) for shopper in shoppers}
    new = {shopper.pk: profile_of(shopper) for shopper in shoppers}
    changed = [shopper for shopper in shoppers if new[shopper.pk] != old[shopper.pk]]
    profiles.keep([shopper for shopper in changed if new[shopper.pk][0] != old[shopper.pk][0]], timezone.now())
    for shopper in changed:
        attributes, shopper.joined_at = new[shopper.pk]
        shopper.attributes = sealing.seal_attributes(attributes)
    Shopper.objects.bulk_update(changed, ["attributes", "joined_at"])
    return len(shoppers)


def _told(told: Mapping[Any, ProfileData], shopper: Shopper) -> Profile:
    profile = told[shopper.user_id]
    return dict(profile.attributes), profile.joined_at


def sync_profiles() -> int:
    """Refresh the profile attributes of accounts that already are shoppers, through the host's adapter.

    Raises InvalidRecord for a profile that cannot be stored.
    """
    adapter = adapters.shoppers()
    if adapter is None:
        return 0
    count = 0
    for batch in batches(adapter.profiles()):
        told: dict[Any, ProfileData] = dict(batch)
        for account, profile in told.items():
            records.check_profile(account, profile)
        with transaction.atomic():
            count += _change(Shopper.objects.filter(user_id__in=told), partial(_told, told))
    return count
