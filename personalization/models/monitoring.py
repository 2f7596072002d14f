"""What was measured of the models in service, one report a look. Append-only; counts and shares, nobody's own."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.models.learning import Job, ModelVersion
from personalization.ports.moments import moment


class MonitoringReport(models.Model):
    """One look at a population's models: figures, and what was found in them.

    ``findings``: each ``{"code", "level", "figures"}``; :mod:`personalization.insight.observations` puts them in words.
    """

    class Kind(models.TextChoices):
        HEALTH = "health", _("models in service")
        FAIRNESS = "fairness", _("fairness audit")

    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    population = models.CharField(_("population"), max_length=40)
    at = models.DateTimeField(_("at"), default=timezone.now)
    model_version = models.ForeignKey(
        ModelVersion,
        verbose_name=_("model version"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    job = models.ForeignKey(
        Job, verbose_name=_("job"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    figures = models.JSONField(_("figures"), default=dict)
    findings = models.JSONField(_("findings"), default=list)

    class Meta:
        verbose_name = _("monitoring report")
        verbose_name_plural = _("monitoring")
        indexes = [models.Index(fields=["population", "kind", "-at"], name="pz_monitoring_latest")]
        constraints = [models.CheckConstraint(condition=~Q(population=""), name="pz_monitoring_population")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, {moment(self.at)}"
