"""Events counted by shopper and UTC day, how far the counting has come, and which days must be counted again.

``RollupState.through`` is the key of the last event that is in: what came later is read from the log itself. The rows
of a shopper count only while ``RolledShopper`` names the shopper and no ``StaleDays`` does.
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class RollupState(models.Model):
    """How far the log has been counted: one row, whose lock is what two counting processes queue for."""

    through = models.BigIntegerField(_("last event counted"), default=0)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("state of the daily counts")
        verbose_name_plural = _("state of the daily counts")
        constraints = [
            models.CheckConstraint(condition=Q(pk=1), name="pz_rollup_one_row"),
            models.CheckConstraint(condition=Q(through__gte=0), name="pz_rollup_through"),
        ]

    def __str__(self) -> str:
        return str(self.through)


class RolledShopper(models.Model):
    """A shopper all of whose events up to ``RollupState.through`` are counted."""

    shopper = models.OneToOneField(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="+",
    )

    class Meta:
        verbose_name = _("shopper with daily counts")
        verbose_name_plural = _("shoppers with daily counts")

    def __str__(self) -> str:
        return str(self.shopper_id)


class StaleDays(models.Model):
    """Days (UTC, inclusive) of a shopper whose events changed after they were counted. Written with the change."""

    shopper = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("shopper"), on_delete=models.CASCADE, related_name="+"
    )
    first_day = models.DateField(_("first day"))
    last_day = models.DateField(_("last day"))

    class Meta:
        verbose_name = _("days to count again")
        verbose_name_plural = _("days to count again")
        constraints = [models.CheckConstraint(condition=Q(first_day__lte=F("last_day")), name="pz_stale_days_order")]

    def __str__(self) -> str:
        return f"{self.shopper_id}: {self.first_day}–{self.last_day}"


class _Daily(models.Model):
    """What the tables of counts have in common; robots' events are in none of them."""

    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,  # the primary key begins with it
    )
    day = models.DateField(_("day (UTC)"))

    class Meta:
        abstract = True


class ShopperDay(_Daily):
    """One shopper's day. ``device`` is the last one seen that day behind its moment, for finding the latest."""

    pk = models.CompositePrimaryKey("shopper_id", "day")
    events = models.IntegerField(_("events"))
    orders = models.IntegerField(_("orders"))
    spent_minor = models.BigIntegerField(_("spent (minor units)"))
    largest_minor = models.BigIntegerField(_("largest order (minor units)"), null=True)
    product_views = models.IntegerField(_("products viewed"))
    searches = models.IntegerField(_("searches"))
    basket_changes = models.IntegerField(_("basket changes"))
    first_order_at = models.DateTimeField(_("first order"), null=True)
    last_order_at = models.DateTimeField(_("last order"), null=True)
    last_stream_at = models.DateTimeField(_("last event that features read"), null=True)
    last_seen_at = models.DateTimeField(_("last seen"))
    device = models.CharField(_("device"), max_length=60, null=True)

    class Meta:
        verbose_name = _("day of a shopper")
        verbose_name_plural = _("days of shoppers")

    def __str__(self) -> str:
        return f"{self.shopper_id}: {self.day}"


class ShopperDayCategory(_Daily):
    """What a shopper looked at and bought on a day, by category; ``item_id`` where the event named no category."""

    pk = models.CompositePrimaryKey("shopper_id", "day", "category", "item_id")
    category = models.CharField(_("category"), max_length=100, blank=True)
    item_id = models.CharField(_("product"), max_length=100, blank=True)
    looks = models.IntegerField(_("looks"))
    orders = models.IntegerField(_("orders"))

    class Meta:
        verbose_name = _("category of a shopper's day")
        verbose_name_plural = _("categories of shoppers' days")

    def __str__(self) -> str:
        return f"{self.shopper_id}: {self.day} {self.category or self.item_id}"
