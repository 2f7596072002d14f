"""Launches: what was offered to whom, when it was known what came of it, and how it looked on the day it began.

A launch is one offer's going out. A campaign that is sent goes out in waves, which lie ``PAUSE`` or more apart; one on
the shop's pages goes out once, and its first ``LONGEST`` count. ``shown`` shoppers were shown it, ``responded`` of them
redeemed it within their windows. An announcement has nothing to redeem and is left out.

A launch is described by a matrix: ``STEPS`` equal parts of its planned duration, one row each, and a column for each
name in ``COLUMNS``. Nothing in it is later than the launch: orders and other launches count that came before it, and
the end is the one that was planned at that moment, whatever it was moved to afterwards. Another launch counts from the
moment when ``MIN_SHOWN`` shoppers had seen it, whether or not its outcomes are known. How earlier launches did is not
in it: an estimator learns that from the launches that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from numpy.typing import NDArray

from personalization.features.compute import DAY, HOUR, effective_benefit
from personalization.features.frames import NEVER, TYPE_CODE, Floats, Frames, Ints
from personalization.types import OfferKind

VERSION = 1
"""Of what a matrix's columns mean; a model of another version is not asked."""
STEPS = 14
LONGEST = 28 * DAY
PAUSE = 2 * DAY
MIN_SHOWN = 10
"""A launch that fewer have seen tells nothing, and is none."""
YEAR_DAYS = 365.25
KINDS = tuple(kind.value for kind in OfferKind if kind is not OfferKind.ANNOUNCEMENT)
CODE = {kind: code for code, kind in enumerate(KINDS)}


EARLIER_KIND, EARLIER_OFFER = "earlier_kind", "earlier_offer"
"""Topics without columns: what an estimator knows of launches that have been."""


@dataclass(frozen=True, slots=True)
class Topic:
    """Columns that are told together, under a name that people know."""

    code: str
    name: str | Promise
    columns: tuple[str, ...]


TOPICS: tuple[Topic, ...] = (
    Topic("kind", _("The kind of offer"), tuple(f"kind_{kind}" for kind in KINDS)),
    Topic("benefit", _("How much it gives"), ("depth", "reward")),
    Topic("threshold", _("What it asks for"), ("threshold",)),
    Topic("reach", _("For whom and for what it is"), ("members_only", "one_category", "targeted")),
    Topic("channel", _("How it is sent"), ("sent", "web", "mobile", "social")),
    Topic("duration", _("How long it lasts"), ("duration", "time_left")),
    Topic(
        "calendar", _("Days of the week and season"), ("weekday_sin", "weekday_cos", "season_sin", "season_cos")
    ),
    Topic("others", _("Other offers at the same time"), ("others",)),
    Topic(EARLIER_KIND, _("How earlier launches of its kind did"), ()),
    Topic(EARLIER_OFFER, _("How the same offer did before"), ()),
)  # fmt: skip
COLUMNS = tuple(name for topic in TOPICS for name in topic.columns)
AT = {name: place for place, name in enumerate(COLUMNS)}
NAMES = {topic.code: topic.name for topic in TOPICS}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is planned for one offer (its position in the frames); moments in milliseconds.

    ``ends`` are the ends that the campaign had: (from when on, end), in order; the first holds from the beginning.
    ``sent``: to the whole audience, not shown on pages. ``targeted``: not for everybody.
    """

    offer: int
    ends: tuple[tuple[int, int], ...]
    sent: bool
    targeted: bool

    def end_at(self, moment: int) -> int:
        """Return the end that was planned at a moment."""
        known = [end for since, end in self.ends if since <= moment]
        return known[-1] if known else self.ends[0][1]


@dataclass(slots=True)
class Launches:
    """A row a launch, in order of their starts; moments in milliseconds. ``x`` is [launches, STEPS, COLUMNS].

    ``offer`` is a position in the frames, ``kind`` one in ``KINDS``. ``end`` is the end planned at the start, ``known``
    when the last outcome was known. A launch that is only planned has ``shown`` and ``responded`` of 0.
    """

    offer: Ints
    kind: Ints
    start: Ints
    end: Ints
    known: Ints
    shown: Ints
    responded: Ints
    x: Floats

    def __len__(self) -> int:
        return len(self.offer)

    def take(self, rows: NDArray[np.bool_] | Ints) -> Launches:
        """Return the chosen rows."""
        return Launches(*(getattr(self, name)[rows] for name in self.__slots__))

    @property
    def rate(self) -> Floats:
        """The share that responded; nan where nobody was shown anything."""
        rate: Floats = np.where(self.shown > 0, self.responded / np.maximum(self.shown, 1), np.nan)
        return rate


def past(frames: Frames, plans: Sequence[Plan]) -> Launches:
    """Return every launch whose outcomes are all known at the frames' cut-off."""
    found = [_row(frames, plan, wave) for plan in plans if _counts(frames, plan) for wave in _waves(frames, plan)]
    found = sorted(row for row in found if row[3] <= frames.until and row[4] >= MIN_SHOWN)
    launches = _rows(frames, found)
    _describe(frames, plans, launches, plans)
    return launches


