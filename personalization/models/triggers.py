"""Occasions: what is known of each shopper in one row, what sets a campaign off for them, and what is sent."""

from __future__ import annotations

import uuid
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from personalization.models import trigger_rules


class ShopperSummary(models.Model):
    """A shopper's past in one row, computed set-based from the events before ``as_of``. Audiences read it."""

    class Stage(models.TextChoices):
        VISITOR = "visitor", _("has not bought yet")
        NEW = "new", _("bought once, lately")
        ACTIVE = "active", _("buys in their own rhythm")
        LOYAL = "loyal", _("buys often and lately")
        AT_RISK = "at_risk", _("late for their own rhythm")
        LOST = "lost", _("has not bought for long")

    shopper = models.OneToOneField(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="summary",
    )
    population = models.CharField(_("population"), max_length=40, default="shop")
    as_of = models.DateTimeField(_("as of"))
    orders = models.PositiveIntegerField(_("orders"), default=0)
    spent_minor = models.BigIntegerField(_("spent (minor units)"), default=0)
    first_order_at = models.DateTimeField(_("first order"), null=True, blank=True)
    last_order_at = models.DateTimeField(_("last order"), null=True, blank=True)
    last_seen_at = models.DateTimeField(_("last seen"), null=True, blank=True)
    views_30d = models.PositiveIntegerField(_("products viewed in 30 days"), default=0)
    recency_score = models.PositiveSmallIntegerField(_("recency (1–5)"), null=True, blank=True)
    frequency_score = models.PositiveSmallIntegerField(_("frequency (1–5)"), null=True, blank=True)
    monetary_score = models.PositiveSmallIntegerField(_("money (1–5)"), null=True, blank=True)
    stage = models.CharField(_("stage"), max_length=10, choices=Stage.choices, default=Stage.VISITOR)
    segment = models.CharField(_("segment"), max_length=60, blank=True)
    cluster = models.CharField(_("shopping habit"), max_length=60, blank=True)
    churn_risk = models.FloatField(_("churn risk (0–1)"), null=True, blank=True)
    cycle_days = models.FloatField(_("purchase cycle (days)"), null=True, blank=True)
    top_category = models.CharField(_("favourite category"), max_length=100, blank=True)
    device = models.CharField(_("device"), max_length=20, blank=True)

    class Meta:
        verbose_name = _("shopper summary")
        verbose_name_plural = _("shopper summaries")
        indexes = [
            models.Index(fields=["population", "stage"], name="pz_summary_stage"),
            models.Index(fields=["population", "last_order_at"], name="pz_summary_last_order"),
        ]

    def __str__(self) -> str:
        return f"{self.shopper_id}: {self.get_stage_display()}"


class ShopperInterest(models.Model):
    """How much of a shopper's attention a category had lately: shares of their views, baskets and orders."""

    shopper = models.ForeignKey(  # the unique constraint is its index
        "personalization.Shopper",
        verbose_name=_("shopper"),
        db_index=False,
        on_delete=models.CASCADE,
        related_name="interests",
    )
    category = models.CharField(_("category"), max_length=100)
    share = models.FloatField(_("share (0–1)"))

    class Meta:
        verbose_name = _("shopper interest")
        verbose_name_plural = _("shopper interests")
        constraints = [models.UniqueConstraint(fields=["shopper", "category"], name="pz_interest_once")]
        indexes = [models.Index(fields=["category", "share"], name="pz_interest_category")]

    def __str__(self) -> str:
        return f"{self.category} {self.share:.2f}"


class AudienceMember(models.Model):
    """One shopper of a campaign's audience as it stood at launch."""

    campaign = models.ForeignKey(  # the unique constraint is its index
        "personalization.Campaign",
        verbose_name=_("campaign"),
        db_index=False,
        on_delete=models.CASCADE,
        related_name="members",
    )
    shopper = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("shopper"), on_delete=models.CASCADE, related_name="+"
    )

    class Meta:
        verbose_name = _("audience member")
        verbose_name_plural = _("audience members")
        constraints = [models.UniqueConstraint(fields=["campaign", "shopper"], name="pz_member_once")]

    def __str__(self) -> str:
        return f"{self.campaign_id}/{self.shopper_id}"


