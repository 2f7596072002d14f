"""What a process without a reader has to say: an English msgid and what is put into it, worded when somebody reads it.

A worker knows nobody's language. What it stores for people (why a version reigns, what a training came to, why a job
failed) is therefore never a finished text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext, override

from personalization.exceptions import PersonalizationError
from personalization.learning import figures
from personalization.ports import moments

PLAIN = re.compile(r"%(?:%|\(\w+\)(?:[sdg]|\.\d[fg]))")
"""What may stand in a template. Widths may not: they make a text of any length out of nothing."""
MOST_NESTED, MOST_LONG = 10, 10_000
"""Sentences and lists within each other, and characters of a sentence: more was stored by nobody who meant it."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """``template`` with ``params`` put in. A parameter may be a sentence itself or a list, joined by commas where its
    parts are no whole sentences, or a moment (:func:`at`).
    """

    template: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The sentence in the reader's language."""
        return worded(self.template, self.params)

    def stored(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"template": self.template, "params": {name: _stored(value) for name, value in self.params.items()}}


Said = str | Sentence
"""A sentence, or the msgid of one without parameters."""


def at(moment: str) -> dict[str, str]:
    """Return a moment (ISO) as a parameter that is written as the reader writes moments."""
    return {"moment": moment}


def of(said: Said) -> Sentence:
    """Return what is said as a sentence."""
    return said if isinstance(said, Sentence) else Sentence(said)


def in_english(said: Said) -> str:
    """Return what is said for logs and columns that nobody words."""
    with override(None):
        return str(of(said))


def of_error(error: PersonalizationError) -> Sentence:
    """Return what an error says, to be kept until somebody reads it."""
    return Sentence(error.template, error.params)


def read(stored: Any) -> Sentence | None:
    """Return a stored sentence; a text of an older version is one without parameters; None for anything else."""
    if isinstance(stored, Sentence):
        return stored
    if isinstance(stored, str):
        return Sentence(stored) if stored else None
    if not isinstance(stored, Mapping) or not isinstance(stored.get("template"), str) or not stored["template"]:
        return None
    params = stored.get("params")
    return Sentence(stored["template"], params if isinstance(params, Mapping) else {})


def read_all(stored: Any) -> list[Sentence]:
    """Return the sentences of a stored list, without what is none."""
    rows = stored if isinstance(stored, list) else []
    return [found for row in rows if (found := read(row)) is not None]


def store_all(sentences: Iterable[Sentence]) -> list[dict[str, Any]]:
    """Return sentences as JSON."""
    return [sentence.stored() for sentence in sentences]


def worded(template: str, params: Mapping[str, Any]) -> str:
    """Return a msgid in the reader's language with its parameters; the bare text where they are of another version.

    Never raises: what is stored may be of any shape, nested or written to grow without bound.
    """
    return _worded(template, params, 0)


def _worded(template: str, params: Mapping[str, Any], depth: int) -> str:
    text = gettext(template) if template else ""
    if not params or depth > MOST_NESTED or len(text) > MOST_LONG or "%" in PLAIN.sub("", text):
        return text
    try:
        found = text % {name: _shown(value, depth + 1) for name, value in params.items()}
    except (KeyError, TypeError, ValueError, OverflowError):
        return text
    return found if len(found) <= MOST_LONG else text


def _shown(value: Any, depth: int) -> Any:
    if isinstance(value, list | tuple):
        if depth > MOST_NESTED:
            return ""
        several = [str(_shown(each, depth + 1)) for each in value]
        whole = bool(several) and all(text.endswith((".", "。")) for text in several)
        return (" " if whole else ", ").join(several)
    if isinstance(value, Mapping) and (moment := figures.moment(value.get("moment"))) is not None:
        return moments.moment(moment)
    if isinstance(value, Sentence | Mapping):
        found = read(value)
        return "" if found is None else _worded(found.template, found.params, depth)
    return value


def _stored(value: Any) -> Any:
    if isinstance(value, Sentence):
        return value.stored()
    if isinstance(value, list | tuple):
        return [_stored(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | Mapping) else str(value)