def planned(frames: Frames, plans: Sequence[Plan], offers: Iterable[int], start: int) -> Launches:
    """Return launches of these offers (positions) that would begin at a moment, with what was known by then.

    An offer on the pages is launched once: shown before that moment already, it is no other offer.
    """
    of = {plan.offer: plan for plan in plans}
    wanted = [of[offer] for offer in offers if offer in of and _counts(frames, of[offer])]
    launches = _rows(frames, [(start, plan.offer, _end(frames, plan, start), int(NEVER), 0, 0) for plan in wanted])
    _describe(frames, plans, launches, [plan for plan in plans if plan.sent or plan not in wanted])
    return launches


Row = tuple[int, int, int, int, int, int]
"""start, offer, end, known, shown, responded."""


def _counts(frames: Frames, plan: Plan) -> bool:
    return frames.offers.kinds[plan.offer] in CODE


def _waves(frames: Frames, plan: Plan) -> list[Ints]:
    """Return the exposures of each of an offer's launches, in order of time."""
    exposures = frames.exposures
    mine = np.flatnonzero(exposures.offer == plan.offer)
    mine = mine[np.argsort(exposures.time[mine], kind="stable")]
    if not len(mine):
        return []
    time = exposures.time[mine]
    if plan.sent:
        return np.split(mine, np.flatnonzero(np.diff(time) >= PAUSE) + 1)
    return [mine[time <= time[0] + LONGEST]]


def _row(frames: Frames, plan: Plan, rows: Ints) -> Row:
    """Return a launch with what came of it, by shopper: shown twice in one launch counts once."""
    exposures = frames.exposures
    start = int(exposures.time[rows[0]])
    if plan.sent:
        over = int(exposures.time[rows[-1]]) + PAUSE
    else:
        over = min(max(plan.end_at(start), start), start + LONGEST)
    redeemed = exposures.redeemed[rows] <= exposures.window_end[rows]
    return (
        start,
        plan.offer,
        _end(frames, plan, start),
        max(int(exposures.window_end[rows].max()), over),
        len(np.unique(exposures.shopper[rows])),
        len(np.unique(exposures.shopper[rows][redeemed])),
    )


def _end(frames: Frames, plan: Plan, start: int) -> int:
    """Return when a launch was to end: with its campaign, or as many hours after it began as the offer says."""
    hours = float(frames.offers.hours[plan.offer])
    end = plan.end_at(start)
    if hours < (end - start) / HOUR:  # false of nan, and of what would multiply to more than a float holds
        end = start + round(max(hours, 0.0) * HOUR)
    return max(end, start + HOUR)


def _rows(frames: Frames, rows: Sequence[Row]) -> Launches:
    """Return launches that are not described yet."""
    columns = np.array(rows, dtype=np.int64).reshape(len(rows), 6)
    start, offer, end, known, shown, responded = columns.T
    kind = np.array([CODE[frames.offers.kinds[place]] for place in offer], dtype=np.int64)
    return Launches(
        offer, kind, start, end, known, shown, responded, np.zeros((len(rows), STEPS, len(COLUMNS)))
    )  # fmt: skip


def _describe(frames: Frames, plans: Sequence[Plan], launches: Launches, others: Sequence[Plan]) -> None:
    """Fill in the launches' matrices; each counts what had begun before it of ``others``."""
    _fill_terms(frames, {plan.offer: plan for plan in plans}, launches)
    _fill_calendar(launches)
    _fill_others(launches, *_begun(frames, others))


