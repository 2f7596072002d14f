"""A refused code is answered after the same time, whatever is wrong with it."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from personalization import conf
from personalization.exceptions import CouponRefused, GiftCardRefused


@contextmanager
def even_time() -> Iterator[None]:
    """Hold back a refusal of the block until ``REFUSAL_FLOOR_MS`` have passed since it began, or a multiple of it.

    A lookup that took longer than the floor waits for the next multiple: how much longer is not told either. Use it
    around the lookup as a decorator or in ``with``, outside transactions: nothing must be locked while it waits.
    """
    began = time.perf_counter()
    try:
        yield
    except (CouponRefused, GiftCardRefused) as refused:
        # What the lookup found goes now: to free a coupon and its campaign after the wait takes time that tells.
        traceback.clear_frames(refused.__traceback__)
        _wait(began, conf.get().refusal_floor_ms / 1000)
        raise


def _wait(began: float, floor: float) -> None:
    if floor <= 0:
        return
    due = began + floor * math.ceil((time.perf_counter() - began) / floor)
    while (left := due - time.perf_counter()) > 0:
        time.sleep(left)
