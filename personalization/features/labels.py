"""What each feature is called in front of people, and in which unit its raw value is read."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from personalization.features.specification import IMAGE_DIRECTIONS, TEXT_TOPICS

LABELS: dict[str, str | Promise] = {
    "offer_kind": _("kind of offer"),
    "offer": _("offer"),
    "amount": _("amount off"),
    "percent": _("per cent off"),
    "threshold": _("spend that unlocks it"),
    "depth": _("benefit per money spent"),
    "window_hours": _("hours in which it can be used"),
    "channel_web": _("sent through the web"),
    "channel_mobile": _("sent to the phone"),
    "channel_social": _("sent through social media"),
    "members_only": _("for loyalty levels only"),
    "age": _("age"),
    "income": _("income a year"),
    "gender": _("gender"),
    "city": _("town"),
    "tier": _("loyalty level"),
    "tenure_days": _("days as a customer"),
    "orders_28d": _("orders in 28 days"),
    "orders_7d": _("orders in 7 days"),
    "spend_28d": _("spent in 28 days"),
    "spend_7d": _("spent in 7 days"),
    "spend_mean": _("usual basket"),
    "spend_max": _("largest basket"),
    "spend_per_day": _("spent a day"),
    "orders_per_day": _("orders a day"),
    "order_gap_hours": _("hours since the last order"),
    "product_views_28d": _("products viewed in 28 days"),
    "product_views_7d": _("products viewed in 7 days"),
    "searches_28d": _("searches in 28 days"),
    "basket_changes_28d": _("changes to the basket in 28 days"),
    "event_gap_hours": _("hours since the last visit"),
    "category_share": _("share of interest in the offer’s category"),
    "received_28d": _("offers received in 28 days"),
    "received_7d": _("offers received in 7 days"),
    "view_rate": _("share of offers viewed"),
    "click_rate": _("share of offers clicked"),
    "redeem_rate": _("share of offers used"),
    "offer_gap_hours": _("hours since the last offer"),
    "open_offers": _("offers still open"),
    "same_received_28d": _("times this offer was received in 28 days"),
    "same_view_rate": _("share of times this offer was viewed"),
    "same_redeem_rate": _("share of times this offer was used"),
    "kind_redeem_rate": _("share of offers of this kind used"),
    "reach": _("spend expected in the time, per threshold"),
    "basket_to_threshold": _("usual basket per threshold"),
    "threshold_rate": _("share of baskets that reached the threshold"),
    "threshold_orders": _("baskets expected in the time that reach the threshold"),
    "benefit_to_basket": _("benefit per usual basket"),
    "hour": _("hour of the day"),
    "weekday": _("day of the week"),
    **{
        f"text_topic_{number}": format_lazy(_("interest in text topic {number}"), number=number)
        for number in range(1, TEXT_TOPICS + 1)
    },
    "text_match": _("offer’s category reads like what was looked at"),
    **{
        f"image_{number}": format_lazy(_("interest in looks, direction {number}"), number=number)
        for number in range(1, IMAGE_DIRECTIONS + 1)
    },
    "image_match": _("offer’s category looks like what was looked at"),
    "review_given": _("sentiment of their reviews"),
    "review_match": _("sentiment of their reviews of the offer’s category"),
    "review_category": _("sentiment of all reviews of the offer’s category"),
}


def label(column: str) -> str:
    """Return a feature's or a prepared column's name for people."""
    if column in LABELS:
        return str(LABELS[column])
    name = column.removesuffix("_missing")
    return str(_("%(feature)s unknown")) % {"feature": LABELS[name]} if name in LABELS else column.replace("_", " ")
