"""Sharing an amount among lines, to the last unit."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def allocate(amount_minor: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Share ``amount_minor`` in proportion to ``weights`` (non-negative) by largest remainder.

    The shares sum exactly to the amount, and none exceeds its weight if the amount does not exceed their sum.
    """
    total = sum(weights)
    if total <= 0:
        return tuple(0 for _ in weights)
    shares = [amount_minor * weight // total for weight in weights]
    odd = amount_minor - sum(shares)
    if odd:
        left = [-(amount_minor * weight % total) for weight in weights]
        for index in sorted(range(len(weights)), key=left.__getitem__)[:odd]:
            shares[index] += 1
    return tuple(shares)


def allocate_within(amount_minor: int, weights: Sequence[int], rooms: Sequence[int]) -> tuple[int, ...]:
    """Share an amount like :func:`allocate`, no share above its room: what one line cannot bear moves to the others.

    The shares sum to the amount, or to all the room that lines with a weight have.
    """
    shares = [0] * len(weights)
    bearing = [i for i, weight in enumerate(weights) if weight > 0 and rooms[i] > 0]
    left = min(amount_minor, sum(rooms[i] for i in bearing))
    whole = allocate(left, [weight if room > 0 else 0 for weight, room in zip(weights, rooms, strict=True)])
    if all(share <= room for share, room in zip(whole, rooms, strict=True)):
        return whole
    total = sum(weights[i] for i in bearing)
    # The lines that fill up first are those with the least room for their weight; one pass in that order finds all.
    bearing.sort(key=lambda i: Fraction(rooms[i], weights[i]))
    for place, i in enumerate(bearing):
        if rooms[i] * total > left * weights[i]:
            rest = sorted(bearing[place:])
            for index, share in zip(rest, allocate(left, [weights[j] for j in rest]), strict=True):
                shares[index] = share
            break
        shares[i] = rooms[i]
        left, total = left - rooms[i], total - weights[i]
    return tuple(shares)