class Trigger(models.Model):
    """What sets a campaign off for a shopper. Without one a campaign is for its whole audience at any time.

    ``launch`` only sends: it keeps no page from showing the campaign to its whole audience.
    """

    class Kind(models.TextChoices):
        LAUNCH = trigger_rules.LAUNCH, _("launch: once, to the whole audience")
        WELCOME = "welcome", _("welcome: joined lately")
        BIRTHDAY = "birthday", _("birthday")
        SEASON = "season", _("season: a span of days each year")
        HOLIDAY = "holiday", _("public holiday")
        WIN_BACK = "win_back", _("win-back: has not bought for long")
        BASKET = "basket", _("basket left behind")
        REPLENISHMENT = "replenishment", _("due by their own purchase cycle")
        PRICE_DROP = "price_drop", _("price drop of something they looked at")
        EVENT = "event", _("a custom event")

    campaign = models.ForeignKey(
        "personalization.Campaign", verbose_name=_("campaign"), on_delete=models.CASCADE, related_name="triggers"
    )
    kind = models.CharField(_("occasion"), max_length=15, choices=Kind.choices)
    params = models.JSONField(_("details"), default=dict, blank=True)
    open_days = models.PositiveSmallIntegerField(
        _("open for (days)"), default=14, help_text=_("So long the offer is there for the shopper afterwards.")
    )
    channels = models.JSONField(
        _("pushed through"), default=list, blank=True, help_text=_("Empty: only shown on the shop's pages.")
    )
    active = models.BooleanField(_("active"), default=True)
    cursor = models.BigIntegerField(_("evaluated up to shopper"), default=0, editable=False)
    pass_started_at = models.DateTimeField(_("pass began"), null=True, editable=False)
    evaluated_at = models.DateTimeField(_("last evaluated"), null=True, editable=False)

    class Meta:
        verbose_name = _("trigger")
        verbose_name_plural = _("triggers")

    def __str__(self) -> str:
        return str(self.get_kind_display())

    def clean(self) -> None:
        """Reject details that this occasion does not know, with the field to mend."""
        errors: dict[str, Any] = {}
        for name, check in (
            ("params", lambda: trigger_rules.parse_params(self.kind, self.params)),
            ("channels", lambda: trigger_rules.check_channels(self.kind, self.channels)),
        ):
            try:
                check()
            except ValidationError as error:
                errors[name] = error
        if errors:
            raise ValidationError(errors)


class Occurrence(models.Model):
    """A trigger that went off for a shopper: once for each key, whatever evaluates twice."""

    # The unique constraint and the index below lead with these two: a pass writes one row a shopper.
    trigger = models.ForeignKey(
        Trigger, verbose_name=_("trigger"), db_index=False, on_delete=models.CASCADE, related_name="occurrences"
    )
    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        db_index=False,
        on_delete=models.CASCADE,
        related_name="+",
    )
    key = models.CharField(_("occasion"), max_length=100)
    at = models.DateTimeField(_("at"), default=timezone.now)
    open_until = models.DateTimeField(_("open until"))

    class Meta:
        verbose_name = _("occurrence")
        verbose_name_plural = _("occurrences")
        constraints = [models.UniqueConstraint(fields=["trigger", "shopper", "key"], name="pz_occurrence_once")]
        indexes = [models.Index(fields=["shopper", "open_until"], name="pz_occurrence_open")]

    def __str__(self) -> str:
        return f"{self.trigger_id}/{self.shopper_id}/{self.key}"


class OutboxMessage(models.Model):
    """A message to one shopper through one channel: written with its occurrence, sent afterwards, once."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waits")
        SENDING = "sending", _("being sent")
        SENT = "sent", pgettext_lazy("state", "sent")
        SUPPRESSED = "suppressed", _("not sent")
        FAILED = "failed", _("failed")
        BOUNCED = "bounced", _("bounced")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    occurrence = models.ForeignKey(
        Occurrence,
        verbose_name=_("occurrence"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="messages",
    )
    campaign = models.ForeignKey(
        "personalization.Campaign", verbose_name=_("campaign"), on_delete=models.CASCADE, related_name="messages"
    )
    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        db_index=False,
        on_delete=models.CASCADE,
        related_name="messages",
    )
    channel = models.CharField(_("channel"), max_length=40)
    dedupe_key = models.CharField(_("once for"), max_length=150)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.WAITING)
    reason = models.CharField(_("reason"), max_length=60, blank=True)
    not_before = models.DateTimeField(_("not before"), default=timezone.now)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    lease_expires_at = models.DateTimeField(_("lease expires"), null=True, blank=True)
    fence = models.PositiveIntegerField(_("fencing token"), default=0)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        # Not ``unique=True``, which PostgreSQL would give a second index, for searching by the key's beginning.
        constraints = [models.UniqueConstraint(fields=["dedupe_key"], name="pz_message_once")]
        indexes = [
            models.Index(fields=["not_before"], condition=Q(state__in=["waiting", "sending"]), name="pz_outbox_due"),
            models.Index(fields=["shopper", "sent_at"], name="pz_outbox_shopper"),
            models.Index(fields=["campaign", "created_at"], condition=Q(state="failed"), name="pz_outbox_failed"),
        ]

    def __str__(self) -> str:
        return f"{self.channel}, {self.get_state_display()}"


class Suppression(models.Model):
    """An address that gets no more messages, as a keyed hash: it bounced, complained or unsubscribed."""

    class Reason(models.TextChoices):
        BOUNCE = "bounce", _("bounced")
        COMPLAINT = "complaint", _("complained")
        UNSUBSCRIBED = "unsubscribed", _("unsubscribed")

    channel = models.CharField(_("channel"), max_length=40)
    digest = models.CharField(_("address (hashed)"), max_length=64)
    reason = models.CharField(_("reason"), max_length=12, choices=Reason.choices)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("suppressed address")
        verbose_name_plural = _("suppressed addresses")
        constraints = [models.UniqueConstraint(fields=["channel", "digest"], name="pz_suppression_once")]

    def __str__(self) -> str:
        return f"{self.channel}:{self.digest[:8]}"
