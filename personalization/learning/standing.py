"""Which models are in service, since when, and whether what is served comes from them."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from personalization.learning import publish, registry
from personalization.learning.figures import date
from personalization.models import ModelVersion
from personalization.types import ModelTask


@dataclass(frozen=True, slots=True)
class Standing:
    """A task's champion (None: nobody reigns). ``served``: its predictions are in the published scores.

    None for a task that predicts no shopper: forecasts ask its champion themselves. ``trained``: there are versions of
    it, in service or not.
    """

    task: ModelTask
    champion: ModelVersion | None
    served: bool | None
    trained: bool

    @property
    def sentence(self) -> str:
        """Whether it is trained, when, and whether it scores, in a line."""
        told: dict[str, object] = {"task": dict(ModelVersion.TASKS)[self.task.value]}
        if self.champion is None and self.trained:
            return _("Model, %(task)s: trained, but none has passed the gate; the board says why") % told
        if self.champion is None:
            return _("Model, %(task)s: none in service yet") % told
        told |= {"version": str(self.champion), "day": date(self.champion.created_at)}
        if self.served is None:
            return _("Model, %(task)s: %(version)s, trained %(day)s, asked by forecasts") % told
        if self.served:
            return _("Model, %(task)s: %(version)s, trained %(day)s, in the published scores") % told
        return _("Model, %(task)s: %(version)s, trained %(day)s, not in the published scores yet: score again") % told


def standings(population: str) -> list[Standing]:
    """Return how every task stands, in the order of :class:`ModelTask`."""
    reigning, live = registry.champions(population), publish.live(population)
    trained = registry.trained_tasks(population)
    found = []
    for task in ModelTask:
        champion, served = reigning.get(task), None
        if task in registry.SCORED_TASKS:
            serving = None if live is None else getattr(live, f"{task.value}_version_id")
            served = champion is not None and champion.pk == serving
        found.append(Standing(task, champion, served, task in trained))
    return found
