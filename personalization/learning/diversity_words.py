"""The report on the data's diversity in words: its figures, and warnings where a model would learn something lopsided.

Reads what ``diversity.describe`` returned, from a card of any age: what is not there, or is broken, is not told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from personalization.features.labels import label
from personalization.learning.figures import date, is_number, listed, mapping, moment, number, percent
from personalization.learning.wordings import kinds_of_offers

DOMINANT = 0.75
"""From this share on, one offer or one category is what a model learns about."""
RARE = 0.01
"""Below this share of rows with the outcome, or without it, a model has next to nothing to tell apart."""
TOP_SHOPPERS, TOP_ITEMS = 0.25, 0.5
"""Shares of the largest hundredth: exponential counts give 0.06, an ordinary long tail of products up to 0.4."""
MOSTLY_MISSING = 0.9
TWICE = 0.02
GAP_SHARE, GAP_DAYS = 0.1, 2.0
MOSTLY_NEW = 0.5
CHANGED, BEYOND_CHANCE = 1.5, 4.0
"""The outcome's rate has changed if its highest is so many times its lowest, and so many standard errors above it."""
TOLD_MISSING = 0.5

Pair = tuple[str, str]
"""A name and a value, as text."""
Rate = tuple[str, int, int]
"""A name, rows, and rows in which the outcome happened."""


def warnings(report: Any) -> list[str]:
    """Return what is lopsided, worst consequences first; nothing for data that is even."""
    stored = mapping(report)
    return [
        *_about_the_outcome(mapping(stored.get("outcome"))),
        *_about_shares(stored),
        *_about_missing(mapping(stored.get("missing"))),
        *_about_the_log(stored),
        *_about_the_new(mapping(stored.get("new_in_test"))),
    ]


def figures(report: Any) -> list[Pair]:
    """Return the figures: how many of each, how even, the outcome's rates, what is missing."""
    stored = mapping(report)
    told = [*_counts(mapping(stored.get("counts"))), *_evenness(mapping(stored.get("concentration")))]
    time, new = mapping(stored.get("time")), mapping(stored.get("new_in_test"))
    if is_number(time.get("days")):
        told.append((_("Days observed"), number(time["days"], 1)))
    if is_number(time.get("days_with_events")):
        told.append((_("Days with any event"), number(time["days_with_events"])))
    if is_number(stored.get("duplicates")):
        told.append((_("Events that equal another one"), number(stored["duplicates"])))
    for name, share in ((_("New shoppers in the part judged on"), new.get("shoppers")),
                        (_("New products in the part judged on"), new.get("items"))):  # fmt: skip
        if is_number(share):
            told.append((name, percent(share, 1)))
    told += [
        (_("Missing: %(feature)s") % {"feature": label(str(name))}, percent(share, 1))
        for name, share in mapping(stored.get("missing")).items()
        if is_number(share) and share >= TOLD_MISSING
    ]
    why = _("protected, and PROTECTED_USES does not allow it")
    hidden = [label(str(name)) for name in listed(stored.get("not_used"))]
    return told + [(_("Not used: %(feature)s") % {"feature": name}, why) for name in hidden]


def rates(report: Any) -> list[Pair]:
    """Return the outcome's rate in all and by offer, kind, channel, group and time."""
    outcome = mapping(mapping(report).get("outcome"))
    if not (is_number(outcome.get("rows")) and is_number(outcome.get("positives")) and outcome["rows"] > 0):
        return []
    told = [(_of_what(outcome), _rate(int(outcome["rows"]), int(outcome["positives"])))]
    for title, found in _divisions(outcome):
        told += [(title % {"name": name}, _rate(rows, positives)) for name, rows, positives in found]
    over_time = _read(outcome.get("over_time"))
    return told + [(_("From %(day)s") % {"day": date(name)}, _rate(rows, hits)) for name, rows, hits in over_time]


