"""Who is personalised: shoppers, the ids they are known by, and their consent."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from personalization.models import names
from personalization.ports.moments import moment
from personalization.types import Purpose


class Shopper(models.Model):
    """A visitor or an account: the unit of assignment. The consent flags cache the ledger's latest word."""

    key = models.UUIDField(_("pseudonym"), default=uuid.uuid4, unique=True, editable=False)
    population = models.CharField(_("population"), max_length=40, default="shop")
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("account"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    joined_at = models.DateTimeField(_("joined"), null=True, blank=True)
    attributes = models.JSONField(_("profile attributes"), default=dict, blank=True)
    consent_analytics = models.BooleanField(_("agreed to analytics"), default=False)
    consent_personalisation = models.BooleanField(_("agreed to personalisation"), default=False)
    consent_marketing = models.BooleanField(_("agreed to marketing"), default=False)
    is_bot = models.BooleanField(_("looks like a bot"), default=False)
    merged_into = models.ForeignKey(
        "self",
        verbose_name=_("merged into"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="merged",
    )
    created_at = models.DateTimeField(_("first seen"), default=timezone.now)

    class Meta:
        verbose_name = _("shopper")
        verbose_name_plural = _("shoppers")
        indexes = [models.Index(fields=["population", "id"], name="pz_shopper_population")]
        permissions = [("view_personal_data", _("Can have personal data shown, with a reason that is logged"))]

    def __str__(self) -> str:
        return f"{self.population}:{str(self.key)[:8]}"

    def allows(self, purpose: Purpose) -> bool:
        """Return whether rows for this purpose may be kept about this shopper."""
        return purpose == Purpose.CONTRACT or bool(getattr(self, f"consent_{purpose.value}"))


class ProfileVersion(models.Model):
    """What a shopper's attributes were until they changed; what they are now stands with the shopper.

    ``valid_from`` is None for what was so since they are known. Versions neither overlap nor leave gaps. Kept only of
    shoppers who agreed to personalisation: nothing but features reads it.
    """

    shopper = models.ForeignKey(
        Shopper, on_delete=models.CASCADE, related_name="versions", verbose_name=_("shopper"), db_index=False
    )
    attributes = models.JSONField(_("profile attributes"), default=dict, blank=True)
    valid_from = models.DateTimeField(_("valid from"), null=True, blank=True)
    valid_to = models.DateTimeField(_("valid to"))

    class Meta:
        verbose_name = _("earlier profile")
        verbose_name_plural = _("earlier profiles")
        constraints = [
            models.UniqueConstraint(fields=["shopper", "valid_to"], name="pz_profile_version_once"),
            models.UniqueConstraint(fields=["shopper", "valid_from"], name="pz_profile_version_chain"),
            models.UniqueConstraint(
                fields=["shopper"], condition=models.Q(valid_from=None), name="pz_profile_version_first"
            ),
            models.CheckConstraint(
                condition=models.Q(valid_from=None) | models.Q(valid_from__lt=models.F("valid_to")),
                name="pz_profile_version_order",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.shopper_id} until {moment(self.valid_to)}"


class ShopperAlias(models.Model):
    """One id by which a shopper is known: a visitor cookie, a hashed guest reference, a data set's row."""

    class Kind(models.TextChoices):
        VISITOR = "visitor", _("visitor cookie")
        GUEST = "guest", _("guest reference (hashed)")
        EXTERNAL = "external", _("imported id")

    shopper = models.ForeignKey(Shopper, on_delete=models.CASCADE, related_name="aliases", verbose_name=_("shopper"))
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    value = models.CharField(_("value"), max_length=128)
    created_at = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        verbose_name = _("shopper alias")
        verbose_name_plural = _("shopper aliases")
        constraints = [models.UniqueConstraint(fields=["kind", "value"], name="pz_alias_once")]

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"


class ConsentRecord(models.Model):
    """One append-only line of the consent ledger."""

    shopper = models.ForeignKey(Shopper, on_delete=models.CASCADE, related_name="consents", verbose_name=_("shopper"))
    purpose = models.CharField(_("purpose"), max_length=20)
    granted = models.BooleanField(_("granted"))
    wording_version = models.CharField(_("wording version"), max_length=40)
    source = models.CharField(_("given through"), max_length=40)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("consent record")
        verbose_name_plural = _("consent records")
        indexes = [models.Index(fields=["shopper", "purpose", "at"], name="pz_consent_latest")]

    def __str__(self) -> str:
        return f"{self.purpose_name}: {self.word}"

    @property
    def purpose_name(self) -> str:
        """What was agreed to, in words."""
        return names.purpose(self.purpose)

    @property
    def word(self) -> str:
        """The answer itself, in words."""
        return gettext("agreed") if self.granted else gettext("withdrawn")

    @property
    def source_name(self) -> str:
        """Through what it was given, in words."""
        return names.given_through(self.source)
