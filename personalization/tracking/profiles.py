"""Earlier profiles: what a shopper's attributes were until they changed, so that the past can be read as it was."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Max

from personalization.models import ProfileVersion, Shopper


def keep(shoppers: Iterable[Shopper], at: datetime) -> None:
    """Write down the attributes that these shoppers have had until now; call it with their rows locked.

    Only of those who agreed to personalisation. What has held for no time at all is not kept.
    """
    mine = {shopper.pk: shopper.attributes for shopper in shoppers if shopper.consent_personalisation}
    if not mine:
        return
    rows = ProfileVersion.objects.filter(shopper__in=mine).order_by().values_list("shopper")
    since = dict(rows.annotate(last=Max("valid_to")).values_list("shopper", "last"))
    ProfileVersion.objects.bulk_create(
        ProfileVersion(shopper_id=pk, attributes=attributes, valid_from=since.get(pk), valid_to=at)
        for pk, attributes in mine.items()
        if pk not in since or since[pk] < at
    )


def forget(shopper: Shopper) -> None:
    """Remove a shopper's earlier profiles: they no longer agree."""
    ProfileVersion.objects.filter(shopper=shopper).delete()


def forget_refused() -> int:
    """Remove the earlier profiles of all who do not agree, however that came about; returns how many."""
    return ProfileVersion.objects.filter(shopper__consent_personalisation=False).delete()[0]
