"""Codes, holds, redemptions and the ledger that explains every cent."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.models.keys import staff_key
from personalization.ports.moments import moment


class Coupon(models.Model):
    """An issued code. The code itself is stored as keyed hash (lookup) and ciphertext (showing it again)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)

    class Origin(models.TextChoices):
        CLAIMED = "claimed", _("claimed by its shopper")
        BATCH = "batch", _("generated in a batch")
        VANITY = "vanity", _("a code with a meaning")
        AUTOMATIC = "automatic", _("applied by itself")
        TRIGGER = "trigger", _("sent by a trigger")
        SUPPORT = "support", _("given by support")

    offer = models.ForeignKey(
        "personalization.Offer", verbose_name=_("offer"), on_delete=models.PROTECT, related_name="coupons"
    )
    origin = models.CharField(_("origin"), max_length=10, choices=Origin.choices, default=Origin.CLAIMED)
    batch = models.ForeignKey(
        "personalization.CodeBatch",
        verbose_name=_("batch"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="coupons",
    )
    replaces = models.ForeignKey(
        "self", verbose_name=_("replaces"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    liability_minor = models.BigIntegerField(
        _("liability (minor units)"),
        default=0,
        editable=False,
        help_text=_("What it could still cost at worst."),
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
            models.CheckConstraint(condition=Q(liability_minor__gte=0), name="pz_coupon_liability"),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(liability_minor__gt=0), name="pz_coupon_liable"),
        ]
        permissions = [
            ("export_coupon", _("Can export codes in clear text")),
            ("grant_coupon", _("Can re-issue coupons and give goodwill")),
        ]

    def __str__(self) -> str:
        return str(self.id)[:8]


class CodeBatch(models.Model):
    """Codes generated in one go by a job: what is generated is counted in the same transaction as the codes."""

    offer = models.ForeignKey(
        "personalization.Offer", verbose_name=_("offer"), on_delete=models.PROTECT, related_name="batches"
    )
    size = models.PositiveIntegerField(_("codes wanted"))
    generated_count = models.PositiveIntegerField(_("codes generated"), default=0)
    max_uses = models.PositiveIntegerField(_("uses per code"), default=1)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    job = models.ForeignKey(
        "personalization.Job", verbose_name=_("job"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_by = staff_key(_("created by"))
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("code batch")
        verbose_name_plural = _("code batches")
        constraints = [
            models.CheckConstraint(condition=Q(size__gte=F("generated_count")), name="pz_batch_size"),
            models.CheckConstraint(condition=Q(max_uses__gte=1), name="pz_batch_uses"),
        ]

    def __str__(self) -> str:
        return f"{self.offer}: {self.size}"


class Reservation(models.Model):
    """A discount set aside for one basket until it is redeemed, released or expires."""

    class State(models.TextChoices):
        HELD = "held", _("held")
        REVIEW = "review", _("waits for a review")
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
    idempotency_key = models.CharField(_("idempotency key"), max_length=150, unique=True)
    basket_key = models.CharField(
        _("basket key"),
        max_length=100,
        blank=True,
        db_index=True,
        help_text=_("What all reservations of one basket share."),
    )
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.HELD)
    amount_minor = models.BigIntegerField(_("cost to the budget (minor units)"))
    off_minor = models.BigIntegerField(_("off the price (minor units)"), default=0)
    per_line_minor = models.JSONField(_("per line"), default=list)
    benefit = models.JSONField(
        _("further benefit"), default=dict, help_text=_("Shipping, gifts, points, what is granted later.")
    )
    liability_minor = models.BigIntegerField(
        _("liability taken over (minor units)"), default=0, help_text=_("Given back to the coupon on a release.")
    )
    basket_reference = models.CharField(_("basket"), max_length=100, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"))

    class Meta:
        verbose_name = _("reservation")
        verbose_name_plural = _("reservations")
        constraints = [models.CheckConstraint(condition=Q(amount_minor__gte=0), name="pz_reservation_amount")]
        indexes = [
            models.Index(
                fields=["expires_at"], condition=Q(state__in=["held", "review"]), name="pz_reservation_expiring"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_state_display()}, {moment(self.created_at)}"


class UsageSlot(models.Model):
    """One of the redemptions that a shopper has of an offer: the unique number is the limit, not a count."""

    offer = models.ForeignKey("personalization.Offer", verbose_name=_("offer"), on_delete=models.CASCADE)
    shopper = models.ForeignKey("personalization.Shopper", verbose_name=_("shopper"), on_delete=models.CASCADE)
    number = models.PositiveSmallIntegerField(_("number"))
    reservation = models.OneToOneField(
        Reservation, verbose_name=_("reservation"), on_delete=models.CASCADE, related_name="slot"
    )

    class Meta:
        verbose_name = _("usage slot")
        verbose_name_plural = _("usage slots")
        constraints = [
            models.UniqueConstraint(fields=["offer", "shopper", "number"], name="pz_slot_once"),
            models.CheckConstraint(condition=Q(number__gte=1), name="pz_slot_number"),
        ]

    def __str__(self) -> str:
        return f"{self.offer_id}/{self.shopper_id}/{self.number}"


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
    off_minor = models.BigIntegerField(_("off the price (minor units)"), default=0)
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
        return moment(self.redeemed_at)  # its order is personal


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
        return f"{self.get_kind_display()} {self.reserved_delta:+d} {self.spent_delta:+d}"
