"""What products used to cost: without it nobody can say that a price has fallen since somebody looked."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _


class PricePoint(models.Model):
    """One price of one product, from ``since`` until ``until``; without an end it is the price at the last sync."""

    item_id = models.CharField(_("product id"), max_length=100)
    price_minor = models.BigIntegerField(_("price (minor units)"))
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"), null=True, blank=True)

    class Meta:
        verbose_name = _("price")
        verbose_name_plural = _("prices")
        constraints = [
            models.UniqueConstraint(fields=["item_id"], condition=Q(until__isnull=True), name="pz_price_current_once"),
            models.CheckConstraint(condition=Q(until__isnull=True) | Q(until__gte=F("since")), name="pz_price_span"),
        ]
        indexes = [models.Index(fields=["item_id", "since"], name="pz_price_item")]

    def __str__(self) -> str:
        return f"{self.item_id} {self.price_minor} {self.currency}"