def _fill_terms(frames: Frames, plans: Mapping[int, Plan], launches: Launches) -> None:
    """Fill in what the offer gives and asks, with money in usual baskets: the mean order before the launch."""
    offers, at, x = frames.offers, launches.offer, launches.x
    usual = _usual_basket(frames, launches.start)
    spend = np.maximum(usual, offers.threshold[at])
    benefit = effective_benefit(offers, usual, at)
    mine = [plans[place] for place in at]
    for name, values in (
        ("depth", benefit / spend),
        ("reward", np.log1p(benefit / usual)),
        ("threshold", np.log1p(offers.threshold[at] / usual)),
        ("members_only", offers.members_only[at]),
        ("one_category", (offers.category[at] >= 0).astype(np.float64)),
        ("targeted", np.array([float(plan.targeted) for plan in mine])),
        ("sent", np.array([float(plan.sent) for plan in mine])),
        *zip(("web", "mobile", "social"), offers.channels[at].T, strict=True),
    ):
        x[:, :, AT[name]] = values[:, None]
    x[np.arange(len(launches)), :, AT["kind_" + KINDS[0]] + launches.kind] = 1.0


def _usual_basket(frames: Frames, start: Ints) -> Floats:
    """Return the mean order before each moment, in major units; 1 where nobody had ordered."""
    events = frames.events
    ordered = (events.type == TYPE_CODE["order_placed"]) & (events.value > 0)
    order = np.argsort(events.time[ordered], kind="stable")
    total = np.concatenate(([0.0], np.cumsum(events.value[ordered][order])))
    before = np.searchsorted(events.time[ordered][order], start, side="left")
    usual: Floats = np.where(before > 0, total[before] / np.maximum(before, 1), 1.0)
    return usual


def _steps(launches: Launches) -> Floats:
    """Return the middle of each step, [launches, STEPS], in milliseconds."""
    share = (np.arange(STEPS) + 0.5) / STEPS
    start, length = launches.start.astype(np.float64), (launches.end - launches.start).astype(np.float64)
    steps: Floats = start[:, None] + share * length[:, None]
    return steps


def _fill_calendar(launches: Launches) -> None:
    x, steps = launches.x, _steps(launches)
    days = steps / DAY
    for name, cycle in (("weekday", 7.0), ("season", YEAR_DAYS)):
        angle = 2 * np.pi * (days % cycle) / cycle
        x[:, :, AT[f"{name}_sin"]], x[:, :, AT[f"{name}_cos"]] = np.sin(angle), np.cos(angle)
    x[:, :, AT["duration"]] = np.log1p((launches.end - launches.start) / DAY)[:, None]
    x[:, :, AT["time_left"]] = np.log1p((launches.end[:, None] - steps) / DAY)


def _begun(frames: Frames, plans: Sequence[Plan]) -> tuple[Ints, Ints]:
    """Return of every launch when ``MIN_SHOWN`` shoppers had seen it, and the end that was planned at its start.

    Both are known at that moment: what is asked of an earlier one answers alike, whenever it is asked.
    """
    exposures, found = frames.exposures, []
    for plan in plans:
        for wave in _waves(frames, plan) if _counts(frames, plan) else []:
            firsts = np.sort(np.unique(exposures.shopper[wave], return_index=True)[1])
            if len(firsts) >= MIN_SHOWN:
                begun = int(exposures.time[wave[firsts[MIN_SHOWN - 1]]])
                found.append((begun, _end(frames, plan, int(exposures.time[wave[0]]))))
    moments = np.array(found, dtype=np.int64).reshape(len(found), 2)
    return moments[:, 0], moments[:, 1]


def _fill_others(launches: Launches, begun: Ints, end: Ints) -> None:
    """Fill in how many launches that had begun before are still to run at each step, as log(1 + n)."""
    steps = _steps(launches)
    for row, start in enumerate(launches.start):
        ends = np.sort(end[begun < start])
        launches.x[row, :, AT["others"]] = np.log1p(len(ends) - np.searchsorted(ends, steps[row], side="right"))
