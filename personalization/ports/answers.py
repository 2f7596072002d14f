"""What a host's function gave back for a list that it was asked about: refused in a sentence where it is no answer.

A sentence names the setting and what is expected, never what came back: that may be about a person, and ends in a job's
error, which staff read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from typing import Any

from personalization.exceptions import PersonalizationError


def one_each(given: Any, asked: int, setting: str, *, entries: str, of: str) -> list[Any]:
    """Return the answer as a list of ``asked`` entries; raises PersonalizationError for anything else.

    ``entries`` and ``of`` say in plural what the entries are and what they are for. A generator is refused as well: it
    cannot be counted before it is used.
    """
    count = _length(given)
    if count is None:
        raise PersonalizationError(
            'PERSONALIZATION["%(setting)s"] must return a list: %(entries)s, one for each of the %(of)s.',
            params={"setting": setting, "entries": entries, "of": of},
        )
    if count != asked:
        raise PersonalizationError(
            'PERSONALIZATION["%(setting)s"] returned %(given)s %(entries)s for %(asked)s %(of)s.',
            params={"setting": setting, "given": count, "entries": entries, "asked": asked, "of": of},
        )
    return list(given)


def _length(given: Any) -> int | None:
    """Return how many entries a list or an array has; None for what is neither."""
    # An array is no Sequence, though it has a length and an order; texts, mappings and sets are not meant by anybody.
    if not isinstance(given, Collection) or isinstance(given, str | bytes | Mapping | Set):
        return None
    try:
        return len(given)
    except TypeError:  # an array of no dimension
        return None
