"""Adopted settings on their way into a training, and what its versions' cards say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalization.learning import tuning
from personalization.learning import wordings as words
from personalization.learning.figures import mapping
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import Sentence
from personalization.learning.tuning import Adopted
from personalization.types import ModelTask
from worker import preference
from worker.estimators.base import settings_of
from worker.origins import space_of
from worker.rankers import LIGHT, RANKERS
from worker.response import REGISTRY
from worker.space import Range

KINDS: dict[ModelTask, Mapping[str, type[Any]]] = {ModelTask.RESPONSE: REGISTRY, ModelTask.PREFERENCE: RANKERS}


def refusal(task: ModelTask, name: str, settings: Mapping[str, Any]) -> str:
    """Return why today's estimator of this name cannot be made with these settings; empty where it can."""
    kind = KINDS[task].get(name)
    if kind is None:
        return f"there is no {name} any more"
    if unknown := settings.keys() - settings_of(kind()).keys():
        return f"there is no setting {', '.join(sorted(unknown))}"
    try:
        kind(**settings)
    except (TypeError, ValueError) as error:
        return str(error).rstrip(".")
    return ""


def _not_found_by_a_search(task: ModelTask, name: str, settings: Mapping[str, Any]) -> str:
    """Return what of settings that an estimator takes no search can have come to: it was written by hand.

    Within the space every value is one that a fit can bear. Of what stands outside of it only what is shipped, or how
    the line-up sets it, has been tried.
    """
    kind = KINDS[task][name]
    space, shipped, usual = space_of(kind), settings_of(kind()), LIGHT.get(name, {})
    for key, value in settings.items():
        dimension = space.get(key)
        if dimension is None and value not in (shipped[key], usual.get(key, shipped[key])):
            return f"{key} is {value!r}, and no search sets it"
        if isinstance(dimension, Range) and dimension.even(value) != value:
            return f"{key} is {value!r} and must be a multiple of {dimension.multiple}"
    return ""


def earlier(version: ModelVersion) -> dict[str, Any]:
    """Return why a ranker cannot be fitted again as its card has it, for ``EARLIER_SETTINGS``; nothing where it can."""
    why = refusal(ModelTask.PREFERENCE, version.estimator, card_settings(version))
    return {"version": str(version), "why": why} if why else {}


def card_settings(version: ModelVersion) -> dict[str, Any]:
    """Return the settings on a version's card."""
    return dict(mapping(mapping(version.card).get("settings")))


def adopted(population: str, task: ModelTask) -> tuple[dict[str, Adopted], list[Sentence]]:
    """Return the adopted settings that today's estimators still take, and a sentence for each that they do not."""
    found: dict[str, Adopted] = {}
    refused: list[Sentence] = []
    for name, each in tuning.in_force(population, task).items():
        why = refusal(task, name, each.settings) or _not_found_by_a_search(task, name, each.settings)
        if why:
            refused.append(Sentence(words.OUTDATED, {"estimator": name, "search": each.run, "why": why}))
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
