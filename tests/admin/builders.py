"""Rows for the admin's tests: one of everything, with JSON in the shapes that the rooms write."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from personalization.campaigns import codes
from personalization.learning.forecast_terms import digest
from personalization.models import (
    Campaign,
    CatalogItem,
    ConsentRecord,
    Coupon,
    Decision,
    Event,
    EventImport,
    Exposure,
    Forecast,
    Job,
    LedgerEntry,
    ModelVersion,
    MonitoringReport,
    Offer,
    QuarantinedEvent,
    Redemption,
    Reservation,
    ScoreSet,
    Shopper,
    ShopperAlias,
    ShopperScores,
    TuningRun,
    TuningTrial,
)

DAY = timedelta(days=1)
FIGURES = {
    "audience": [1200.0, 1200.0, 1200.0],
    "views": [640.0, 590.0, 700.0],
    "redemptions": [84.0, 61.0, 110.0],
    "orders": [130.0, 98.0, 165.0],
    "cost": [84000.0, 61000.0, 110000.0],
}


HEALTH: dict[str, Any] = {
    "drift": [{"of": "feature", "name": "age", "value": 0.41, "noise": 0.02, "level": "wrong"}],
    "calibration": [
        {
            "version_id": 1,
            "head": "redeem",
            "start": "2026-11-02",
            "rows": 400,
            "expected": 40.0,
            "happened": 61,
            "share": {"value": 0.1525, "low": 0.12, "high": 0.19},
            "ece": 0.0525,
            "null": 0.03,
            "level": "wrong",
        }
    ],
    "service": {"decisions": 900, "known": 800, "personal": 700, "share": 0.875, "scores_hours": 5.0},
}


def make_user(*permissions: str, username: str = "", staff: bool = True) -> Any:
    """Return a staff user with these permissions of the app."""
    user = get_user_model().objects.create_user(
        username=username or f"user-{uuid.uuid4().hex[:8]}", password="pw", is_staff=staff
    )
    wanted = Permission.objects.filter(content_type__app_label="personalization", codename__in=permissions)
    assert wanted.count() == len(set(permissions)), "a permission is missing"
    user.user_permissions.set(wanted)
    return user


def make_campaign(**fields: Any) -> Campaign:
    """Return a draft that starts tomorrow."""
    now = timezone.now()
    given = {
        "name": "Autumn",
        "goal": "Bring gold members back",
        "starts_at": now + DAY,
        "ends_at": now + 15 * DAY,
        "budget_minor": 1_000_00,
        **fields,
    }
    return Campaign.objects.create(**given)


def make_offer(campaign: Campaign, **fields: Any) -> Offer:
    """Return a coupon of ten per cent for the home page."""
    given = {"name": "Ten off", "kind": "coupon", "percent": 10, "slots": ["home_hero"], **fields}
    return Offer.objects.create(campaign=campaign, **given)


def make_shopper(**fields: Any) -> Shopper:
    """Return a shopper who agreed to everything."""
    given = {
        "attributes": {"tier": "gold", "city": "Berlin", "age": 34},
        "joined_at": timezone.now() - 200 * DAY,
        "consent_analytics": True,
        "consent_personalisation": True,
        "consent_marketing": True,
        **fields,
    }
    return Shopper.objects.create(**given)


def make_version(**fields: Any) -> ModelVersion:
    """Return a candidate with two metrics."""
    given = {
        "task": "response",
        "estimator": "multitask",
        "cutoff_at": timezone.now() - DAY,
        "path": "response/1",
        "sha256": "ab" * 32,
        "size_bytes": 2_400_000,
        "metrics": {"board": {"auc_redeem": [0.71, 0.69, 0.73], "log_loss": [0.31, 0.30, 0.32]}},
        "card": {"rows": 12000},
        **fields,
    }
    return ModelVersion.objects.create(**given)


def make_search(**fields: Any) -> TuningRun:
    """Return a search whose find is in force."""
    given = {
        "task": "response",
        "estimator": "boosting",
        "cutoff_at": timezone.now() - DAY,
        "held_from": timezone.now() - 9 * DAY,
        "terms": "cd" * 32,
        "metric": "log_loss",
        "split": "time",
        "folds": 2,
        "state": "judged",
        "start": {"num_leaves": 15, "learning_rate": 0.03},
        "settings": {"num_leaves": 31, "learning_rate": 0.03},
        "best": 1,
        "gain": 0.004,
        "low": 0.001,
        "high": 0.007,
        "level": 0.95,
        "judged_on": 1200,
        "looks": 1,
        "adopted_at": timezone.now(),
        **fields,
    }
    run = TuningRun.objects.create(**given)
    TuningTrial.objects.create(run=run, number=0, state="finished", settings=run.start, figures=[0.31, 0.32])
    TuningTrial.objects.create(run=run, number=1, state="finished", settings=run.settings, figures=[0.3, 0.31])
    TuningTrial.objects.create(run=run, number=2, state="failed", settings=run.settings, error="ValueError: <no>")
    return run


def make_forecast(campaign: Campaign, **fields: Any) -> Forecast:
    """Return a forecast with the usual figures, made for the campaign as it is."""
    given = {"figures": FIGURES, "assumptions": {"window_hours": 168, "draws": 2000}}
    return Forecast.objects.create(campaign=campaign, **given | {"made_for": digest(campaign.pk)} | fields)


def make_coupon(offer: Offer, shopper: Shopper | None, code: str = "") -> Coupon:
    """Return an issued coupon with this code."""
    code = code or codes.generate()
    return Coupon.objects.create(
        offer=offer,
        shopper=shopper,
        code_digest=codes.digest(code),
        code_ciphertext=codes.seal(code),
        expires_at=timezone.now() + DAY,
    )


def make_everything(number: int = 1) -> dict[str, Any]:
    """Make one row of every model that the admin shows, and return them by model name."""
    now = timezone.now()
    shopper = make_shopper()
    campaign = make_campaign(
        name=f"Campaign {number}", status="running", starts_at=now - DAY, spent_minor=250_00, reserved_minor=50_00
    )
    offer = make_offer(campaign, issued_count=3, redeemed_count=1)
    version = make_version(estimator=f"estimator-{number}")
    make_forecast(campaign, model_version=version, frozen_at=now)
    job = Job.objects.create(
        kind="train", state="running", progress=0.4, stage="epoch 2 of 5", started_at=now, result={"auc": 0.71}
    )
    score_set = ScoreSet.objects.create(
        population=f"shop-{number}", state="live", response_version=version, shoppers=1, published_at=now
    )
    ShopperScores.objects.create(
        score_set=score_set,
        shopper=shopper,
        offers={str(offer.pk): [0.6, 0.2, 0.05, 0.08]},
        kinds={"coupon": 0.5, "flash_sale": 0.3, "none": 0.2},
        items=["p-1", "p-2"],
        values={"basket_minor": 4200, "visit_rate": 0.13, "interest": {"shoes": 0.7, "bags": 0.2}},
    )
    decision = Decision.objects.create(
        shopper=shopper,
        slot="home_hero",
        policy="epsilon-greedy/1",
        eligible=[
            {
                "offer": offer.pk,
                "value_minor": 123.4,
                "heads": [0.6, 0.2, 0.05, 0.08],
                "reasons": ["predicted_for_shopper"],
            }
        ],
        excluded={"999999": "not_in_audience"},
        chosen=[{"offer": offer.pk, "position": 1, "propensity": 0.95}],
        features={"strategy": {"coupon": 0.5}, "score_set": score_set.pk},
        model_version=version,
    )
    exposure = Exposure.objects.create(
        decision=decision,
        shopper=shopper,
        campaign=campaign,
        offer=offer,
        propensity=0.95,
        exposed_at=now,
        window_ends_at=now + 7 * DAY,
        clicked_at=now,
        revenue_minor=4200,
    )
    event = Event.objects.create(
        source="test",
        event_id=f"e-{number}",
        type="offer_clicked",
        shopper=shopper,
        offer=offer,
        occurred_at=now,
        properties={"decision_id": str(decision.pk)},
    )
    coupon = make_coupon(offer, shopper)
    reservation = Reservation.objects.create(
        coupon=coupon,
        offer=offer,
        campaign=campaign,
        shopper=shopper,
        idempotency_key=f"k-{number}",
        amount_minor=500,
        per_line_minor=[300, 200],
        expires_at=now + DAY,
    )
    ShopperAlias.objects.create(shopper=shopper, kind="external", value=f"customer-{number}-secret")
    return {
        "campaign": campaign,
        "job": job,
        "modelversion": version,
        "monitoringreport": MonitoringReport.objects.create(
            kind="health",
            population="shop",
            model_version=version,
            job=job,
            figures=HEALTH,
            findings=[{"code": "drift", "level": "wrong", "figures": {"names": ["age"], "worst": 0.41}}],
        ),
        "scoreset": score_set,
        "tuningrun": make_search(estimator=f"estimator-{number}"),
        "shopper": shopper,
        "consentrecord": ConsentRecord.objects.create(
            shopper=shopper, purpose="analytics", granted=True, wording_version="1", source="banner"
        ),
        "event": event,
        "eventimport": EventImport.objects.create(digest=f"{number:064}", source="import", name="events.csv"),
        "quarantinedevent": QuarantinedEvent.objects.create(
            source="api", payload={"type": "teleported"}, reason="There is no such event.", shopper=shopper
        ),
        "decision": decision,
        "exposure": exposure,
        "coupon": coupon,
        "reservation": reservation,
        "redemption": Redemption.objects.create(
            reservation=reservation,
            coupon=coupon,
            offer=offer,
            campaign=campaign,
            shopper=shopper,
            order_label="shop.order",
            order_id=f"{number}",
            amount_minor=500,
        ),
        "ledgerentry": LedgerEntry.objects.create(
            operation_id=f"op-{number}",
            kind="reserve",
            campaign=campaign,
            reservation=reservation,
            reserved_delta=500,
            spent_delta=0,
        ),
        "catalogitem": CatalogItem.objects.create(
            item_id=f"p-{number}", label="shop.product", title="A shoe", price_minor=5900, currency="EUR"
        ),
    }
