"""Nouns: the tables, one file an aggregate. Verbs live in the rooms that own them."""

from personalization.models.campaigns import Campaign, CampaignTransition, Forecast, Offer
from personalization.models.catalog import CatalogItem
from personalization.models.coupons import Coupon, LedgerEntry, Redemption, Reservation
from personalization.models.decisions import Decision, Exposure
from personalization.models.events import Event, EventTombstone, QuarantinedEvent
from personalization.models.learning import ItemNeighbours, Job, ModelVersion, ScoreSet, ShopperScores
from personalization.models.shoppers import ConsentRecord, Shopper, ShopperAlias

__all__ = [
    "Campaign",
    "CampaignTransition",
    "CatalogItem",
    "ConsentRecord",
    "Coupon",
    "Decision",
    "Event",
    "EventTombstone",
    "Exposure",
    "Forecast",
    "ItemNeighbours",
    "Job",
    "LedgerEntry",
    "ModelVersion",
    "Offer",
    "QuarantinedEvent",
    "Redemption",
    "Reservation",
    "ScoreSet",
    "Shopper",
    "ShopperAlias",
    "ShopperScores",
]
