"""What a metric is called in front of people: in short above a column, in full where there is room."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.translation import gettext as _

from personalization.learning import wordings
from personalization.types import HEADS

OTHER = "auc_"
"""How the names of the metrics of effects begin that do not decide."""
ORDER = (
    "log_loss", "log_score", "auc", "ece", "average_precision", "mse", "mae",
    "ndcg@10", "recall@10", "recall@20",
    "gain_simpler", "gain_reigning",
    "coverage_80", "width_80",
)  # fmt: skip
"""What decides comes first. A database keeps no order of what it stores as JSON."""


def ordered(names: Iterable[str]) -> list[str]:
    """Return metrics in the order in which people read them; others follow by name, those of other effects last."""
    known = {name: place for place, name in enumerate((*ORDER, *(OTHER + head for head in HEADS)))}
    return sorted(set(names), key=lambda name: (name.startswith(OTHER), known.get(name, len(known)), name))


def effect_of(name: str) -> str:
    """Return the effect that a metric of another effect is of; empty for any other metric."""
    return wordings.effect(name.removeprefix(OTHER)) if name.startswith(OTHER) else ""


def in_short(name: str) -> str:
    """Return a metric's name above a column of figures."""
    words = {
        "log_loss": _("log-loss"),
        "auc": _("AUC"),
        "average_precision": _("average precision"),
        "ece": _("calibration error"),
        "mse": _("squared error"),
        "mae": _("absolute error"),
        "log_score": _("log-score"),
        # xgettext:no-python-format
        "coverage_80": _("80 % intervals that held"),
        # xgettext:no-python-format
        "width_80": _("width of the 80 % intervals"),
        "gain_simpler": _("gain over the same shares"),
        "gain_reigning": _("gain over the reigning"),
    }
    if name.startswith(OTHER):
        return _("AUC %(effect)s") % {"effect": effect_of(name)}
    return words.get(name, name.replace("_", " "))


def in_full(name: str) -> str:
    """Return a metric in words: which way is better is said where a reader may not know."""
    words = {
        "log_loss": _("log-loss (lower is better)"),
        "auc": _("AUC (0.5 is chance, 1 is perfect)"),
        "ece": _("calibration error (0 is best)"),
        "mse": _("mean squared error"),
        "mae": _("mean absolute error"),
        "log_score": _("log-score a launch (higher is better)"),
        "gain_simpler": _("gain over the same shares for everybody (weighted log-loss)"),
        "gain_reigning": _("gain over the strategy that reigned (weighted log-loss)"),
    }
    if name.startswith(OTHER):
        return _("AUC of another effect: %(effect)s") % {"effect": effect_of(name)}
    return words.get(name) or in_short(name)
