"""Who turned out to be whom: merges with what each one moved, and the ids that led to somebody before."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.models.keys import staff_key
from personalization.models.shoppers import ShopperAlias


class ShopperMerge(models.Model):
    """A visitor who was found to be an account. ``moved`` says which rows went over, so that it can be taken back."""

    class Reason(models.TextChoices):
        LOGIN = "login", _("login")
        STAFF = "staff", _("by staff")
        API = "api", _("by the shop’s code")

    visitor = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("visitor"), on_delete=models.CASCADE, related_name="+"
    )
    account = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("account"), on_delete=models.CASCADE, related_name="+"
    )
    reason = models.CharField(_("reason"), max_length=10, choices=Reason.choices)
    by = staff_key(_("by"))
    at = models.DateTimeField(_("merged"), default=timezone.now)
    moved = models.JSONField(_("what was moved"), default=dict, help_text=_("Model → primary keys."))
    agreed = models.JSONField(_("what the visitor had agreed to"), default=list)
    taken_over = models.JSONField(
        _("consent records that the account got"), default=list, help_text=_("Their primary keys.")
    )
    undone_at = models.DateTimeField(_("taken back"), null=True, blank=True)
    undone_by = staff_key(_("taken back by"))

    class Meta:
        verbose_name = _("merge")
        verbose_name_plural = _("merges")
        constraints = [
            models.UniqueConstraint(fields=["visitor"], condition=Q(undone_at=None), name="pz_merge_open"),
            models.CheckConstraint(condition=~Q(visitor=F("account")), name="pz_merge_two"),
        ]
        indexes = [models.Index(fields=["at"], condition=Q(undone_at=None), name="pz_merge_recent")]
        permissions = [("undo_shoppermerge", "Can take merges back")]

    def __str__(self) -> str:
        return f"{self.visitor_id} → {self.account_id}"


class FormerAlias(models.Model):
    """A span of time in which an id led to a shopper, written when it ended. The id is kept as a keyed hash.

    The span that still lasts is the :class:`ShopperAlias` itself: together they tell whose an id was when.
    """

    shopper = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("shopper"), on_delete=models.CASCADE, related_name="former_aliases"
    )
    kind = models.CharField(_("kind"), max_length=10, choices=ShopperAlias.Kind.choices)
    digest = models.CharField(_("id (hashed)"), max_length=64)
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"))

    class Meta:
        verbose_name = _("former alias")
        verbose_name_plural = _("former aliases")
        constraints = [models.CheckConstraint(condition=Q(until__gte=F("since")), name="pz_former_alias_span")]
        indexes = [models.Index(fields=["digest", "since"], name="pz_former_alias")]

    def __str__(self) -> str:
        return f"{self.kind}:{self.digest[:8]}"
