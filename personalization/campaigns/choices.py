"""Which of a campaign's offers a message carries: asked here, answered above.

Ranking stands above the campaigns, so ``apps.py`` registers who answers, as it gives the worker's chores to
``learning.chores``. There is one answer for every sender: the worker's chore, the command, a host's own call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from personalization.models import Decision, Offer, OutboxMessage


@dataclass(frozen=True, slots=True)
class Choice:
    """An unsaved decision under the message's own id, and the offer that it chose.

    ``offer`` is None where nothing may be sent: none is eligible (``decision.excluded`` says why), or the shopper is
    in the holdout (``decision.eligible`` says what was withheld).
    """

    decision: Decision
    offer: Offer | None = None
    propensity: float = 1.0


Chooser = Callable[[OutboxMessage, datetime], Choice]
_registered: list[Chooser] = []


def register(chooser: Chooser) -> None:
    """Let ``chooser`` answer from now on; it reads only, and answers the same message alike."""
    _registered[:] = [chooser]


def choose(message: OutboxMessage, now: datetime) -> Choice:
    """Return the decision about a message at this moment; nothing is written."""
    if not _registered:
        raise RuntimeError("Nobody chooses offers for messages. Is the app's AppConfig.ready() skipped?")
    return _registered[0](message, now)