def _of_what(outcome: Mapping[str, Any]) -> str:
    """Return what the rows are and what happened in them: of offers shown, or of shoppers at moments of the past."""
    if not _read(outcome.get("offers")):
        return _("Shoppers at moments of the past who bought within the days after")
    words = {
        "view": _("Offers shown that were looked at"),
        "click": _("Offers shown that were clicked"),
        "redeem": _("Offers shown that were redeemed"),
        "purchase": _("Offers shown after which something was bought"),
    }
    return words.get(str(outcome.get("head")), _("Offers shown with the outcome"))


def _divisions(outcome: Mapping[str, Any]) -> Iterator[tuple[str, list[Rate]]]:
    yield _("Offer “%(name)s”"), _read(outcome.get("offers"))
    kinds = kinds_of_offers()
    yield (
        _("Kind %(name)s"),
        [(kinds.get(kind, kind), rows, hits) for kind, rows, hits in _read(outcome.get("kinds"))],
    )
    yield _("Channel %(name)s"), _read(outcome.get("channels"))
    for attribute, found in mapping(outcome.get("groups")).items():
        yield label(str(attribute)).replace("%", "%%") + ": %(name)s", _read(found)


def _counts(counts: Mapping[str, Any]) -> Iterator[Pair]:
    for name, words in (
        ("active_shoppers", _("Shoppers who did anything")),
        ("orders", _("Orders")),
        ("items", _("Products")),
        ("items_turned_to", _("Products that anybody turned to")),
        ("categories", _("Categories")),
        ("offers_shown", _("Different offers shown")),
    ):
        if is_number(counts.get(name)):
            yield words, number(counts[name])


def _evenness(concentration: Mapping[str, Any]) -> Iterator[Pair]:
    for name, gini, top in (
        ("shoppers", _("Events over shoppers, Gini"), _("Events of the most active hundredth of the shoppers")),
        ("items", _("Interest over products, Gini"), _("Interest in the most popular hundredth of the products")),
        ("categories", _("Interest over categories, Gini"), ""),
    ):
        found = mapping(concentration.get(name))
        if is_number(found.get("gini")):
            evenness = number(found.get("evenness"), 2)
            yield gini, _("%(gini)s (entropy %(evenness)s of its maximum)") % {
                "gini": number(found["gini"], 2), "evenness": evenness,
            }  # fmt: skip
        if top and is_number(found.get("top_1pct")):
            yield top, percent(found["top_1pct"], 1)


def _about_the_outcome(outcome: Mapping[str, Any]) -> Iterator[str]:
    rows, positives = outcome.get("rows"), outcome.get("positives")
    if not (is_number(rows) and is_number(positives) and rows > 0):
        return
    rate = positives / rows
    if min(rate, 1 - rate) < RARE:
        yield _("The outcome happens in %(share)s of the rows: there is little to tell apart.") % {
            "share": percent(rate, 2)
        }
    offers, largest = _read(outcome.get("offers")), _read([outcome.get("largest_offer")])
    if len(offers) > 1 and largest and positives and largest[0][2] / positives >= DOMINANT:
        yield _("One offer, “%(name)s”, gives %(share)s of the outcomes: little is learnt about the others.") % {
            "name": largest[0][0], "share": percent(largest[0][2] / positives),
        }  # fmt: skip
    changed = _changed(_read(outcome.get("over_time")))
    if changed is not None:
        low, high = changed
        yield _(
            "The outcome’s rate is %(high)s from %(high_day)s and %(low)s from %(low_day)s: what holds in one time may "
            "not hold in the next."
        ) % {
            "high": percent(high[2] / high[1], 1), "high_day": date(high[0]),
            "low": percent(low[2] / low[1], 1), "low_day": date(low[0]),
        }  # fmt: skip


def _changed(parts: list[Rate]) -> tuple[Rate, Rate] | None:
    """Return the times of the lowest and the highest rate if they differ by much, and beyond chance."""
    if len(parts) < 2:
        return None
    ordered = sorted(parts, key=lambda part: part[2] / part[1])
    low, high = ordered[0], ordered[-1]
    below, above = low[2] / low[1], high[2] / high[1]
    both = (low[2] + high[2]) / (low[1] + high[1])
    error = math.sqrt(both * (1 - both) * (1 / low[1] + 1 / high[1]))
    return (low, high) if above >= CHANGED * below and above - below > BEYOND_CHANCE * error else None


