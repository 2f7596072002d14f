"""Append-only facts about what shoppers did, and what was kept aside."""

from __future__ import annotations

from typing import Any

from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.models import names
from personalization.models.claims import EventClaim, EventQuerySet, claim_key
from personalization.ports.moments import moment

WISHES = ("offer_dismissed", "feedback_given")
"""Event types by which a shopper says what they want less or more of: read at each decision."""


class Channel(models.TextChoices):
    """Where something happened; empty where nobody said."""

    WEB = "web", _("web")
    APP = "app", _("app")
    MINI_PROGRAM = "mini_program", _("mini-program")
    SHOP_FLOOR = "shop_floor", _("shop floor")


class Event(models.Model):
    """One fact. ``(source, event_id)`` is its identity: repeated, it is stored once (:class:`EventClaim`).

    On PostgreSQL the table is cut into months of ``occurred_at`` (``tracking.partitions``).
    """

    source = models.CharField(_("source"), max_length=80)
    event_id = models.CharField(_("event id"), max_length=100)
    type = models.CharField(_("type"), max_length=40)
    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        on_delete=models.CASCADE,
        related_name="events",
        db_index=False,  # pz_event_shopper_time begins with it
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
    channel = models.CharField(
        _("channel"), max_length=20, blank=True, choices=Channel.choices, default="", db_default=""
    )
    schema_version = models.PositiveSmallIntegerField(_("version of the type"), default=1, db_default=1)

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        indexes = [
            models.Index(fields=["shopper", "occurred_at"], name="pz_event_shopper_time"),
            models.Index(fields=["type", "occurred_at"], name="pz_event_type_time"),
            models.Index(fields=["shopper"], condition=Q(type__in=WISHES), name="pz_event_wishes"),
            models.Index(fields=["event_id"], condition=Q(type="order_placed"), name="pz_event_orders"),
        ]

    def __str__(self) -> str:
        return f"{names.event_type(self.type)}, {moment(self.occurred_at)}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Claim a new event before it is inserted; raises IntegrityError where it is known."""
        if not self._state.adding:
            super().save(*args, **kwargs)
            return
        with transaction.atomic(using=kwargs.get("using")):
            EventClaim.objects.using(kwargs.get("using")).create(key=claim_key(self.source, self.event_id))
            super().save(*args, **kwargs)


class Rejection(models.TextChoices):
    """Why something was not stored: of one event, and (from ``BAD_BODY`` on) of a whole request or row."""

    NOT_AN_OBJECT = "not_an_object", _("not an object")
    UNKNOWN_TYPE = "unknown_type", _("unknown type")
    SERVER_ONLY = "server_only", _("only the server may send it")
    UNKNOWN_FIELD = "unknown_field", _("unknown field")
    UNKNOWN_PROPERTY = "unknown_property", _("unknown property")
    MISSING_ID = "missing_id", _("no id")
    MISSING_FIELD = "missing_field", _("a field is missing")
    MISSING_PROPERTY = "missing_property", _("a property is missing")
    WRONG_TYPE = "wrong_type", _("a value of the wrong kind")
    TOO_LONG = "too_long", _("too long or too deep")
    OUT_OF_RANGE = "out_of_range", _("out of range")
    NOT_A_CHOICE = "not_a_choice", _("not one of the choices")
    BAD_TIME = "bad_time", _("no moment")
    FUTURE = "future", _("in the future")
    TOO_OLD = "too_old", _("too old")
    UNKNOWN_OFFER = "unknown_offer", _("unknown offer")
    OTHER = "other", _("another reason")
    BAD_BODY = "bad_body", _("request: cannot be read")
    TOO_LARGE = "too_large", _("request: too large")
    FOREIGN_ORIGIN = "foreign_origin", _("request: from a foreign site")
    NO_TOKEN = "no_token", _("request: without a token")
    TOO_MANY = "too_many", _("request: over the limit")
    BAD_ROW = "bad_row", _("import: a row that cannot be read")
    NO_SHOPPER = "no_shopper", _("import: no shopper")


