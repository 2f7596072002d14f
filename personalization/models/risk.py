"""Abuse: counters that limit guessing, rules that score a redemption, and the queue of those that wait."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.models.keys import staff_key


class RateCount(models.Model):
    """How often something was tried in one window of time, by one account, session or address (keyed hash)."""

    scope = models.CharField(_("scope"), max_length=40)
    digest = models.CharField(_("who"), max_length=64)
    window = models.DateTimeField(_("window begins"))
    count = models.PositiveIntegerField(_("count"), default=0)

    class Meta:
        verbose_name = _("rate count")
        verbose_name_plural = _("rate counts")
        constraints = [models.UniqueConstraint(fields=["scope", "digest", "window"], name="pz_rate_once")]
        indexes = [models.Index(fields=["window"], name="pz_rate_window")]

    def __str__(self) -> str:
        return f"{self.scope}: {self.count}"


class RiskRule(models.Model):
    """One sign of abuse: when the figure reaches the threshold, the points are added to a redemption's score."""

    class Kind(models.TextChoices):
        VELOCITY = "velocity", _("redemptions of one shopper in a day")
        DEVICE = "device", _("shoppers on one device")
        ADDRESS = "address", _("shoppers at one postal address")
        PAYMENT = "payment", _("shoppers with one means of payment")
        NETWORK = "network", _("shoppers at one network address in a day")
        SELF_REFERRAL = "self_referral", _("the coupon comes from the shopper's own referral")
        YOUNG_ACCOUNT = "young_account", _("hours since the account was made, at most")

    kind = models.CharField(_("sign"), max_length=15, choices=Kind.choices, unique=True)
    threshold = models.PositiveIntegerField(_("from"), default=1)
    points = models.PositiveSmallIntegerField(_("points"))
    active = models.BooleanField(_("active"), default=True)
    fired_count = models.PositiveIntegerField(_("reviews it was part of"), default=0, editable=False)
    confirmed_count = models.PositiveIntegerField(_("of these confirmed as abuse"), default=0, editable=False)
    dismissed_count = models.PositiveIntegerField(_("of these dismissed"), default=0, editable=False)

    class Meta:
        verbose_name = _("risk rule")
        verbose_name_plural = _("risk rules")

    def __str__(self) -> str:
        return str(self.get_kind_display())


class RiskFact(models.Model):
    """Where a redemption came from, as a keyed hash: what two shoppers have in common can be counted, not read."""

    reservation = models.ForeignKey(
        "personalization.Reservation", verbose_name=_("reservation"), on_delete=models.CASCADE, related_name="facts"
    )
    shopper = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("shopper"), null=True, on_delete=models.CASCADE, related_name="+"
    )
    kind = models.CharField(_("kind"), max_length=15)
    digest = models.CharField(_("digest"), max_length=64)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("risk fact")
        verbose_name_plural = _("risk facts")
        indexes = [models.Index(fields=["kind", "digest", "at"], name="pz_fact_shared")]
        constraints = [models.UniqueConstraint(fields=["reservation", "kind"], name="pz_fact_once")]

    def __str__(self) -> str:
        return f"{self.kind}:{self.digest[:8]}"


class RiskReview(models.Model):
    """A redemption that waits for somebody's decision; the budget stays reserved meanwhile."""

    class State(models.TextChoices):
        PENDING = "pending", _("waits")
        APPROVED = "approved", _("approved")
        REJECTED = "rejected", _("rejected as abuse")
        LAPSED = "lapsed", _("nobody decided in time")

    reservation = models.OneToOneField(
        "personalization.Reservation", verbose_name=_("reservation"), on_delete=models.CASCADE, related_name="review"
    )
    score = models.PositiveIntegerField(_("score"))
    hits = models.JSONField(_("signs"), default=list, help_text=_("Each: rule, figure, threshold, points."))
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.PENDING)
    decided_by = staff_key(_("decided by"))
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    note = models.CharField(_("note"), max_length=300, blank=True)
    created_at = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        verbose_name = _("risk review")
        verbose_name_plural = _("risk reviews")
        permissions = [("decide_riskreview", _("Can decide on redemptions that wait"))]
        indexes = [models.Index(fields=["created_at"], condition=Q(state="pending"), name="pz_review_waiting")]

    def __str__(self) -> str:
        return f"{self.get_state_display()} {self.score}"
