"""A version's model card: what it learnt from, what it looks at, how good it is, and where not to trust it.

Built from what the training stored; versions of before have less, and their cards say less. Texts are translated
here, so that the admin's page and ``manage.py board --card`` tell the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from personalization.features.labels import label
from personalization.features.launches import NAMES as LAUNCH_TOPICS
from personalization.features.topics import BY_CODE, OF_FEATURE, REMAINDER, SEQUENCE
from personalization.learning import diversity_words, metric_names, quick_words, tuning, wordings
from personalization.learning.calibration import allowed
from personalization.learning.disclosure import weights_of
from personalization.learning.figures import DASH, date, is_number, listed, mapping, moment, number, percent
from personalization.learning.rules import Rules, rules_of
from personalization.learning.sentences import read_all
from personalization.models import ModelVersion
from personalization.types import ModelTask

FEW_POSITIVES = 500
MOST_FEATURES = 15
HALF_A_TENTH = 0.0005
"""What a percentage with one decimal does not show."""
SHORT_DAYS = 28


@dataclass(frozen=True)
class Row:
    """One line of a card: a name, a value, and its 95 % interval where it has one."""

    name: str
    value: str
    interval: str = ""


@dataclass(frozen=True)
class Bin:
    """A tenth of the test rows: what was predicted of it and what happened, as shares between 0 and 1."""

    predicted: float
    happened: float
    rows: int

    @property
    def predicted_text(self) -> str:
        return percent(self.predicted, 1)

    @property
    def happened_text(self) -> str:
        return percent(self.happened, 1)


@dataclass(frozen=True)
class Weight:
    """A topic or a feature with its share of the importances."""

    name: str
    share: float
    protected: bool = False

    @property
    def text(self) -> str:
        return percent(self.share, 1)

    @property
    def width(self) -> str:
        """The length of its bar, out of 100."""
        return f"{min(self.share, 1.0) * 100:.1f}"


@dataclass(frozen=True)
class Card:
    """Everything that a card shows, in the order in which it is read."""

    version: ModelVersion
    about: list[Row] = field(default_factory=list)
    data: list[Row] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    diversity: list[Row] = field(default_factory=list)
    rates: list[Row] = field(default_factory=list)
    topics: list[Weight] = field(default_factory=list)
    features: list[Weight] = field(default_factory=list)
    text_topics: list[Row] = field(default_factory=list)
    metrics: list[Row] = field(default_factory=list)
    calibration: list[Bin] = field(default_factory=list)
    calibration_words: str = ""
    compared: list[Row] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    cost: list[Row] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    rules: Rules | None = None
    quick: list[Row] = field(default_factory=list)
    quick_sees: str = ""
    quick_words: str = ""

    @property
    def of_launches(self) -> bool:
        """Whether what is judged are launches of campaigns, and not shoppers."""
        return bool(self.version.task == ModelTask.ATTRACTIVENESS)

    @property
    def calibration_points(self) -> list[tuple[float, float]]:
        """Where each tenth lies in a square of 100 with the origin below: predicted across, happened up."""
        scale = 100 / self._largest()
        return [(round(each.predicted * scale, 1), round(100 - each.happened * scale, 1)) for each in self.calibration]

    @property
    def calibration_limit(self) -> str:
        """What the square's side stands for."""
        return percent(self._largest())

    def _largest(self) -> float:
        """Return the largest share among the tenths, rounded up to whole tenths."""
        largest = max((max(each.predicted, each.happened) for each in self.calibration), default=1.0)
        return min(max(math.ceil(round(largest * 10, 6)) / 10, 0.1), 1.0)


def build(version: ModelVersion) -> Card:
    """Return the card of a version of any age and task."""
    stored, figures = mapping(version.card), mapping(version.metrics)
    board = mapping(figures.get("board"))
    diverse = mapping(stored.get("data")).get("diversity")
    return Card(
        version=version,
        about=_about(version, stored, figures),
        data=_data(mapping(stored.get("data")), mapping(stored.get("test"))),
        warnings=diversity_words.warnings(diverse),
        diversity=[Row(*pair) for pair in diversity_words.figures(diverse)],
        rates=[Row(*pair) for pair in diversity_words.rates(diverse)],
        quick=[Row(*line) for line in quick_words.figures(stored.get("quick"))],
        quick_sees=quick_words.sees(stored.get("quick")),
        quick_words=quick_words.verdict(stored.get("quick")),
        topics=_topics(stored),
        features=_features(stored),
        text_topics=_text_topics(stored),
        metrics=_metrics(board),
        calibration=_bins(mapping(stored.get("calibration")).get("bins")),
        calibration_words=_calibration_words(mapping(stored.get("calibration"))),
        compared=_compared(version),
        reasons=[str(reason) for reason in read_all(stored.get("reasons"))],
        cost=_cost(version, stored, figures),
        limits=_limits(version, stored),
        rules=rules_of(stored.get("rules")),
    )


