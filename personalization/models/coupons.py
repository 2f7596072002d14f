"""Codes, holds, redemptions and the ledger that explains every cent."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Coupon(models.Model):
    """An issued code. The code itself is stored as keyed hash (lookup) and ciphertext (showing it again)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    offer = models.ForeignKey(
        "personalization.Offer", verbose_name=_("offer"), on_delete=models.PROTECT, related_name="coupons"
    )
    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="coupons",
    )
    claim_no = models.PositiveSmallIntegerField(_("claim number"), default=1)
    code_digest = models.CharField(_("code digest"), max_length=64, unique=True, editable=False)
    code_ciphertext = models.TextField(_("code, encrypted"), editable=False)
    max_uses = models.PositiveIntegerField(_("uses at most"), default=1)
    reserved_count = models.PositiveIntegerField(_("reserved"), default=0, editable=False)
    used_count = models.PositiveIntegerField(_("used"), default=0, editable=False)
    claim_key = models.CharField(_("claim key"), max_length=100, blank=True, editable=False)
    voided_at = models.DateTimeField(_("voided"), null=True, blank=True)
    issued_at = models.DateTimeField(_("issued"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    decision = models.ForeignKey(
        "personalization.Decision",
        verbose_name=_("claimed from"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )

    class Meta:
        verbose_name = _("coupon")
        verbose_name_plural = _("coupons")
        constraints = [
            models.UniqueConstraint(fields=["offer", "shopper", "claim_no"], name="pz_coupon_claim_once"),
            models.CheckConstraint(
                condition=Q(max_uses__gte=F("reserved_count") + F("used_count")), name="pz_coupon_uses"
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)[:8]


class Reservation(models.Model):
    """A discount set aside for one basket until it is redeemed, released or expires."""

    class State(models.TextChoices):
        HELD = "held", _("held")
        REDEEMED = "redeemed", _("redeemed")
        RELEASED = "released", _("released")
        EXPIRED = "expired", _("expired")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    coupon = models.ForeignKey(Coupon, verbose_name=_("coupon"), on_delete=models.PROTECT, related_name="reservations")
    offer = models.ForeignKey(
        "personalization.Offer", verbose_name=_("offer"), on_delete=models.PROTECT, related_name="+"
    )
    campaign = models.ForeignKey(
        "personalization.Campaign", verbose_name=_("campaign"), on_delete=models.PROTECT, related_name="+"
    )
    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    idempotency_key = models.CharField(_("idempotency key"), max_length=100, unique=True)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.HELD)
    amount_minor = models.BigIntegerField(_("amount (minor units)"))
    per_line_minor = models.JSONField(_("per line"), default=list)
    basket_reference = models.CharField(_("basket"), max_length=100, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"))

    class Meta:
        verbose_name = _("reservation")
        verbose_name_plural = _("reservations")
        constraints = [models.CheckConstraint(condition=Q(amount_minor__gte=0), name="pz_reservation_amount")]
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(state="held"), name="pz_reservation_expiring"),
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.amount_minor}"


class Redemption(models.Model):
    """A reservation that became part of an order. ``refunded_minor`` never passes ``amount_minor``."""

    reservation = models.OneToOneField(
        Reservation, verbose_name=_("reservation"), on_delete=models.PROTECT, related_name="redemption"
    )
    coupon = models.ForeignKey(Coupon, verbose_name=_("coupon"), on_delete=models.PROTECT, related_name="redemptions")
    offer = models.ForeignKey(
        "personalization.Offer", verbose_name=_("offer"), on_delete=models.PROTECT, related_name="redemptions"
    )
    campaign = models.ForeignKey(
        "personalization.Campaign",
        verbose_name=_("campaign"),
        on_delete=models.PROTECT,
        related_name="redemptions",
    )
    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="redemptions",
    )
    order_label = models.CharField(_("order label"), max_length=80)
    order_id = models.CharField(_("order"), max_length=100)
    amount_minor = models.BigIntegerField(_("amount (minor units)"))
    refunded_minor = models.BigIntegerField(_("refunded (minor units)"), default=0)
    redeemed_at = models.DateTimeField(_("redeemed"), default=timezone.now)

    class Meta:
        verbose_name = _("redemption")
        verbose_name_plural = _("redemptions")
        constraints = [
            models.UniqueConstraint(fields=["order_label", "order_id", "coupon"], name="pz_redemption_order_once"),
            models.CheckConstraint(
                condition=Q(refunded_minor__gte=0) & Q(refunded_minor__lte=F("amount_minor")),
                name="pz_redemption_refund",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.order_id}: {self.amount_minor}"


class LedgerEntry(models.Model):
    """One append-only movement of a campaign's money. The campaign's counters are the sums of these."""

    class Kind(models.TextChoices):
        RESERVE = "reserve", _("reserve")
        RELEASE = "release", _("release")
        REDEEM = "redeem", _("redeem")
        REFUND = "refund", _("refund")

    operation_id = models.CharField(_("operation"), max_length=140, unique=True)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    campaign = models.ForeignKey(
        "personalization.Campaign",
        verbose_name=_("campaign"),
        on_delete=models.PROTECT,
        related_name="ledger",
    )
    reservation = models.ForeignKey(
        Reservation, verbose_name=_("reservation"), on_delete=models.PROTECT, related_name="ledger"
    )
    reserved_delta = models.BigIntegerField(_("change of reserved"))
    spent_delta = models.BigIntegerField(_("change of spent"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")

    def __str__(self) -> str:
        return f"{self.kind} {self.reserved_delta:+d} {self.spent_delta:+d}"
