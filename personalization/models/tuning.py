"""Searches for better settings of an estimator: the runs, their trials, and which settings were adopted."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from personalization.models.keys import staff_key
from personalization.models.learning import Job, ModelVersion


class TuningRun(models.Model):
    """One search: an estimator, a seed, data until a moment. It goes on where it stopped, from the trials it has.

    ``start``: the settings in force when it began; once others are, it is outdated, and nobody goes on with it.
    ``gain``, ``low``, ``high``: by how much the best trial's settings do better than those on a fold that the search
    has never seen, with the interval at ``level``. Settings are adopted only where ``low`` is above zero: the database
    refuses anything else.
    """

    class State(models.TextChoices):
        SEARCHING = "searching", _("searching")
        JUDGED = "judged", pgettext_lazy("state", "judged")
        OUTDATED = "outdated", _("outdated")

    class Split(models.TextChoices):
        TIME = "time", _("earlier moments")
        SHOPPERS = "shoppers", _("groups of shoppers")

    population = models.CharField(_("population"), max_length=40, default="shop")
    task = models.CharField(_("task"), max_length=20, choices=ModelVersion.TASKS)
    estimator = models.CharField(_("estimator"), max_length=60)
    seed = models.PositiveIntegerField(_("seed"), default=0)
    cutoff_at = models.DateTimeField(_("data until"))
    held_from = models.DateTimeField(_("judged on what came from"))
    terms = models.CharField(
        _("terms"), max_length=64, help_text=_("A digest of space, starting point and folds: trials share it.")
    )
    metric = models.CharField(_("metric"), max_length=20)
    split = models.CharField(_("folds are"), max_length=8, choices=Split.choices)
    folds = models.PositiveSmallIntegerField(_("folds"))
    start = models.JSONField(_("settings at the start"), default=dict)
    space = models.JSONField(_("searched within"), default=dict)
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.SEARCHING)
    best = models.PositiveIntegerField(_("best trial"), null=True, blank=True)
    gain = models.FloatField(_("gain"), null=True, blank=True)
    low = models.FloatField(_("gain, lower end"), null=True, blank=True)
    high = models.FloatField(_("gain, upper end"), null=True, blank=True)
    level = models.FloatField(_("level of the interval"), null=True, blank=True)
    judged_on = models.PositiveIntegerField(_("rows judged on"), null=True, blank=True)
    looks = models.PositiveSmallIntegerField(_("times judged"), default=0)
    settings = models.JSONField(_("settings found"), default=dict, blank=True)
    adopted_at = models.DateTimeField(_("adopted"), null=True, blank=True)
    withdrawn_at = models.DateTimeField(_("withdrawn"), null=True, blank=True)
    withdrawn_by = staff_key(_("withdrawn by"))
    job = models.ForeignKey(
        Job, verbose_name=_("job"), null=True, blank=True, on_delete=models.SET_NULL, related_name="tuning_runs"
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    judged_at = models.DateTimeField(_("judged"), null=True, blank=True)

    class Meta:
        verbose_name = _("search for settings")
        verbose_name_plural = _("searches for settings")
        constraints = [
            models.UniqueConstraint(
                fields=["population", "task", "estimator", "seed", "cutoff_at", "terms"], name="pz_tuning_once"
            ),
            models.UniqueConstraint(
                fields=["population", "task", "estimator"],
                condition=Q(adopted_at__isnull=False, withdrawn_at=None),
                name="pz_tuning_in_force",
            ),
            models.CheckConstraint(condition=Q(adopted_at=None) | Q(low__gt=0), name="pz_tuning_beyond_chance"),
        ]

    def __str__(self) -> str:
        return f"{self.estimator} #{self.pk}"

    @property
    def in_force(self) -> bool:
        """Whether the next training takes these settings."""
        return self.adopted_at is not None and self.withdrawn_at is None


class TuningTrial(models.Model):
    """Settings that were tried. ``figures``: the metric on each fold, in the order in which they were tried."""

    class State(models.TextChoices):
        FINISHED = "finished", pgettext_lazy("state", "finished")
        PRUNED = "pruned", _("given up early")
        FAILED = "failed", _("failed")

    run = models.ForeignKey(TuningRun, verbose_name=_("search"), on_delete=models.CASCADE, related_name="trials")
    number = models.PositiveIntegerField(_("number"))
    state = models.CharField(_("state"), max_length=8, choices=State.choices)
    settings = models.JSONField(_("settings"), default=dict)
    figures = models.JSONField(_("figures"), default=list)
    seconds = models.FloatField(_("seconds"), default=0)
    error = models.TextField(_("error"), blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("trial")
        verbose_name_plural = _("trials")
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="pz_trial_once")]

    def __str__(self) -> str:
        return f"{self.run} · {self.number}"