def _about(version: ModelVersion, stored: Mapping[str, Any], figures: Mapping[str, Any]) -> list[Row]:
    known = wordings.note(version.task, version.estimator)
    rows = [
        Row(_("What it is"), known or str(stored.get("note") or version.estimator)),
        Row(_("Task"), str(version.get_task_display())),
        Row(_("State"), str(version.get_state_display())),
        Row(_("Population"), version.population),
        Row(_("Trained"), date(version.created_at)),
        Row(_("Learnt from data until"), date(version.cutoff_at)),
    ]
    mixture = [(str(name), share) for name, share in mapping(stored.get("mixture")).items() if is_number(share)]
    if mixture:
        told = ", ".join(f"{percent(share)} {name}" for name, share in mixture)
        rows.append(Row(_("Blended of"), _("%(shares)s, by their logits") % {"shares": told}))
    head = stored.get("judged_on") or figures.get("head")
    if head:
        rows.append(Row(_("Judged on"), wordings.effect(str(head))))
    unseen = listed(stored.get("unseen"))
    if unseen:
        kinds = wordings.kinds_of_offers()
        rows.append(Row(_("Never logged, so not learnt"), ", ".join(kinds.get(kind, str(kind)) for kind in unseen)))
    settings = mapping(stored.get("settings"))
    if settings:
        rows.append(Row(_("Settings"), ", ".join(f"{name} {tuning.plain(value)}" for name, value in settings.items())))
        rows.append(Row(_("Where they come from"), tuning.origin(stored)))
    return rows


def _data(data: Mapping[str, Any], test: Mapping[str, Any]) -> list[Row]:
    rows = []
    if data.get("from") and data.get("until"):
        rows.append(Row(_("Period"), f"{date(data['from'])} – {date(data['until'])}"))
    if data.get("test_from"):
        rows.append(Row(_("Judged on what came from"), date(data["test_from"])))
    for name, value in (
        (_("Shoppers"), data.get("shoppers")),
        (_("Events"), data.get("events")),
        (_("Offers shown"), data.get("exposures")),
        (_("Rows learnt from"), data.get("train_rows")),
        (_("Launches learnt from"), data.get("launches")),
        (_("Launches judged on"), data.get("launches_judged")),
        (_("Rows judged on"), test.get("rows")),
        (_("Of these with the outcome"), test.get("positives")),
        (_("Outcome window in hours"), data.get("outcome_window_hours")),
    ):
        if is_number(value):
            rows.append(Row(name, number(value)))
    if data:
        rows.append(Row(_("Consent"), _("only shoppers who had agreed to personalisation; none who look like bots")))
        rows.append(Row(_("Simulated"), _("yes") if data.get("simulated") else _("no")))
    return rows


def _topics(stored: Mapping[str, Any]) -> list[Weight]:
    launches = mapping(stored.get("launch_topics"))
    weights = [Weight(str(LAUNCH_TOPICS.get(code, code)), share) for code, share in _shares(launches)]
    for code, share in weights_of(stored).items():
        topic = BY_CODE.get(code)
        weights.append(Weight(str(topic.name) if topic else code, share, topic.protected if topic else False))
    return weights


def _features(stored: Mapping[str, Any]) -> list[Weight]:
    """Return the features with the largest shares under the names of the reference, and all the others in one line.

    They are parts of the topics' shares where the training explained a sample of the test rows, of the estimator's own
    importances otherwise; a flag for a missing value counts for its feature, as it does for a topic.
    """
    found: dict[str, float] = {}
    for name, share in _shares(stored.get("features") or stored.get("importances")):
        own = name.removesuffix("_missing")
        own = own if own in OF_FEATURE else name
        found[own] = found.get(own, 0.0) + share
    ordered = sorted(found.items(), key=lambda pair: -pair[1])[:MOST_FEATURES]
    weights = [Weight(_feature_name(name), share) for name, share in ordered]
    rest = 1.0 - sum(weight.share for weight in weights)
    return [*weights, Weight(_("All the others together"), rest)] if weights and rest > HALF_A_TENTH else weights


def _feature_name(term: str) -> str:
    return str(BY_CODE[term].name) if term in (SEQUENCE, REMAINDER) else label(term)


def _text_topics(stored: Mapping[str, Any]) -> list[Row]:
    """Return what the topics of the catalogue's words are about: their most probable words."""
    return [
        Row(_("Text topic %(number)s") % {"number": number}, ", ".join(map(str, listed(told))))
        for number, told in enumerate(listed(stored.get("text_topics")), start=1)
    ]


def _metrics(board: Mapping[str, Any]) -> list[Row]:
    """Return the metrics of the effect that decides first, then those of the others."""
    return [row for name in metric_names.ordered(board) if (row := _metric(name, board[name])) is not None]


def _metric(name: str, value: Any) -> Row | None:
    figure = value if isinstance(value, list) else [value]
    if not figure or not is_number(figure[0]):
        return None
    bounds = figure[1:3]
    known = len(bounds) == 2 and all(map(is_number, bounds))
    interval = f"{number(bounds[0])} – {number(bounds[1])}" if known else ""
    return Row(metric_names.in_full(name), number(figure[0]), interval)


def _bins(value: Any) -> list[Bin]:
    return [
        Bin(float(row[0]), float(row[1]), int(row[2]))
        for row in listed(value)
        if isinstance(row, list) and len(row) == 3 and all(map(is_number, row))
    ]


