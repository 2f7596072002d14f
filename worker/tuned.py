"""Adopted settings on their way into a training, and what its versions' cards say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalization.learning import tuning
from personalization.learning import wordings as words
from personalization.learning.sentences import Sentence
from personalization.learning.tuning import Adopted
from personalization.types import ModelTask
from worker import preference
from worker.rankers import RANKERS
from worker.response import REGISTRY

KINDS: dict[ModelTask, Mapping[str, type[Any]]] = {ModelTask.RESPONSE: REGISTRY, ModelTask.PREFERENCE: RANKERS}


def adopted(population: str, task: ModelTask) -> tuple[dict[str, Adopted], list[Sentence]]:
    """Return the adopted settings that today's estimators still take, and a sentence for each that they do not."""
    found: dict[str, Adopted] = {}
    refused: list[Sentence] = []
    for name, each in tuning.in_force(population, task).items():
        if name not in KINDS[task]:
            continue
        try:
            KINDS[task][name](**each.settings)
        except (TypeError, ValueError):
            refused.append(Sentence(words.OUTDATED, {"estimator": name, "search": each.run}))
        else:
            found[name] = each
    return found, refused


def settings(of: Mapping[str, Adopted]) -> dict[str, dict[str, Any]]:
    """Return estimator → settings."""
    return {name: each.settings for name, each in of.items()}


def told(of: Mapping[str, Adopted], names: list[str]) -> list[Sentence]:
    """Return a sentence for each of these estimators that a search has set."""
    return [Sentence(words.SEARCHED, {"estimator": name, "search": of[name].run}) for name in names if name in of]


def on_card(in_force: dict[str, Any], each: Adopted | None) -> dict[str, Any]:
    """Return what a card keeps of an estimator's settings and of where they came from; nothing without any."""
    card: dict[str, Any] = {"settings": in_force} if in_force else {}
    return card if each is None else {**card, "settings_from": each.as_json()}


def starting_point(population: str, task: ModelTask, name: str) -> dict[str, Any]:
    """Return what a training would set now: adopted settings, else how the line-up sets it on this machine."""
    found, _refused = adopted(population, task)
    if name in found:
        return found[name].settings
    return preference.usual_settings(name) if task == ModelTask.PREFERENCE else {}
