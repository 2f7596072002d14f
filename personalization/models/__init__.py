"""Nouns: the tables, one file an aggregate. Verbs live in the rooms that own them."""

from personalization.models.audit import AuditEntry
from personalization.models.bots import SessionVerdict
from personalization.models.campaigns import Campaign, CampaignCreation, CampaignTransition, Forecast
from personalization.models.catalog import CatalogItem
from personalization.models.claims import EventClaim, claim_hex, claim_key
from personalization.models.coupons import CodeBatch, Coupon, LedgerEntry, Redemption, Reservation, UsageSlot
from personalization.models.decisions import Decision, Exposure
from personalization.models.events import (
    Channel,
    Event,
    EventImport,
    QuarantinedEvent,
    Rejection,
    RejectionCount,
)
from personalization.models.giftcards import GiftCard, GiftCardEntry, GiftCardHold, Grant
from personalization.models.governance import Alert, Allowance, CampaignRevision, Switch, SwitchChange
from personalization.models.learning import (
    ExposurePrediction,
    ItemNeighbours,
    Job,
    ModelVersion,
    ScoreSet,
    ScoreShard,
    ShopperScores,
)
from personalization.models.merges import FormerAlias, ShopperMerge
from personalization.models.monitoring import MonitoringReport
from personalization.models.offers import Offer
from personalization.models.prices import PricePoint
from personalization.models.risk import RateCount, RiskFact, RiskReview, RiskRule
from personalization.models.rollups import RolledShopper, RollupState, ShopperDay, ShopperDayCategory, StaleDays
from personalization.models.shoppers import ConsentRecord, ProfileVersion, Shopper, ShopperAlias
from personalization.models.support import SupportAction
from personalization.models.triggers import (
    AudienceMember,
    Occurrence,
    OutboxMessage,
    ShopperInterest,
    ShopperSummary,
    Suppression,
    Trigger,
)
from personalization.models.tuning import TuningRun, TuningTrial

__all__ = [
    "Alert",
    "Allowance",
    "AudienceMember",
    "AuditEntry",
    "Campaign",
    "CampaignCreation",
    "CampaignRevision",
    "CampaignTransition",
    "CatalogItem",
    "Channel",
    "CodeBatch",
    "ConsentRecord",
    "Coupon",
    "Decision",
    "Event",
    "EventClaim",
    "EventImport",
    "Exposure",
    "ExposurePrediction",
    "Forecast",
    "FormerAlias",
    "GiftCard",
    "GiftCardEntry",
    "GiftCardHold",
    "Grant",
    "ItemNeighbours",
    "Job",
    "LedgerEntry",
    "ModelVersion",
    "MonitoringReport",
    "Occurrence",
    "Offer",
    "OutboxMessage",
    "PricePoint",
    "ProfileVersion",
    "QuarantinedEvent",
    "RateCount",
    "Redemption",
    "Rejection",
    "RejectionCount",
    "Reservation",
    "RiskFact",
    "RiskReview",
    "RiskRule",
    "RolledShopper",
    "RollupState",
    "ScoreSet",
    "ScoreShard",
    "SessionVerdict",
    "Shopper",
    "ShopperAlias",
    "ShopperDay",
    "ShopperDayCategory",
    "ShopperInterest",
    "ShopperMerge",
    "ShopperScores",
    "ShopperSummary",
    "StaleDays",
    "SupportAction",
    "Suppression",
    "Switch",
    "SwitchChange",
    "Trigger",
    "TuningRun",
    "TuningTrial",
    "UsageSlot",
    "claim_hex",
    "claim_key",
]
