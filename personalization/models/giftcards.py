"""Stored value: gift cards, shop credit, and benefits that come after the order. Each cent is a ledger line."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.models.keys import staff_key


class GiftCard(models.Model):
    """Money that the shop owes whoever holds the code, or its shopper. ``balance_minor`` is the sum of its entries."""

    class Kind(models.TextChoices):
        CARD = "card", _("gift card")
        CREDIT = "credit", _("shop credit")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices, default=Kind.CARD)
    population = models.CharField(_("population"), max_length=40, default="shop")
    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="gift_cards",
    )
    code_digest = models.CharField(_("code digest"), max_length=64, unique=True, editable=False)
    code_ciphertext = models.TextField(_("code, encrypted"), editable=False)
    currency = models.CharField(_("currency"), max_length=3)
    balance_minor = models.BigIntegerField(_("balance (minor units)"), default=0)
    held_minor = models.BigIntegerField(_("held by open orders (minor units)"), default=0)
    created_by = staff_key(_("created by"))
    created_at = models.DateTimeField(_("issued"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    blocked_at = models.DateTimeField(_("blocked"), null=True, blank=True)

    class Meta:
        verbose_name = _("gift card")
        verbose_name_plural = _("gift cards")
        constraints = [
            models.CheckConstraint(
                condition=Q(held_minor__gte=0) & Q(balance_minor__gte=F("held_minor")), name="pz_giftcard_balance"
            ),
            models.UniqueConstraint(
                fields=["shopper", "currency"], condition=Q(kind="credit"), name="pz_giftcard_one_credit"
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)[:8]


class GiftCardEntry(models.Model):
    """One append-only movement on a gift card."""

    class Kind(models.TextChoices):
        ISSUE = "issue", _("issue")
        HOLD = "hold", _("hold")
        RELEASE = "release", _("release")
        SPEND = "spend", _("spend")
        REFUND = "refund", _("refund")
        EXPIRE = "expire", _("expire")
        MOVE = "move", _("move")

    operation_id = models.CharField(_("operation"), max_length=140, unique=True)
    card = models.ForeignKey(GiftCard, verbose_name=_("gift card"), on_delete=models.PROTECT, related_name="entries")
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    balance_delta = models.BigIntegerField(_("change of balance"))
    held_delta = models.BigIntegerField(_("change of held"), default=0)
    order_label = models.CharField(_("order label"), max_length=80, blank=True)
    order_id = models.CharField(_("order"), max_length=100, blank=True)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("gift card entry")
        verbose_name_plural = _("gift card entries")
        indexes = [models.Index(fields=["order_label", "order_id"], name="pz_giftcard_order")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.balance_delta:+d}"


class GiftCardHold(models.Model):
    """A part of a card's balance set aside for one order until it is spent, released or expires."""

    class State(models.TextChoices):
        HELD = "held", _("held")
        SPENT = "spent", _("spent")
        RELEASED = "released", _("released")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    card = models.ForeignKey(GiftCard, verbose_name=_("gift card"), on_delete=models.PROTECT, related_name="holds")
    idempotency_key = models.CharField(_("idempotency key"), max_length=150, unique=True)
    amount_minor = models.BigIntegerField(_("amount (minor units)"))
    refunded_minor = models.BigIntegerField(_("refunded (minor units)"), default=0)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.HELD)
    order_label = models.CharField(_("order label"), max_length=80, blank=True)
    order_id = models.CharField(_("order"), max_length=100, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"))

    class Meta:
        verbose_name = _("gift card hold")
        verbose_name_plural = _("gift card holds")
        constraints = [
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="pz_giftcard_hold"),
            models.CheckConstraint(
                condition=Q(refunded_minor__gte=0) & Q(refunded_minor__lte=F("amount_minor")),
                name="pz_giftcard_hold_refund",
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(state="held"), name="pz_giftcard_expiring"),
            models.Index(fields=["order_label", "order_id"], name="pz_giftcard_hold_order"),
        ]

    def __str__(self) -> str:
        return f"{self.get_state_display()} {self.amount_minor}"


class Grant(models.Model):
    """A benefit that comes after the order: cash-back, a gift card, points. Granted once it is due, or cancelled."""

    class Kind(models.TextChoices):
        CASH_BACK = "cash_back", _("cash-back")
        GIFT_CARD = "gift_card", _("gift card")
        POINTS = "points", _("points")

    class State(models.TextChoices):
        PENDING = "pending", _("pending")
        GRANTED = "granted", _("granted")
        CANCELLED = "cancelled", _("cancelled")

    redemption = models.OneToOneField(
        "personalization.Redemption", verbose_name=_("redemption"), on_delete=models.PROTECT, related_name="grant"
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    amount = models.BigIntegerField(_("amount (minor units, or points)"))
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.PENDING)
    due_at = models.DateTimeField(_("due"))
    done_at = models.DateTimeField(_("done"), null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    problem = models.CharField(_("problem"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("grant")
        verbose_name_plural = _("grants")
        constraints = [models.CheckConstraint(condition=Q(amount__gte=0), name="pz_grant_amount")]
        indexes = [models.Index(fields=["due_at"], condition=Q(state="pending"), name="pz_grant_due")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.amount}"
