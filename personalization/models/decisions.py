"""What was decided, and what came of it."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.ports.moments import moment
from personalization.types import Arm

ARMS = [
    (Arm.TREATMENT.value, _("treatment")),
    (Arm.CONTROL.value, _("control")),
    (Arm.HOLDOUT.value, _("holdout")),
]


class Decision(models.Model):
    """One answer for one slot, reproducible from this row until its shopper is erased."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="decisions",
    )
    slot = models.CharField(_("slot"), max_length=60)
    at = models.DateTimeField(_("at"), default=timezone.now)
    arm = models.CharField(_("arm"), max_length=10, choices=ARMS, default=Arm.TREATMENT.value)
    eligible = models.JSONField(_("eligible"), help_text=_("Offers with their predictions, best first."))
    excluded = models.JSONField(_("excluded"), help_text=_("Offer → reason."))
    chosen = models.JSONField(_("chosen"), help_text=_("Offers in order, with propensities."))
    policy = models.CharField(_("policy"), max_length=60)
    features = models.JSONField(_("feature values used"), default=dict)
    fallback = models.CharField(_("fallback"), max_length=40, blank=True)
    model_version = models.ForeignKey(
        "personalization.ModelVersion",
        verbose_name=_("model version"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )

    class Meta:
        verbose_name = _("decision")
        verbose_name_plural = _("decisions")
        indexes = [
            models.Index(fields=["shopper", "at"], name="pz_decision_shopper"),
            models.Index(fields=["at"], name="pz_decision_time"),
        ]

    def __str__(self) -> str:
        return f"{self.slot}, {moment(self.at)}"


class Exposure(models.Model):
    """A shopper reached the point where the arms differ. Outcomes are joined on later, each the first of its sort.

    Control and holdout exposures carry no offer. ``propensity`` is the probability with which this offer (or, for
    control, no offer) was chosen. Imported rows have no decision; ``(source, source_row)`` is their identity.
    """

    decision = models.ForeignKey(
        Decision,
        verbose_name=_("decision"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="exposures",
    )
    source = models.CharField(_("source"), max_length=80, blank=True)
    source_row = models.CharField(_("source row"), max_length=40, blank=True)
    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        on_delete=models.CASCADE,
        related_name="exposures",
    )
    campaign = models.ForeignKey(
        "personalization.Campaign",
        verbose_name=_("campaign"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="exposures",
    )
    offer = models.ForeignKey(
        "personalization.Offer",
        verbose_name=_("offer"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="exposures",
    )
    arm = models.CharField(_("arm"), max_length=10, choices=ARMS, default=Arm.TREATMENT.value)
    position = models.PositiveSmallIntegerField(_("position"), default=1)
    propensity = models.FloatField(_("propensity"), null=True, blank=True)
    exposed_at = models.DateTimeField(_("exposed"))
    window_ends_at = models.DateTimeField(_("outcome window ends"))
    viewed_at = models.DateTimeField(_("viewed"), null=True, blank=True)
    clicked_at = models.DateTimeField(_("clicked or took part"), null=True, blank=True)
    claimed_at = models.DateTimeField(_("claimed"), null=True, blank=True)
    redeemed_at = models.DateTimeField(_("redeemed"), null=True, blank=True)
    purchased_at = models.DateTimeField(_("purchased"), null=True, blank=True)
    revenue_minor = models.BigIntegerField(_("revenue in the window (minor units)"), default=0)
    cost_minor = models.BigIntegerField(_("discount given (minor units)"), default=0)

    class Meta:
        verbose_name = _("exposure")
        verbose_name_plural = _("exposures")
        constraints = [
            models.UniqueConstraint(
                fields=["source", "source_row"], condition=~Q(source=""), name="pz_exposure_imported_once"
            ),
            models.CheckConstraint(
                condition=Q(propensity__isnull=True) | (Q(propensity__gt=0) & Q(propensity__lte=1)),
                name="pz_exposure_propensity",
            ),
        ]
        indexes = [
            models.Index(fields=["shopper", "exposed_at"], name="pz_exposure_shopper"),
            models.Index(fields=["campaign", "exposed_at"], name="pz_exposure_campaign"),
        ]

    def __str__(self) -> str:
        return f"{self.get_arm_display()}, {moment(self.exposed_at)}"
