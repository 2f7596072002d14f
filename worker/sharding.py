"""One worker's share of a set of scores: take a part, compute it, write it with its mark, until none is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from personalization.exceptions import LeaseLost
from personalization.learning import jobs, publish, shards
from personalization.learning.publish import ScoreSet
from worker.pulse import Pulse

WAIT_SECONDS = 0.5
RowsOf = Callable[[int, int], list[dict[str, Any]]]
"""(first, last) → the rows of the shoppers with keys in this range."""


def work_off(score_set: ScoreSet, rows_of: RowsOf, *, leads: bool, told: Callable[[float], None]) -> int:
    """Take part after part; returns how many of them were done here. ``told``: the share of the whole that is done.

    Who ``leads`` the job stays until all parts are done: what another worker died at falls to it. Whoever helps leaves
    when nothing waits. Raises LeaseLost when nobody wants the set any more and Superseded when newer scores are live;
    a part in hand is put back.
    """
    owner, here = jobs.owner(), 0
    with ExitStack() as stack:
        pulse = Pulse(partial(shards.heartbeat, score_set, owner), f"{score_set}")
        if score_set.job_id is not None:  # without a job nobody else can join
            stack.enter_context(pulse)
        while shards.wanted(score_set):
            pulse.check()
            publish.refuse_superseded(score_set)
            told(_share(score_set))
            shard = shards.take(score_set, owner, leads=leads)
            if shard is not None:
                try:
                    here += shards.finish(shard, rows_of(shard.first, shard.last))
                except BaseException:
                    shards.release(owner)
                    raise
            elif not leads or not shards.left(score_set):
                return here
            else:
                time.sleep(WAIT_SECONDS)
        raise LeaseLost


def _share(score_set: ScoreSet) -> float:
    planned = score_set.shard_count or 0
    return 1.0 - shards.left(score_set) / planned if planned else 1.0