class QuarantinedEvent(models.Model):
    """An event that did not match its declared type, kept with the reason.

    It can be mended and replayed: ``sent_at`` and ``received_at`` are those of its arrival, and ``trusted`` says that
    it came from the server. ``trimmed``: it was too large to be kept whole. ``fingerprint``, a keyed hash of sender
    and content, keeps one that is sent again from being kept twice.
    """

    source = models.CharField(_("source"), max_length=80)
    event_id = models.CharField(_("event id"), max_length=100, blank=True)
    payload = models.JSONField(_("payload"))
    reason = models.CharField(_("what is wrong"), max_length=300)
    code = models.CharField(
        _("reason"), max_length=20, choices=Rejection.choices, default=Rejection.OTHER, db_default=Rejection.OTHER
    )
    type = models.CharField(_("type"), max_length=40, blank=True, default="", db_default="")
    shopper = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("shopper"), null=True, blank=True, on_delete=models.CASCADE
    )
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    channel = models.CharField(
        _("channel"), max_length=20, blank=True, choices=Channel.choices, default="", db_default=""
    )
    is_bot = models.BooleanField(_("looks like a bot"), default=False, db_default=False)
    trusted = models.BooleanField(_("from the server"), default=False, db_default=False)
    trimmed = models.BooleanField(_("not kept whole"), default=False, db_default=False)
    fingerprint = models.CharField(_("fingerprint"), max_length=64, null=True, editable=False)

    class Meta:
        verbose_name = _("quarantined event")
        verbose_name_plural = _("quarantined events")
        constraints = [models.UniqueConstraint(fields=["fingerprint"], name="pz_quarantine_once")]
        indexes = [
            models.Index(fields=["code", "id"], name="pz_quarantine_code"),
            models.Index(fields=["received_at"], name="pz_quarantine_time"),
        ]
        permissions = [("replay_quarantinedevent", "Can mend and replay quarantined events")]

    def __str__(self) -> str:
        return str(self.get_code_display())  # the reason may name what a stranger made up


class RejectionCount(models.Model):
    """How much was not stored on one day (UTC), by reason and type; ``kept``: of these, how many are kept aside.

    Types that nobody declared count under an empty one: what a stranger invents makes no rows.
    """

    day = models.DateField(_("day"))
    code = models.CharField(_("reason"), max_length=20, choices=Rejection.choices)
    type = models.CharField(_("type"), max_length=40, blank=True, default="")
    count = models.BigIntegerField(_("count"), default=0)
    kept = models.BigIntegerField(_("kept aside"), default=0)

    class Meta:
        verbose_name = _("count of rejections")
        verbose_name_plural = _("counts of rejections")
        constraints = [
            models.UniqueConstraint(fields=["day", "code", "type"], name="pz_rejection_once"),
            models.CheckConstraint(condition=Q(kept__gte=0, kept__lte=models.F("count")), name="pz_rejection_kept"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.code}: {self.count}"


class EventImport(models.Model):
    """How far a file of events has come: written in the same transaction as the batch that it counts."""

    digest = models.CharField(_("digest of the file"), max_length=64)
    source = models.CharField(_("source"), max_length=80)
    name = models.CharField(_("file"), max_length=200)
    rows_done = models.BigIntegerField(_("rows done"), default=0)
    accepted = models.BigIntegerField(_("stored"), default=0)
    duplicates = models.BigIntegerField(_("known already"), default=0)
    quarantined = models.BigIntegerField(_("kept aside"), default=0)
    dropped = models.BigIntegerField(_("left out"), default=0)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("import of events")
        verbose_name_plural = _("imports of events")
        constraints = [models.UniqueConstraint(fields=["digest", "source"], name="pz_import_once")]

    def __str__(self) -> str:
        return self.name
