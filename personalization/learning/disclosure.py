"""How offers are chosen, for everybody to read: which data count and which never do, from the champion's card.

Public: no personal data, no figures, no names of campaigns or models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.utils.functional import Promise

from personalization.features.topics import BY_CODE, REMAINDER, TOPICS, Topic, shares
from personalization.learning import publish, registry
from personalization.learning.figures import is_number, listed, mapping
from personalization.models import ScoreSet
from personalization.types import ModelTask

MUCH, SOME = 0.15, 0.05
"""Shares of the importances from which a topic counts most, or counts too; they are never shown."""


@dataclass(frozen=True)
class Disclosure:
    """What is used, by weight, and what is not. ``learnt``: whether a model chooses at all."""

    learnt: bool
    products: bool
    most: list[str | Promise]
    some: list[str | Promise]
    little: list[str | Promise]
    protected: list[str | Promise]
    unused: list[str | Promise]


def disclose(population: str) -> Disclosure:
    """Return what the models look at whose scores a population's pages show, or would show next."""
    live = publish.live(population)
    response = (live.response_version if live else None) or registry.champion(ModelTask.RESPONSE, population)
    weights = weights_of(response.card) if response is not None else {}
    topics = [BY_CODE[code] for code in weights if code in BY_CODE and code != REMAINDER]
    floor = min(MUCH, max(weights.values(), default=MUCH))  # whatever the weights, something counts most
    cards = _cards(population, live)
    looked_at = {str(code) for card in cards for code in [*weights_of(card), *listed(mapping(card).get("looks_at"))]}
    told_all = all("looks_at" in mapping(card) for card in cards)  # older cards name the largest importances only
    return Disclosure(
        learnt=bool(topics),
        products=registry.champion(ModelTask.PREFERENCE, population) is not None,
        most=_sentences(topic for topic in topics if weights[topic.code] >= floor),
        some=_sentences(topic for topic in topics if SOME <= weights[topic.code] < floor),
        little=_sentences(topic for topic in topics if weights[topic.code] < min(SOME, floor)),
        protected=[topic.name for topic in TOPICS if topic.protected and topic.code in looked_at],
        unused=[topic.name for topic in TOPICS if topic.protected and topic.code not in looked_at] if told_all else [],
    )


def weights_of(card: object) -> dict[str, float]:
    """Return topic → share of a card of any age, the largest first; what has no share at all is left out."""
    stored = mapping(card)
    topics = mapping(stored.get("topics"))
    found = {str(code): float(share) for code, share in topics.items() if is_number(share) and share > 0}
    if not found:
        found = shares(_numbers(mapping(stored.get("importances"))))
    return {code: found[code] for code in sorted(found, key=lambda each: -found[each])}


def _cards(population: str, live: ScoreSet | None) -> list[object]:
    """Return the cards of all models whose word counts now: the champions, and what made the live scores."""
    asked = (ModelTask.RESPONSE, ModelTask.STRATEGY, ModelTask.INTENT)
    reigning = [registry.champion(task, population) for task in asked]
    served = [getattr(live, f"{task.value}_version") for task in asked] if live else []
    return list({version.pk: version.card for version in [*reigning, *served] if version is not None}.values())


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if is_number(value)}


def _sentences(topics: Iterable[Topic]) -> list[str | Promise]:
    return [topic.sentence for topic in topics]
