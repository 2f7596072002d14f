"""What races have in common in which nobody may wait in a ring: the database ends one by failing whoever closes it."""

from __future__ import annotations

from collections.abc import Callable

from django.db import OperationalError

from tests.concurrency import arena


class RingRace(arena.Race):
    """Overruns where a contender's deed, called through :meth:`attempt`, ended in a deadlock."""

    def prepare(self) -> None:
        self.rings: list[str] = []

    def attempt(self, act: Callable[..., object], *given: object) -> None:
        try:
            act(*given)
        except OperationalError as error:
            if "deadlock" not in str(error):
                raise
            self.rings.append(str(error)[:100])

    def overruns(self) -> list[str]:
        return self.rings
