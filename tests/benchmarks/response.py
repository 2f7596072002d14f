"""How well the shipped champion predicts redemptions, beside a plain LightGBM on 26 features, and a tuned one.

Value: the champion's log-loss on the Starbucks set's wave at 336 h, trained on the waves at 0 and 168 h (simulated by
its authors; outcomes count within min(duration, 138 h)). Peer: :func:`plain_features` and :func:`plain_fit` below,
straight from the parquet files; :func:`tuned_fit` chooses among ``GRID`` by the customers that plain_fit stops by. The
notes hold every estimator's figures with 95 % intervals over shoppers, the champion's paired gains over both peers
in log-loss and AUC on the same rows, and its calibration beside chance, pooled and by offer. ``BENCHMARK_ESTIMATORS``
names some of the estimators (by default all). ``BENCHMARK_WINDOW_HOURS`` counts outcomes within other hours than 138:
another wave of offers, which nobody could know of at 336 h, goes out 72 hours after the tested one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl

from personalization.features.compute import HOUR
from personalization.features.frames import Floats, milliseconds
from personalization.management.datasets.starbucks_offers import ORIGIN
from tests.benchmarks import report, stage, starbucks
from worker import evaluate, metrics, train

PEER = "plain LightGBM on 26 features"
TRAIN_WAVES, TEST_WAVE = (0, 168), 336
WINDOW_HOURS = 138
UNKNOWN_AGE = 118
DAY_ZERO = pl.date(2018, 7, 26)
QUICKLY = ("offer_mean", "logistic", "boosting")
KEYS = ["person", "offer_id", "time_h"]
FIGURES = ("auc", "log_loss", "ece")
CHANNELS = ("web", "mobile", "social")
RECEIVED, VIEWED, COMPLETED, BOUGHT = "offer received", "offer viewed", "offer completed", "transaction"
FIXED = {"objective": "binary", "num_threads": 1, "verbosity": -1, "seed": 0}
PLAIN = {"learning_rate": 0.05, "num_leaves": 15}
GRID = tuple(
    {"learning_rate": 0.05, "num_leaves": leaves, "min_data_in_leaf": least, "feature_fraction": share}
    for leaves in (7, 15, 31)
    for least in (20, 100)
    for share in (0.5, 1.0)
)
COUNTS = ("purchases", "spend", "largest", "viewed", "completed", "received", "same_completed")
FEATURES = (
    "kind", "difficulty", "reward", "duration", "web", "mobile", "social",
    "age", "income", "gender", "tenure",
    "purchases", "spend", "mean", "largest", "purchase_gap", "purchase_rate", "spend_per_day",
    "viewed", "completed", "received", "view_rate", "completion_rate", "reach", "receipt_gap", "same_completed",
)  # fmt: skip


def plain_features(folder: Path, limit: int | None, hours: int = WINDOW_HOURS) -> pl.DataFrame:
    """Return a row a received offer that can be completed: keys, label ``y`` within ``hours``, and the 26 features."""
    portfolio = pl.read_parquet(folder / "portfolio.parquet")
    profile = pl.read_parquet(folder / "profile.parquet")
    profile = profile.head(limit) if limit else profile
    log = pl.read_parquet(folder / "transcript.parquet").join(profile.select(person="id"), on="person", how="semi")
    offers = portfolio.select(
        pl.col("id").alias("offer_id"),
        (pl.col("offer_type") == "bogo").cast(pl.Int8).alias("kind"),
        "offer_type",
        "difficulty",
        "reward",
        "duration",
        *(pl.col("channels").list.contains(channel).cast(pl.Int8).alias(channel) for channel in CHANNELS),
    )
    receipts = (
        log.filter((pl.col("event") == RECEIVED) & pl.col("time_h").is_in([*TRAIN_WAVES, TEST_WAVE]))
        .select(*KEYS, "seq")
        .join(offers, on="offer_id")
        .filter(pl.col("offer_type") != "informational")
        .with_row_index("receipt")
        .with_columns(window_h=pl.min_horizontal(pl.col("duration") * 24, hours))
    )
    return _with_ratios(
        receipts.join(_labels(receipts, log), on="receipt", how="left")
        .join(_history(receipts, log), on="receipt", how="left")
        .join(_profile(profile), on="person")
        .with_columns(pl.col("y", *COUNTS).fill_null(0))
        .sort("receipt")
    )


def _labels(receipts: pl.DataFrame, log: pl.DataFrame) -> pl.DataFrame:
    """Whether the same offer was completed after its receipt and within the window."""
    done = log.filter(pl.col("event") == COMPLETED).select(
        "person", "offer_id", pl.col("time_h").alias("hour"), pl.col("seq").alias("seq_then")
    )
    after = (pl.col("hour") > pl.col("time_h")) | (
        (pl.col("hour") == pl.col("time_h")) & (pl.col("seq_then") > pl.col("seq"))
    )
    within = pl.col("hour") <= pl.col("time_h") + pl.col("window_h")
    return receipts.join(done, on=["person", "offer_id"]).filter(after & within).select("receipt", y=1).unique()


def _history(receipts: pl.DataFrame, log: pl.DataFrame) -> pl.DataFrame:
    """Sums over what happened in the hours before the receipt."""
    past = log.select("person", "event", "amount", pl.col("time_h").alias("hour"), pl.col("offer_id").alias("which"))
    events = receipts.select("receipt", *KEYS).join(past, on="person").filter(pl.col("hour") < pl.col("time_h"))
    bought = pl.col("event") == BOUGHT
    return events.group_by("receipt").agg(
        purchases=bought.sum(),
        spend=pl.col("amount").filter(bought).sum(),
        largest=pl.col("amount").filter(bought).max(),
        purchase_gap=(pl.col("time_h") - pl.col("hour")).filter(bought).min(),
        viewed=(pl.col("event") == VIEWED).sum(),
        completed=(pl.col("event") == COMPLETED).sum(),
        received=(pl.col("event") == RECEIVED).sum(),
        receipt_gap=(pl.col("time_h") - pl.col("hour")).filter(pl.col("event") == RECEIVED).min(),
        same_completed=((pl.col("event") == COMPLETED) & (pl.col("which") == pl.col("offer_id"))).sum(),
    )


def _profile(profile: pl.DataFrame) -> pl.DataFrame:
    joined = pl.col("became_member_on").cast(pl.String).str.to_date("%Y%m%d")
    return profile.select(
        pl.col("id").alias("person"),
        pl.when(pl.col("age") != UNKNOWN_AGE).then("age").alias("age"),
        "income",
        pl.col("gender").replace_strict({"F": 0, "M": 1, "O": 2}, default=None).alias("gender"),
        (DAY_ZERO - joined).dt.total_days().alias("joined_days"),
    )


def _with_ratios(rows: pl.DataFrame) -> pl.DataFrame:
    days = pl.max_horizontal(pl.col("time_h") / 24, 1.0)
    rows = rows.with_columns(
        tenure=pl.col("joined_days") + pl.col("time_h") / 24,
        mean=pl.col("spend") / pl.col("purchases"),
        purchase_rate=pl.col("purchases") / days,
        spend_per_day=pl.col("spend") / days,
        view_rate=pl.col("viewed") / pl.col("received"),
        completion_rate=pl.col("completed") / pl.col("received"),
    )
    return rows.with_columns(reach=pl.col("spend_per_day") * pl.col("window_h") / 24 / pl.col("difficulty"))


def plain_fit(rows: pl.DataFrame) -> pl.DataFrame:
    """Fit on the first waves, rounds chosen on a seventh of the customers; return the test rows with ``p``."""
    return _predicted(rows, _fit(rows, PLAIN))


def tuned_fit(rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Fit on all customers as suits that seventh best; return the test rows with ``p``, and the settings."""
    fits = [(params, _fit(rows, params)) for params in GRID]
    params, best = min(fits, key=lambda each: each[1].best_score["valid_0"]["binary_logloss"])
    rounds = best.best_iteration
    learn = rows.filter(pl.col("time_h").is_in(TRAIN_WAVES))
    data = lgb.Dataset(_matrix(learn), label=learn["y"].to_numpy())
    return _predicted(rows, lgb.train(FIXED | params, data, num_boost_round=rounds)), params | {"rounds": rounds}


