"""What monitoring found, as data that can be stored, and as a sentence in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext, gettext_noop, override

from personalization.features.labels import label
from personalization.insight.findings import BAD, GOOD, HINT
from personalization.learning.figures import date, is_number, signed
from personalization.learning.sentences import Sentence


@dataclass(frozen=True, slots=True)
class Observation:
    """One finding. ``occasion`` tells two alerts of the same code apart; ``figures`` are what the sentence needs."""

    code: str
    level: str
    occasion: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, stored: Any) -> Observation | None:
        """Return a stored one; None for anything else."""
        if not isinstance(stored, Mapping) or not isinstance(stored.get("code"), str):
            return None
        figures = stored.get("figures")
        level = stored.get("level")
        return cls(
            stored["code"],
            level if level in {HINT, BAD} else GOOD,
            str(stored.get("occasion", "")),
            dict(figures) if isinstance(figures, Mapping) else {},
        )

    @property
    def text(self) -> str:
        return sentence(self.code, self.figures)


def sentence(code: str, figures: Mapping[str, Any]) -> str:
    """Return a finding in words; one of another release is told by its code."""
    return str(said(code, figures))


def said(code: str, figures: Mapping[str, Any]) -> Sentence:
    """Return a finding, to be worded by whoever reads it. Raises nothing: of another release its code is left."""
    told: dict[str, Any] = {name: _shown(name, value) for name, value in figures.items()}
    template = TEMPLATES.get(code, "")
    try:
        _unused = template % told
    except KeyError:
        template = ""
    return Sentence(template, told) if template else Sentence(code.replace("_", " "))


def _shown(name: str, value: Any) -> Any:
    """Return a figure as the sentences put it in; what has a name for people as a sentence of its own."""
    if name == "measure":
        return Sentence(MEASURES.get(str(value), str(value)))
    if name == "attribute":
        return named(str(value))
    if name == "names" and isinstance(value, list):
        return [named(str(each)) for each in value]
    if name == "week":
        return date(value)
    if name in SHARES and is_number(value):
        return signed(number_format(round(value * 100, 1), 1))
    if isinstance(value, float):
        decimals = 3 if abs(value) < 10 else 0
        return str(number_format(round(value, decimals), decimals))  # it cuts off and does not round
    return str(value)


def named(column: str) -> Sentence:
    """Return what a feature, a profile attribute or a predicted effect is called in front of people."""
    head = column.removeprefix("P(").removesuffix(")")
    if head != column:
        return Sentence(PROBABILITY, {"effect": Sentence(EFFECTS.get(head, head))})
    with override(None):
        return Sentence(label(column))


PROBABILITY = gettext_noop("the predicted probability (%(effect)s)")
SHARES = {"value", "low", "high", "tolerance"}
"""Figures that are told in percentage points."""
MEASURES = {
    "exposure": gettext_noop("Exposure"),
    "response": gettext_noop("Response"),
    "uplift": gettext_noop("Uplift"),
    "price": gettext_noop("Discount"),
}
EFFECTS = {
    "view": gettext_noop("looking at it"),
    "click": gettext_noop("clicking on it"),
    "redeem": gettext_noop("using it"),
    "purchase": gettext_noop("buying something"),
}
TEMPLATES = {
    "drift": gettext_noop("What is scored has changed since the training: %(names)s (PSI up to %(worst)s)."),
    "drift_none": gettext_noop("What is scored is what the model was trained to score: %(columns)s columns compared."),
    "drift_unknown": gettext_noop(
        "Drift cannot be told: the champion or the scores have no counts. Train and score again."
    ),
    "calibration": gettext_noop(
        "In the week of %(week)s, %(expected)s outcomes were predicted of %(rows)s and %(happened)s happened "
        "(calibration error %(ece)s; chance explains %(null)s)."
    ),
    "calibration_good": gettext_noop("Predictions of %(weeks)s weeks mean what they say."),
    "calibration_unknown": gettext_noop("Too few decisions whose outcome is known to judge the predictions by."),
    "coverage": gettext_noop(
        "%(share)s of the decisions about known shoppers used their scores (%(decisions)s in a week)."
    ),
    "coverage_few": gettext_noop(
        "Too few decisions about known shoppers in a week, since there are scores, to judge how many used them "
        "(%(decisions)s of %(needed)s)."
    ),
    "coverage_unknown": gettext_noop("No decision about a known shopper in a week, since there are scores."),
    "no_champion": gettext_noop("No response model is in service."),
    "champion_old": gettext_noop("The champion was trained on data of %(days)s days ago."),
    "no_scores": gettext_noop("No scores are published."),
    "scores_old": gettext_noop("The scores are %(hours)s hours old."),
    "fresh": gettext_noop("The scores are %(hours)s hours old, the champion's data %(days)s days."),
    "served_otherwise": gettext_noop(
        "%(changed)s of %(rows)s decisions used other scores than those that were published for their shopper."
    ),
    "served_right": gettext_noop("%(rows)s decisions used the scores that were published."),
    "late_data": gettext_noop(
        "%(changed)s of %(rows)s scores come out differently with what has arrived since they were computed."
    ),
    "gap": gettext_noop(
        "%(measure)s, %(attribute)s %(group)s: %(value)s percentage points against the others, interval %(low)s to "
        "%(high)s."
    ),
    "no_gap": gettext_noop(
        "%(comparisons)s comparisons between groups: in none is the difference both larger than %(tolerance)s "
        "percentage points and larger than chance explains. The largest: %(measure)s, %(attribute)s %(group)s, "
        "%(value)s percentage points, interval %(low)s to %(high)s."
    ),
    "no_groups": gettext_noop("No group of the protected attributes has enough shoppers."),
}


def measure_in_words(measure: str) -> str:
    """Return the name of an audit's measure."""
    return gettext(MEASURES[measure]) if measure in MEASURES else measure