def _calibration_words(found: Mapping[str, Any]) -> str:
    error, chance = found.get("ece"), found.get("ece_by_chance")
    if not (is_number(error) and is_number(chance)):
        return ""
    bound = allowed(float(chance))
    given = {"error": number(error), "chance": number(chance), "allowed": number(bound)}
    if float(error) <= float(chance):
        return _("Calibration error %(error)s: no more than chance explains (up to %(chance)s).") % given
    if float(error) <= bound:
        told = _(
            "Calibration error %(error)s: more than chance explains (%(chance)s), and within what is allowed "
            "(%(allowed)s)."
        )
        return told % given
    return _("Calibration error %(error)s: above what is allowed (%(allowed)s, twice what chance explains).") % given


def _compared(version: ModelVersion) -> list[Row]:
    """Return the other estimators of the same training: each one's first metric on the same rows."""
    if version.job_id is None:
        rivals = ModelVersion.objects.filter(job=None, cutoff_at=version.cutoff_at)
    else:
        rivals = ModelVersion.objects.filter(job=version.job_id)
    rows = []
    for other in rivals.filter(task=version.task, population=version.population).exclude(pk=version.pk).order_by("pk"):
        board = mapping(mapping(other.metrics).get("board"))
        told = _metrics(board)[:2]
        words = "; ".join(f"{row.name} {row.value}" + (f" [{row.interval}]" if row.interval else "") for row in told)
        rows.append(Row(other.estimator, words or DASH))
    return rows


def _cost(version: ModelVersion, stored: Mapping[str, Any], figures: Mapping[str, Any]) -> list[Row]:
    rows = []
    seconds = figures.get("fit_seconds")
    for name, value, unit in (
        (_("Fitting and calibrating"), seconds, _("%(number)s s")),
        (_("The whole comparison"), stored.get("seconds"), _("%(number)s s")),
        (_("Most memory of the process meanwhile"), figures.get("peak_mb"), _("%(number)s MiB")),
    ):
        if is_number(value):
            rows.append(Row(name, unit % {"number": number(value, 1)}))
    if stored.get("device"):
        rows.append(Row(_("Device"), _device(stored["device"])))
    return [*rows, Row(_("Size of its files"), filesizeformat(version.size_bytes))]


def _device(stored: Any) -> str:
    """Return what a version was trained on in words; what an earlier release wrote as it is."""
    found = mapping(stored)
    if not found:
        return str(stored)
    threads = found.get("threads")
    name = str(found.get("gpu") or "")
    if isinstance(threads, int):
        name = ngettext("CPU, %(count)d thread", "CPU, %(count)d threads", threads) % {"count": threads}
    exact = _("deterministic") if found.get("deterministic") is True else ""
    return ", ".join(part for part in (name, str(found.get("precision") or ""), exact) if part)


def _limits(version: ModelVersion, stored: Mapping[str, Any]) -> list[str]:
    """Return where the version is not to be trusted: first what its own data says, then what holds for all."""
    data, test = mapping(stored.get("data")), mapping(stored.get("test"))
    found = []
    if data.get("simulated"):
        found.append(_("The data was simulated by a program: the figures say nothing about real shoppers."))
    days = _days(data)
    if days is not None and days < SHORT_DAYS:
        found.append(
            ngettext(
                "It has seen %(days)d day only: no seasons, no holidays.",
                "It has seen %(days)d days only: no seasons, no holidays.",
                days,
            )
            % {"days": days}
        )
    positives = test.get("positives")
    if is_number(positives) and positives < FEW_POSITIVES:
        found.append(
            _("Judged on %(number)s positive outcomes: small differences between models are chance.")
            % {"number": number(positives)}
        )
    for weight in _topics(stored):
        if weight.protected:
            found.append(
                _("It looks at a protected attribute: %(name)s (%(share)s of the importances).")
                % {"name": weight.name, "share": percent(weight.share, 1)}
            )
    if version.task == ModelTask.RESPONSE:
        found += [
            _("It predicts who responds, not whom an offer changes: the holdout measures that."),
            _("Offers and shoppers unlike those it has seen are predicted towards the average."),
            _("It says nothing about shoppers without consent: they get what everybody gets."),
            _("Prices are not its matter: no price depends on it."),
        ]
    if version.task == ModelTask.ATTRACTIVENESS:
        found += [
            _("It tells the share that responds, not how many would have bought without the offer."),
            _("A launch unlike those it has seen is predicted towards the mean of its kind."),
        ]
    if version.task == ModelTask.PREFERENCE:
        found.append(_("It ranks what was viewed and bought: what nobody has seen yet comes late, if at all."))
    return found


def _days(data: Mapping[str, Any]) -> int | None:
    first, last = (moment(data.get(name)) for name in ("from", "until"))
    return (last - first).days if first is not None and last is not None else None


def _shares(value: Any) -> list[tuple[str, float]]:
    pairs = [(str(name), float(share)) for name, share in mapping(value).items() if is_number(share) and share > 0]
    return sorted(pairs, key=lambda pair: -pair[1])