def _fit(rows: pl.DataFrame, params: dict[str, Any]) -> lgb.Booster:
    learn = rows.filter(pl.col("time_h").is_in(TRAIN_WAVES))
    watched = learn["person"].rank("dense") % 7 == 0
    parts = (learn.filter(~watched), learn.filter(watched))
    sets = [lgb.Dataset(_matrix(part), label=part["y"].to_numpy()) for part in parts]
    stop = lgb.early_stopping(50, verbose=False)
    return lgb.train(FIXED | params, sets[0], num_boost_round=1000, valid_sets=[sets[1]], callbacks=[stop])


def _predicted(rows: pl.DataFrame, booster: lgb.Booster) -> pl.DataFrame:
    test = rows.filter(pl.col("time_h") == TEST_WAVE)
    return test.with_columns(p=pl.Series(np.asarray(booster.predict(_matrix(test)))))


def _matrix(rows: pl.DataFrame) -> Floats:
    return rows.select(pl.col(FEATURES).cast(pl.Float64)).fill_null(float("nan")).to_numpy()


def measure(quick: bool) -> report.Measurement:
    """Import, train, predict with every estimator; then fit the peer and compare on the same rows.

    A quick run has too few customers to tell the contenders apart: it has no target.
    """
    limit = starbucks.FEW if quick else None
    folder = starbucks.folder()
    hours = int(os.environ.get("BENCHMARK_WINDOW_HOURS", WINDOW_HOURS))
    population = starbucks.imported(limit, hours)
    params: dict[str, Any] = {"population": population}
    if named := os.environ.get("BENCHMARK_ESTIMATORS", "").split() or (quick and QUICKLY):
        params["estimators"] = list(named)
    train.run(None, params, lambda what, done: None)
    judged, frames = evaluate.judge_versions(population)
    summaries = [evaluate.summary(item, frames) for item in judged]
    champion = next(each for each in summaries if each["champion"])
    rows = plain_features(folder, limit, hours)
    tuned, settings = tuned_fit(rows)
    ours = pl.DataFrame(evaluate.predictions(judged, frames)).filter(pl.col("model") == champion["model"])
    notes = {
        "data": "Starbucks offers, SIMULATED by its authors" + (f"; {limit} customers only" if limit else ""),
        "champion": champion["model"],
        "window_hours": hours,
        "calibration": _calibration(ours),
        "models": {each["model"]: _intervals(each["metrics"]) for each in summaries},
        "plain_lightgbm": _beside(ours, plain_fit(rows)),
        "tuned_lightgbm": _beside(ours, tuned) | {"settings": settings, "tried": len(GRID)},
    }
    value, peer_value = champion["metrics"]["log_loss"]["value"], notes["plain_lightgbm"]["figures"]["log_loss"][0]
    return report.Measurement(
        "response", round(value, 5), "log-loss of redemption", PEER, peer_value, round(value / peer_value, 4),
        target=None if quick else 1.0, better="lower", notes=notes,
    )  # fmt: skip


