"""Append-only facts about what shoppers did, and what was kept aside."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Event(models.Model):
    """One fact. ``(source, event_id)`` is its identity: repeated, it is stored once."""

    source = models.CharField(_("source"), max_length=80)
    event_id = models.CharField(_("event id"), max_length=100)
    type = models.CharField(_("type"), max_length=40)
    shopper = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("shopper"), on_delete=models.CASCADE, related_name="events"
    )
    item_id = models.CharField(_("product"), max_length=100, blank=True)
    category = models.CharField(_("category"), max_length=100, blank=True)
    offer = models.ForeignKey(
        "personalization.Offer",
        verbose_name=_("offer"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    value_minor = models.BigIntegerField(_("value (minor units)"), null=True, blank=True)
    properties = models.JSONField(_("properties"), default=dict, blank=True)
    occurred_at = models.DateTimeField(_("occurred"))
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    clock_corrected = models.BooleanField(_("clock corrected"), default=False)
    is_bot = models.BooleanField(_("looks like a bot"), default=False)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        constraints = [models.UniqueConstraint(fields=["source", "event_id"], name="pz_event_once")]
        indexes = [
            models.Index(fields=["shopper", "occurred_at"], name="pz_event_shopper_time"),
            models.Index(fields=["type", "occurred_at"], name="pz_event_type_time"),
            models.Index(fields=["shopper"], condition=models.Q(type="offer_dismissed"), name="pz_event_dismissed"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.occurred_at:%Y-%m-%d %H:%M}"


class QuarantinedEvent(models.Model):
    """An event that did not match its declared type, kept with the reason."""

    source = models.CharField(_("source"), max_length=80)
    event_id = models.CharField(_("event id"), max_length=100, blank=True)
    payload = models.JSONField(_("payload"))
    reason = models.CharField(_("reason"), max_length=300)
    shopper = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("shopper"), null=True, blank=True, on_delete=models.CASCADE
    )
    received_at = models.DateTimeField(_("received"), default=timezone.now)

    class Meta:
        verbose_name = _("quarantined event")
        verbose_name_plural = _("quarantined events")

    def __str__(self) -> str:
        return self.reason


class EventTombstone(models.Model):
    """Keyed hash of an erased event's identity: a replay of it is answered and dropped."""

    digest = models.CharField(_("digest"), max_length=64, unique=True)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("event tombstone")
        verbose_name_plural = _("event tombstones")

    def __str__(self) -> str:
        return self.digest[:8]
