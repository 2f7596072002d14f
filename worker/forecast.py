"""Forecast a campaign before launch: calibrated predictions summed over its audience, with honest intervals.

Two sources of error enter a 90 % interval: chance (each shopper's outcome is a coin with the predicted probability)
and the model's own bias, read off the backtest as the relative error of its total. A campaign on the shop's pages
reaches who visits while it runs:
P(at least one visit in D days) = 1 − exp(−visits a day · D).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.utils import timezone

from personalization.exceptions import NotEnoughData
from personalization.features.compute import Rows, effective_benefit
from personalization.features.frames import NEVER, TYPE_CODE, Floats, Ints, milliseconds
from personalization.features.specification import INDEX
from personalization.learning import frames as reading
from personalization.learning import publish, registry
from personalization.learning import wordings as words
from personalization.learning.frames import CampaignBrief
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.publish import Forecast
from personalization.types import HEADS, ModelTask
from worker.attractiveness import ask
from worker.score import BLOCK, Scorer, _values

DRAWS = 2000
MIN_PRICED = 50
METRICS = ("audience", "views", "redemptions", "orders", "cost")
VIEW, REDEEM, PURCHASE = HEADS.index("view"), HEADS.index("redeem"), HEADS.index("purchase")


def run(job: Job | None, params: dict[str, Any], stage: Stage, *, until: datetime | None = None) -> Forecast:
    """Compute and store the forecast of ``params["campaign"]``."""
    now = until or timezone.now()
    campaign = reading.campaign_brief(int(params.get("campaign") or 0), now)
    if campaign is None:
        raise NotEnoughData(words.CAMPAIGN_GONE)
    require_open(campaign)
    require_model(campaign.population)
    stage(words.READING, 0.05)
    frames = reading.load(campaign.population, now, lambda what: stage(what, 0.1))
    scorer = Scorer(frames, milliseconds(now), list(campaign.tiers))
    position = {int(pk): index for index, pk in enumerate(frames.shoppers.ids)}
    addressed = [position[pk] for pk in campaign.audience if pk in position]
    if not addressed:
        raise NotEnoughData(words.NO_AUDIENCE)
    stage(words.PREDICTING, 0.3)
    attractiveness = ask.attractiveness(frames, campaign, len(addressed), now)
    figures: dict[str, list[float]] = {}
    assumptions: dict[str, Any] = {
        "delivery": "sent" if campaign.sent else "on_page",
        "audience_at": now.isoformat(),
        "outcome_window_hours": campaign.attribution_hours,
        "budget_minor": campaign.budget_minor,
        **({"data": words.SIMULATED} if frames.simulated else {}),
    }
    if scorer.response is not None:
        figures, more = _figures(scorer, np.array(addressed, dtype=np.int64), campaign, stage)
        assumptions |= more
    elif "offers" not in attractiveness:
        raise NotEnoughData(_no_model(campaign.population))
    return publish.store_forecast(
        campaign.id,
        job,
        version=scorer.versions.get(ModelTask.RESPONSE),
        figures=figures,
        assumptions=assumptions,
        attractiveness=attractiveness,
        made_for=campaign.digest,
    )


def require_model(population: str) -> None:
    """Raise NotEnoughData where no model reigns that could say anything of a campaign."""
    reigning = registry.champions(population)
    if ModelTask.RESPONSE not in reigning and ModelTask.ATTRACTIVENESS not in reigning:
        raise NotEnoughData(_no_model(population))


def _no_model(population: str) -> str:
    """Return why no response model reigns: none was trained, or none has passed the gate."""
    trained = ModelTask.RESPONSE in registry.trained_tasks(population)
    return words.RESPONSE_REFUSED if trained else words.NO_RESPONSE_MODEL


def require_open(campaign: CampaignBrief) -> None:
    """Raise NotEnoughData for a campaign that is over or offers nothing: known without reading anything else."""
    if campaign.over:
        raise NotEnoughData(words.CAMPAIGN_OVER)
    if not campaign.tiers:
        raise NotEnoughData(words.NO_OFFER)


def _figures(
    scorer: Scorer, shoppers: Ints, campaign: CampaignBrief, stage: Stage
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return metric → [mean, low, high], and what was assumed for it."""
    price = cost_model(scorer)
    sums = _sums(scorer, shoppers, campaign, price, stage)
    figures, bias = _with_intervals(sums, scorer, price, campaign.budget_minor)
    return figures, {
        "offers_chosen": words.ANY_OFFER if len(campaign.tiers) > 1 else words.ONE_OFFER,
        "cost_factor": [round(price.factor, 4), round(price.deviation, 4)],
        "model_bias_deviation": {name: round(float(value), 4) for name, value in bias.items()},
        "interval": "90 %",
    }


