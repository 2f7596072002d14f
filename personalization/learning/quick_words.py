"""The quick model of a version in words: what it is for, what it loses against the champion, whether it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from personalization.features.labels import label
from personalization.features.specification import NAMES, PROFILE
from personalization.learning.figures import is_number, listed, mapping, number
from personalization.pure import quick

PROFILE_COLUMNS = tuple(NAMES[place] for place in PROFILE)
Line = tuple[str, str, str]
"""A name, a value and its 95 % interval, as text."""


def sees(stored: Any) -> str:
    """Return what it looks at and what of a profile it does not; nothing for a card without one.

    Read off the features and weights that are stored: what was pruned away, or is hidden from offers, is not seen.
    """
    told = mapping(stored)
    if not told:
        return ""
    seen = _columns(mapping(told.get("model")))
    unseen = [name for name in PROFILE_COLUMNS if name not in seen]
    given = {"events": quick.LAST_EVENTS, "profile": _list(seen)}
    if seen:
        text = _(
            "A quick model imitates it from a shopper’s last %(events)d events and of their profile %(profile)s, while "
            "a page is made."
        )
    else:
        text = _("A quick model imitates it from a shopper’s last %(events)d events alone, while a page is made.")
    sentences = [text % given]
    if unseen:
        sentences.append(_("Of their profile it does not see: %(profile)s.") % {"profile": _list(unseen)})
    return " ".join(sentences)


def _columns(model: Mapping[str, Any]) -> list[str]:
    """Return the profile's columns that a stored model weighs; those it may weigh, where none is stored."""
    names = [str(name) for name in listed(model.get("features"))]
    heads = [dict(zip(names, listed(row), strict=False)) for row in listed(model.get("weights"))]
    weighed = [name for name in names if any(head.get(name) for head in heads)] if heads else quick.NAMES
    return list(dict.fromkeys(quick.OF_PROFILE[name] for name in weighed if name in quick.OF_PROFILE))


def _list(columns: list[str]) -> str:
    return ", ".join(label(name) for name in columns)


def verdict(stored: Any) -> str:
    """Return whether pages use it, and why; nothing for a card that does not tell."""
    told = mapping(stored)
    if "ships" not in told:
        return ""
    if told["ships"]:
        return _("Used for shoppers whom no batch has scored yet: it beats the offers’ averages, used otherwise.")
    return _("Not used: it does not beat the offers’ averages beyond chance. Those are used instead.")


def figures(stored: Any) -> list[Line]:
    """Return AUC of quick model, champion and averages, the loss and the gain: of all, and of newcomers if told."""
    told = mapping(stored)
    lines: list[Line] = []
    for name, group in (("all", _("all rows")), ("newcomers", _("shoppers first seen less than a day before"))):
        lines += _of_group(mapping(told.get(name)), group)
    return lines


def _of_group(found: Mapping[str, Any], group: str) -> list[Line]:
    auc = mapping(found.get("auc"))
    lines = [
        (text % {"group": group}, number(listed(auc.get(name))[0]), _interval(auc.get(name)))
        for name, text in (
            ("student", _("AUC of the quick model, %(group)s")),
            ("champion", _("AUC of the champion, %(group)s")),
            ("mean", _("AUC of the offers’ averages, %(group)s")),
        )
        if is_number(next(iter(listed(auc.get(name))), None))
    ]
    if is_number(found.get("auc_lost")):
        lines.append((_("AUC lost, %(group)s") % {"group": group}, number(found["auc_lost"]), ""))
    gain = listed(found.get("gain"))
    if gain and is_number(gain[0]):
        lines.append(
            (_("Gain in log-loss over the averages, %(group)s") % {"group": group}, number(gain[0]), _interval(gain))
        )
    return lines


def _interval(figure: Any) -> str:
    bounds = listed(figure)[1:3]
    return f"{number(bounds[0])} – {number(bounds[1])}" if len(bounds) == 2 and all(map(is_number, bounds)) else ""
