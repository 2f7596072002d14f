"""The app's copy of what it needs to know about products, keyed by the host's string id."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class CatalogItem(models.Model):
    """A product as last synchronised. Serving asks the host's adapter for the current truth."""

    item_id = models.CharField(_("product id"), max_length=100, unique=True)
    label = models.CharField(_("source"), max_length=80)
    population = models.CharField(_("population"), max_length=40, default="shop")
    title = models.CharField(_("title"), max_length=300)
    category = models.CharField(_("category"), max_length=100, blank=True)
    brand = models.CharField(_("brand"), max_length=100, blank=True)
    price_minor = models.BigIntegerField(_("price (minor units)"), null=True, blank=True)
    cost_minor = models.BigIntegerField(_("cost (minor units)"), null=True, blank=True)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    visible = models.BooleanField(_("visible"), default=True)
    synced_at = models.DateTimeField(_("synchronised"), default=timezone.now)

    class Meta:
        verbose_name = _("catalogue item")
        verbose_name_plural = _("catalogue items")
        indexes = [models.Index(fields=["population", "category"], name="pz_item_category")]

    def __str__(self) -> str:
        return self.title