@dataclass(frozen=True, slots=True)
class CostModel:
    """What a redemption costs: the terms applied to the shopper's usual basket, times ``factor``.

    Baskets with a coupon in them differ from the usual ones; the factor is what past redemptions did cost over what
    the terms predicted for them, and ``deviation`` its relative standard error together with its spread over offers.
    """

    usual_basket: float
    factor: float
    deviation: float


def cost_model(scorer: Scorer) -> CostModel:
    """Read the cost of redemptions off the past; with fewer than fifty of them the terms stand, 25 % either way."""
    frames, events = scorer.frames, scorer.frames.events
    orders = events.value[events.type == TYPE_CODE["order_placed"]]
    usual = float(orders.mean()) if len(orders) else 0.0
    exposures = frames.exposures
    past = exposures.take((exposures.offer >= 0) & (exposures.redeemed != NEVER) & (exposures.cost > 0))
    if len(past) < MIN_PRICED:
        return CostModel(usual, 1.0, 0.25)
    basket = scorer.builder.build(Rows(past.shopper, past.offer, past.time, past.window_end))[:, INDEX["spend_mean"]]
    told = effective_benefit(frames.offers, np.where(np.isnan(basket), usual, basket), past.offer)
    if told.sum() <= 0:
        return CostModel(usual, 1.0, 0.25)
    factor = float(past.cost.sum() / told.sum())
    own = [
        past.cost[past.offer == offer].sum() / max(told[past.offer == offer].sum(), 1e-9)
        for offer in np.unique(past.offer)
        if (past.offer == offer).sum() >= 20
    ]
    spread = float(np.std(own) / factor / np.sqrt(len(own))) if len(own) > 1 else 0.15
    noise = float(np.std(past.cost - factor * told) / (past.cost.mean() * np.sqrt(len(past))))
    return CostModel(usual, factor, float(np.hypot(max(spread, 0.05), noise)))


def _sums(
    scorer: Scorer, shoppers: Ints, campaign: CampaignBrief, price: CostModel, stage: Stage
) -> dict[str, tuple[float, float]]:
    """Return metric → (mean, variance of chance) over the audience; cost in minor units."""
    allowed = _eligibility(scorer, shoppers, campaign)
    total: dict[str, list[float]] = {
        name: [0.0, 0.0] for name in ("audience", "views", "redemptions", "orders", "cost")
    }
    for start in range(0, len(shoppers), BLOCK):
        block = shoppers[start : start + BLOCK]
        share = allowed[start : start + BLOCK]
        share = share / np.maximum(share.sum(axis=1, keepdims=True), 1)
        effects, basket = scorer.effects(block)
        basket = np.where(np.isnan(basket), price.usual_basket, basket)
        reach = _reach(scorer, block, basket, campaign)
        addressed = reach * (share.sum(axis=1) > 0)
        benefit = np.stack(
            [
                price.factor * effective_benefit(scorer.frames.offers, basket, np.full(len(block), offer))
                for offer in scorer.offers
            ],
            axis=1,
        )
        for name, p in (
            ("audience", addressed),
            ("views", addressed * (share * effects[:, :, VIEW]).sum(axis=1)),
            ("redemptions", addressed * (share * effects[:, :, REDEEM]).sum(axis=1)),
            ("orders", addressed * (share * effects[:, :, PURCHASE]).sum(axis=1)),
        ):
            total[name][0] += float(p.sum())
            total[name][1] += float((p * (1 - p)).sum())
        paid = addressed[:, None] * share * effects[:, :, REDEEM]
        total["cost"][0] += float((paid * benefit).sum())
        total["cost"][1] += float((paid * benefit**2).sum() - ((paid * benefit).sum(axis=1) ** 2).sum())
        stage(words.PREDICTING, 0.3 + 0.6 * (start + len(block)) / len(shoppers))
    scale = 10.0**scorer.frames.digits
    total["cost"] = [total["cost"][0] * scale, total["cost"][1] * scale**2]
    return {name: (mean, variance) for name, (mean, variance) in total.items()}