def _about_shares(stored: Mapping[str, Any]) -> Iterator[str]:
    concentration, counts = mapping(stored.get("concentration")), mapping(stored.get("counts"))
    shoppers = mapping(concentration.get("shoppers")).get("top_1pct")
    if is_number(shoppers) and shoppers >= TOP_SHOPPERS:
        yield _("1 %% of the shoppers give %(share)s of the events: are robots or staff among them?") % {
            "share": percent(shoppers)
        }
    items = mapping(concentration.get("items")).get("top_1pct")
    if is_number(items) and items >= TOP_ITEMS:
        yield _("1 %% of the products get %(share)s of the interest: the others are hardly learnt about.") % {
            "share": percent(items)
        }
    largest = listed(stored.get("largest_category"))
    several = is_number(counts.get("categories")) and counts["categories"] > 1
    if several and len(largest) == 2 and is_number(largest[1]) and largest[1] >= DOMINANT:
        yield _("One category, “%(name)s”, gets %(share)s of the interest.") % {
            "name": largest[0], "share": percent(largest[1]),
        }  # fmt: skip


def _about_missing(missing: Mapping[str, Any]) -> Iterator[str]:
    """Warn of what is known of a few: what nobody tells does no harm, a handful is taken for everybody."""
    for name, share in missing.items():
        if is_number(share) and MOSTLY_MISSING <= share < 1:
            yield _("“%(feature)s” is missing in %(share)s of the rows.") % {
                "feature": label(str(name)), "share": percent(share, 1),
            }  # fmt: skip


def _about_the_log(stored: Mapping[str, Any]) -> Iterator[str]:
    time, counts = mapping(stored.get("time")), mapping(stored.get("counts"))
    gap, days = time.get("longest_gap_days"), time.get("days")
    if is_number(gap) and is_number(days) and gap >= max(GAP_DAYS, GAP_SHARE * days):
        begun = moment(time.get("longest_gap_from"))
        told = {"days": number(gap, 1), "from": date(begun), "to": date(_after(begun, gap))}
        yield _("Nothing happened for %(days)s days, from %(from)s to %(to)s: was anything recorded?") % told
    twice, events = stored.get("duplicates"), counts.get("events")
    if is_number(twice) and is_number(events) and events > 0 and twice / events >= TWICE:
        yield _("%(share)s of the events equal another one in everything: was something sent twice?") % {
            "share": percent(twice / events, 1)
        }


def _after(begun: datetime | None, days: float) -> datetime | None:
    """Return the moment so many days later; None without a beginning, or beyond the calendar."""
    try:
        return begun + timedelta(days=days) if begun is not None else None
    except OverflowError:
        return None


def _about_the_new(new: Mapping[str, Any]) -> Iterator[str]:
    if is_number(new.get("shoppers")) and new["shoppers"] >= MOSTLY_NEW:
        yield _("%(share)s of the shoppers in the part judged on are new: most have no past to learn from.") % {
            "share": percent(new["shoppers"])
        }
    if is_number(new.get("items")) and new["items"] >= MOSTLY_NEW:
        yield _("%(share)s of the products in the part judged on are new: nobody had turned to them before.") % {
            "share": percent(new["items"])
        }


def _rate(rows: int, positives: int) -> str:
    return _("%(share)s of %(rows)s") % {"share": percent(positives / rows, 1), "rows": number(rows)}


def _read(value: Any) -> list[Rate]:
    """Return what can be read of [name, rows, rows with the outcome]."""
    return [
        (str(row[0]), int(row[1]), int(row[2]))
        for row in listed(value)
        if isinstance(row, list) and len(row) == 3 and is_number(row[1]) and is_number(row[2]) and row[1] > 0
    ]