def _calibration(ours: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Return of all rows and of each offer the ECE, and below what chance leaves it 19 times in 20."""
    parts = {"all": ours} | {str(offer[0]): part for offer, part in ours.group_by("offer", maintain_order=True)}
    found = {}
    for name, part in parts.items():
        p, y = (part[column].cast(pl.Float64).to_numpy() for column in ("probability", "label"))
        error, chance = metrics.ece(p, y, np.ones(len(y))), metrics.ece_null(p)
        means = {"predicted": p.mean(), "happened": y.mean()}
        found[name] = {key: round(float(value), 4) for key, value in ({"ece": error, "chance": chance} | means).items()}
    return found


def _intervals(found: dict[str, dict[str, float]]) -> dict[str, list[float]]:
    return {name: [round(found[name][key], 4) for key in ("value", "low", "high")] for name in FIGURES}


def _beside(ours: pl.DataFrame, peers: pl.DataFrame) -> dict[str, Any]:
    """Return a peer's figures, and the champion's paired gains over it on the rows that both predicted."""
    own = ours.select(
        pl.col("shopper").alias("person"),
        pl.col("offer").alias("offer_id"),
        ((pl.col("decision_time") - milliseconds(ORIGIN)) // HOUR).alias("time_h"),
        "label",
        "probability",
    )
    both = peers.join(own, on=KEYS)
    if both.is_empty():  # windows of three days and less have matured for the wave after it, which is judged then
        raise ValueError(
            f"The champion was not judged on the wave at {TEST_WAVE} h: choose a window of more than 72 h."
        )
    resampler = metrics.Resampler(both["person"].rank("dense").cast(pl.Int64).to_numpy())
    y, p, q = (both[name].cast(pl.Float64).to_numpy() for name in ("y", "p", "probability"))
    figures = {name: metrics.interval(metrics.METRICS[name], p, y, resampler) for name in FIGURES}
    return {
        "figures": {name: [round(each, 5) for each in found] for name, found in figures.items()},
        "champion_gains": {
            "log_loss": [round(each, 5) for each in metrics.paired_gain(q, p, y, resampler)],
            "auc": [round(each, 5) for each in auc_gain(q, p, y, resampler)],
        },
        "rows": {"champion": len(own), "peer": len(peers), "both": len(both)},
        "labels_that_differ": int((both["y"] != both["label"]).sum()),
    }


def auc_gain(p: Floats, other: Floats, y: Floats, resampler: metrics.Resampler) -> tuple[float, float, float]:
    """Return by how much the AUC of ``p`` is above that of ``other``, with its 95 % interval over paired resamples."""
    ones = np.ones(len(y))
    draws = np.array([metrics.auc(p, y, w) - metrics.auc(other, y, w) for w in resampler])
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return metrics.auc(p, y, ones) - metrics.auc(other, y, ones), float(low), float(high)


if __name__ == "__main__":
    sys.exit(stage.main("response", measure, server=False))
