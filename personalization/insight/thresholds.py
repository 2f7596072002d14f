"""From where on something is told of. ``MONITORING`` in the settings overrides single ones."""

from __future__ import annotations

from personalization import conf

DEFAULTS: dict[str, float] = {
    "psi_hint": 0.1,
    "psi_alert": 0.25,
    "ece": 0.02,
    "coverage": 0.5,
    "champion_days": 30,
    "skew": 0.05,
    "group": 100,
    "gap": 0.05,
}
"""``psi_*``: population stability index · ``ece``: calibration error of a week · ``coverage``: least share of decisions
about known shoppers that used their scores · ``champion_days``: age of a champion's data · ``skew``: share of scores
that come out differently · ``group``: fewest shoppers that a group is judged by · ``gap``: difference between groups,
as a share."""


def get(name: str) -> float:
    """Return the threshold in force."""
    return float(conf.get().monitoring.get(name, DEFAULTS[name]))
