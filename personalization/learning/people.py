"""Read the shoppers a worker may learn from, with their profiles as they were.

Only consenting, unmerged shoppers who do not look like bots; of their profiles nothing that is protected, unless the
shop has said that offers may use it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import numpy as np
from django.db.models import QuerySet

from personalization import conf
from personalization.features.frames import NEVER, EarlierProfiles, Shoppers, milliseconds
from personalization.learning import fairness
from personalization.models import ProfileVersion, Shopper

CHUNK = 20_000


def readable(population: str) -> QuerySet[Shopper]:
    """Return the shoppers of whom a worker may read anything."""
    return Shopper.objects.filter(population=population, merged_into=None, is_bot=False, consent_personalisation=True)


def load(population: str, until: datetime) -> Shoppers:
    """Return the population's shoppers, ascending by key; nothing of a profile that came after ``until``."""
    rows = (
        readable(population)
        .order_by("pk")
        .values_list("pk", "attributes", "joined_at", "created_at")
        .iterator(chunk_size=CHUNK)
    )
    ids: list[int] = []
    attributes: list[dict[str, Any]] = []
    since: list[int] = []
    hidden = fairness.hidden_from_offers(population)
    own = population == conf.get().population  # elsewhere "created" is only when the row was imported
    for pk, profile, joined, created in rows:
        ids.append(pk)
        attributes.append(_without(profile, hidden))
        known = joined or (created if own else None)
        since.append(int(NEVER) if known is None else milliseconds(known))
    found = Shoppers(np.array(ids, dtype=np.int64), attributes, np.array(since, dtype=np.int64))
    _restore_profiles(found, population, until, hidden)
    return found


def _without(profile: dict[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in profile.items() if name not in hidden} if hidden else profile


def _restore_profiles(shoppers: Shoppers, population: str, until: datetime, hidden: Collection[str]) -> None:
    """Take back what changed after ``until``, and add what profiles were before it."""
    position = {int(pk): index for index, pk in enumerate(shoppers.ids)}
    rows = (
        ProfileVersion.objects.filter(shopper__population=population)
        .order_by("shopper", "-valid_to")
        .values_list("shopper_id", "valid_to", "attributes")
        .iterator(chunk_size=CHUNK)
    )
    earlier: list[tuple[int, int, dict[str, Any]]] = []
    for pk, valid_to, profile in rows:
        shopper = position.get(pk)
        if shopper is None:
            continue
        attributes = _without(profile, hidden)
        if valid_to > until:
            shoppers.attributes[shopper] = attributes  # the earliest of them comes last
        else:
            earlier.append((shopper, milliseconds(valid_to), attributes))
    earlier.sort(key=lambda version: version[:2])
    shoppers.earlier = EarlierProfiles(
        np.array([shopper for shopper, _until, _attributes in earlier], dtype=np.int64),
        np.array([moment for _shopper, moment, _attributes in earlier], dtype=np.int64),
        [attributes for _shopper, _until, attributes in earlier],
    )
