"""Jobs for workers, the artefacts they train, and the scores they publish."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from personalization.models.keys import staff_key
from personalization.types import JobKind, JobState, ModelTask


class Job(models.Model):
    """A piece of work in the queue. Whoever holds the lease and the current fencing token may finish it."""

    KINDS = [
        (JobKind.TRAIN.value, _("train")),
        (JobKind.SCORE.value, _("score")),
        (JobKind.FORECAST.value, _("forecast")),
        (JobKind.CODES.value, _("generate codes")),
        (JobKind.EXPORT.value, _("export codes")),
        (JobKind.SUMMARY.value, _("summarise shoppers")),
        (JobKind.TRIGGERS.value, _("evaluate triggers")),
        (JobKind.SHADOW.value, _("score in shadow")),
        (JobKind.MONITOR.value, _("look after the models")),
        (JobKind.TUNE.value, _("search for settings")),
    ]
    STATES = [
        (JobState.QUEUED.value, _("queued")),
        (JobState.RUNNING.value, _("running")),
        (JobState.SUCCEEDED.value, _("succeeded")),
        (JobState.FAILED.value, _("failed")),
        (JobState.CANCELLED.value, _("cancelled")),
        (JobState.QUARANTINED.value, _("quarantined")),
    ]

    kind = models.CharField(_("kind"), max_length=10, choices=KINDS)
    params = models.JSONField(_("parameters"), default=dict, blank=True)
    state = models.CharField(_("state"), max_length=12, choices=STATES, default=JobState.QUEUED.value)
    progress = models.FloatField(_("progress"), default=0)
    stage = models.CharField(_("stage"), max_length=200, blank=True)
    result = models.JSONField(_("result"), default=dict, blank=True)
    error = models.TextField(_("error"), blank=True)
    cutoff_at = models.DateTimeField(_("cut-off"), null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    fence = models.PositiveIntegerField(_("fencing token"), default=0)
    lease_owner = models.CharField(_("worker"), max_length=120, blank=True)
    lease_expires_at = models.DateTimeField(_("lease expires"), null=True, blank=True)
    alone = models.CharField(
        _("alone"), max_length=60, blank=True, help_text=_("Of jobs with the same word here, one is open at a time.")
    )
    requested_by = staff_key(_("requested by"))
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        permissions = [("run_job", _("Can start training, scoring and forecasts"))]
        indexes = [models.Index(fields=["state", "created_at"], name="pz_job_queue")]
        constraints = [
            models.CheckConstraint(condition=Q(progress__gte=0) & Q(progress__lte=1), name="pz_job_progress"),
            models.UniqueConstraint(
                fields=["alone"],
                condition=~Q(alone="") & Q(state__in=[JobState.QUEUED.value, JobState.RUNNING.value]),
                name="pz_job_alone",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} #{self.pk}"


class ModelVersion(models.Model):
    """A trained artefact on disk, with what it was trained on and how well it did."""

    class State(models.TextChoices):
        CANDIDATE = "candidate", _("candidate")
        CHAMPION = "champion", _("champion")
        RETIRED = "retired", _("retired")

    TASKS = [
        (ModelTask.RESPONSE.value, _("response")),
        (ModelTask.STRATEGY.value, _("strategy")),
        (ModelTask.PREFERENCE.value, _("preference")),
        (ModelTask.INTENT.value, _("purchase intent")),
        (ModelTask.ATTRACTIVENESS.value, _("attractiveness of campaigns")),
    ]

    task = models.CharField(_("task"), max_length=20, choices=TASKS)
    population = models.CharField(_("population"), max_length=40, default="shop")
    estimator = models.CharField(_("estimator"), max_length=60)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.CANDIDATE)
    job = models.ForeignKey(
        Job,
        verbose_name=_("job"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="model_versions",
    )
    cutoff_at = models.DateTimeField(_("trained on data until"))
    path = models.CharField(_("folder"), max_length=300)
    sha256 = models.CharField(_("checksum"), max_length=64)
    size_bytes = models.BigIntegerField(_("size"))
    metrics = models.JSONField(_("metrics"), default=dict)
    card = models.JSONField(_("model card"), default=dict)
    shadow_since = models.DateTimeField(
        _("in shadow since"),
        null=True,
        blank=True,
        help_text=_("From then on it predicts what is shown, without being served."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")
        constraints = [
            models.UniqueConstraint(
                fields=["task", "population"], condition=Q(state="champion"), name="pz_one_champion"
            )
        ]

    def __str__(self) -> str:
        return f"{self.estimator} #{self.pk}"

    @property
    def in_shadow(self) -> bool:
        """Whether it predicts beside the champion without being served."""
        return self.shadow_since is not None and self.state == self.State.CANDIDATE


class ScoreSet(models.Model):
    """One published batch of scores. Exactly one a population is live; readers see all of it or none."""

    class State(models.TextChoices):
        BUILDING = "building", _("building")
        LIVE = "live", _("live")
        RETIRED = "retired", _("retired")

    population = models.CharField(_("population"), max_length=40, default="shop")
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.BUILDING)
    response_version = models.ForeignKey(
        ModelVersion,
        verbose_name=_("response model"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    strategy_version = models.ForeignKey(
        ModelVersion,
        verbose_name=_("strategy model"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    preference_version = models.ForeignKey(
        ModelVersion,
        verbose_name=_("preference model"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    intent_version = models.ForeignKey(
        ModelVersion,
        verbose_name=_("purchase intent model"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    intent_days = models.PositiveSmallIntegerField(_("purchase intent looks ahead (days)"), null=True, blank=True)
    intent_low = models.FloatField(_("low purchase intent up to"), null=True, blank=True)
    intent_high = models.FloatField(_("high purchase intent from"), null=True, blank=True)
    job = models.ForeignKey(Job, verbose_name=_("job"), null=True, blank=True, on_delete=models.SET_NULL)
    cutoff_at = models.DateTimeField(_("computed from data until"), null=True, blank=True)
    offer_ids = models.JSONField(_("offers to score"), default=list, blank=True)
    shard_count = models.PositiveIntegerField(_("parts"), null=True, blank=True)
    shoppers = models.PositiveIntegerField(_("shoppers"), default=0)
    defaults = models.JSONField(
        _("defaults"), default=dict, help_text=_("Scores for shoppers who are not in the batch.")
    )
    profile = models.JSONField(
        _("what was scored, as counts"),
        default=dict,
        blank=True,
        help_text=_("Rows a bin of the response model’s reference; nothing about anybody."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    published_at = models.DateTimeField(_("published"), null=True, blank=True)
    retired_at = models.DateTimeField(_("retired"), null=True, blank=True)

    class Meta:
        verbose_name = _("score set")
        verbose_name_plural = _("score sets")
        constraints = [
            models.UniqueConstraint(fields=["population"], condition=Q(state="live"), name="pz_one_live_scoreset")
        ]

    def __str__(self) -> str:
        return gettext("scores #%(number)s") % {"number": self.pk}


class ScoreShard(models.Model):
    """A part of a ScoreSet: the shoppers with keys from ``first`` to ``last``, written and marked done at once.

    Whoever holds the lease and the fencing token may finish it. The parts of a set follow each other without a gap, so
    a bound is where a part begins, and says of no key that somebody has it.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        TAKEN = "taken", _("taken")
        DONE = "done", pgettext_lazy("state", "done")

    score_set = models.ForeignKey(
        ScoreSet, verbose_name=_("score set"), on_delete=models.CASCADE, related_name="shards"
    )
    first = models.BigIntegerField(_("from shopper"))
    last = models.BigIntegerField(_("to shopper"))
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.WAITING)
    fence = models.PositiveIntegerField(_("fencing token"), default=0, help_text=_("How often it has been taken."))
    lease_owner = models.CharField(_("worker"), max_length=120, blank=True)
    lease_expires_at = models.DateTimeField(_("lease expires"), null=True, blank=True)
    shoppers = models.PositiveIntegerField(_("shoppers"), default=0)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("part of a score set")
        verbose_name_plural = _("parts of score sets")
        constraints = [
            models.UniqueConstraint(fields=["score_set", "first"], name="pz_shard_once"),
            models.CheckConstraint(condition=Q(first__lte=models.F("last")), name="pz_shard_range"),
            models.CheckConstraint(
                condition=Q(state="taken", lease_expires_at__isnull=False)
                | (~Q(state="taken") & Q(lease_expires_at=None)),
                name="pz_shard_lease",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.score_set} {self.first}–{self.last}"


class ShopperScores(models.Model):
    """All predictions for one shopper: one indexed read decides a page.

    ``offers``: offer id → probabilities in the order of :data:`personalization.types.HEADS`.
    ``kinds``: offer kind (and ``"none"``) → strategy probability. ``items``: product ids, best first.
    ``values``: ``basket_minor`` (expected basket), ``visit_rate`` (visits a day), ``interest`` by category.
    ``intent``: the probability of buying anything within the set's ``intent_days``; None without such a model.
    ``reasons``: ``head`` (which effect is explained) and ``offers``: offer id → ``base`` and topics
    (:mod:`personalization.features.topics`) in logits, adding up to the prediction's; for the best offers, if any.
    """

    score_set = models.ForeignKey(
        ScoreSet, verbose_name=_("score set"), on_delete=models.CASCADE, related_name="scores"
    )
    shopper = models.ForeignKey(
        "personalization.Shopper", verbose_name=_("shopper"), on_delete=models.CASCADE, related_name="scores"
    )
    offers = models.JSONField(_("offers"), default=dict)
    kinds = models.JSONField(_("strategy"), default=dict)
    items = models.JSONField(_("products"), default=list)
    values = models.JSONField(_("values"), default=dict)
    intent = models.FloatField(_("purchase intent"), null=True, blank=True)
    reasons = models.JSONField(_("reasons"), default=dict)

    class Meta:
        verbose_name = _("shopper scores")
        verbose_name_plural = _("shopper scores")
        constraints = [
            models.UniqueConstraint(fields=["shopper", "score_set"], name="pz_scores_once"),
            models.CheckConstraint(condition=Q(intent=None) | Q(intent__range=(0, 1)), name="pz_scores_intent"),
        ]
        indexes = [
            # An audience asks for whoever lies above an edge: this holds the answer without the wide rows.
            models.Index(
                fields=["score_set", "intent", "shopper"], condition=Q(intent__isnull=False), name="pz_intent_order"
            )
        ]

    def __str__(self) -> str:
        return f"scores of {self.shopper_id}"


class ExposurePrediction(models.Model):
    """What a version predicts for an exposure from what was known at its moment, written before the outcome is.

    ``heads``: probabilities in the order of :data:`personalization.types.HEADS`. Nothing serves them: they are held
    against the outcomes, the champion's beside a challenger's.
    """

    version = models.ForeignKey(
        ModelVersion, verbose_name=_("model version"), on_delete=models.CASCADE, related_name="predictions"
    )
    exposure = models.ForeignKey(
        "personalization.Exposure", verbose_name=_("exposure"), on_delete=models.CASCADE, related_name="predictions"
    )
    heads = models.JSONField(_("effects"), default=list)

    class Meta:
        verbose_name = _("exposure prediction")
        verbose_name_plural = _("exposure predictions")
        constraints = [models.UniqueConstraint(fields=["version", "exposure"], name="pz_prediction_once")]

    def __str__(self) -> str:
        return f"prediction of {self.exposure_id}"


class ItemNeighbours(models.Model):
    """What shoppers turn to after a product: used with the session's last clicks at decision time."""

    score_set = models.ForeignKey(
        ScoreSet, verbose_name=_("score set"), on_delete=models.CASCADE, related_name="neighbours"
    )
    item_id = models.CharField(_("product"), max_length=100)
    neighbours = models.JSONField(_("neighbours"), default=list, help_text=_("[product id, weight], best first."))

    class Meta:
        verbose_name = _("item neighbours")
        verbose_name_plural = _("item neighbours")
        constraints = [models.UniqueConstraint(fields=["score_set", "item_id"], name="pz_neighbours_once")]

    def __str__(self) -> str:
        return self.item_id