def _eligibility(scorer: Scorer, shoppers: Ints, campaign: CampaignBrief) -> Floats:
    """Return [shoppers, offers] 1 where the shopper's loyalty tier may have the offer."""
    tiers = campaign.tiers
    ids = scorer.frames.offers.ids[scorer.offers]
    attributes = scorer.frames.shoppers.attributes
    return np.array(
        [
            [not tiers[int(pk)] or attributes[shopper].get("tier") in tiers[int(pk)] for pk in ids]
            for shopper in shoppers
        ],
        dtype=np.float64,
    )


def _reach(scorer: Scorer, block: Ints, basket: Floats, campaign: CampaignBrief) -> Floats:
    if campaign.sent:
        return np.ones(len(block))
    rate = np.array([values["visit_rate"] for values in _values(scorer, block, basket)])
    reach: Floats = 1 - np.exp(-rate * campaign.days)
    return reach


def _with_intervals(
    sums: dict[str, tuple[float, float]], scorer: Scorer, price: CostModel, budget_minor: int | None
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return metric → [mean, low, high] (5 % and 95 %), and the relative deviation of the model's bias.

    A budget ends the redemptions where it is used up: each draw's cost is cut there and its redemptions in proportion.
    """
    assert scorer.response is not None
    bias = backtest_bias(scorer.response.backtest)
    spread = {"audience": 0.0, "views": bias["view"], "redemptions": bias["redeem"], "orders": bias["purchase"]}
    spread["cost"] = float(np.hypot(bias["redeem"], price.deviation))
    rng = np.random.default_rng(0)
    draws: dict[str, Floats] = {}
    means = {name: mean for name, (mean, _variance) in sums.items()}
    common = rng.standard_normal(DRAWS)  # redemptions and their cost err together
    for name, (mean, variance) in sums.items():
        error = common if name in {"redemptions", "cost"} else rng.standard_normal(DRAWS)
        chance = np.sqrt(variance) * rng.standard_normal(DRAWS)
        draws[name] = np.maximum(mean * (1 + spread[name] * error) + chance, 0)
    if budget_minor is not None:
        left = np.minimum(1.0, budget_minor / np.maximum(draws["cost"], 1e-9))
        draws["cost"], draws["redemptions"] = draws["cost"] * left, draws["redemptions"] * left
        share = min(1.0, budget_minor / max(means["cost"], 1e-9))
        means["cost"], means["redemptions"] = means["cost"] * share, means["redemptions"] * share
    figures: dict[str, list[float]] = {}
    for name, mean in means.items():
        low, high = np.quantile(draws[name], [0.05, 0.95])
        figures[name] = [round(mean, 2), round(float(low), 2), round(float(high), 2)]
    return figures, spread


def backtest_bias(backtest: dict[str, Any]) -> dict[str, float]:
    """Return per head the deviation of actual / predicted totals in the backtest; 25 % where there is none.

    The deviation joins the relative error of the test block's total with the chance that a block of its size shows
    anyway; it is at least 2 %.
    """
    found: dict[str, float] = {}
    for head, name in enumerate(HEADS):
        label, p = backtest.get("label"), backtest.get("probability")
        known = ~np.isnan(label[:, head]) if label is not None else np.zeros(0, dtype=bool)
        if label is None or p is None or known.sum() < 400:
            found[name] = 0.25
            continue
        y, q = label[known, head].astype(np.float64), p[known, head].astype(np.float64)
        overall = abs(y.sum() / max(q.sum(), 1e-9) - 1)
        chance = np.sqrt((q * (1 - q)).sum()) / max(q.sum(), 1e-9)
        found[name] = float(max(np.hypot(overall, chance), 0.02))
    return found
