"""URLs of the app: include them under any prefix with ``include("personalization.urls")``."""

from django.urls import path

from personalization.rest import (
    campaigns,
    clicks,
    coupons,
    events,
    forms,
    giftcards,
    how_chosen,
    metrics,
    offers,
    quotes,
    unsubscribe,
)

app_name = "personalization"
API = "api/v1/"

urlpatterns = [
    path("claim/", forms.claim, name="claim"),
    path("less/", forms.dismiss, name="dismiss"),
    path("less/undo/", forms.take_back, name="take-back"),
    path("consent/", forms.consent, name="consent"),
    path("how-offers-are-chosen/", how_chosen.page, name="how-chosen"),
    path("m/<str:token>/", clicks.click, name="click"),
    path("metrics/", metrics.metrics, name="metrics"),
    path("unsubscribe/<str:token>/", unsubscribe.unsubscribe, name="unsubscribe"),
    path(API + "bounces/", unsubscribe.BouncesView.as_view(), name="bounces"),
    path(API + "events/", events.EventsView.as_view(), name="events"),
    path(API + "offers/", offers.OffersView.as_view(), name="offers"),
    path(API + "products/", offers.ProductsView.as_view(), name="products"),
    path(API + "coupons/claim/", coupons.ClaimView.as_view(), name="api-claim"),
    path(API + "coupons/preview/", coupons.PreviewView.as_view(), name="api-preview"),
    path(API + "coupons/reserve/", coupons.ReserveView.as_view(), name="api-reserve"),
    path(API + "coupons/release/", coupons.ReleaseView.as_view(), name="api-release"),
    path(API + "coupons/redeem/", coupons.RedeemView.as_view(), name="api-redeem"),
    path(API + "coupons/refund/", coupons.RefundView.as_view(), name="api-refund"),
    path(API + "quotes/", quotes.QuoteView.as_view(), name="api-quote"),
    path(API + "quotes/reserve/", quotes.ReserveQuoteView.as_view(), name="api-quote-reserve"),
    path(API + "baskets/release/", quotes.ReleaseBasketView.as_view(), name="api-basket-release"),
    path(API + "baskets/redeem/", quotes.RedeemBasketView.as_view(), name="api-basket-redeem"),
    path(API + "gift-cards/", giftcards.CardsView.as_view(), name="api-cards"),
    path(API + "gift-cards/hold/", giftcards.HoldCardView.as_view(), name="api-card-hold"),
    path(API + "gift-cards/release/", giftcards.ReleaseCardView.as_view(), name="api-card-release"),
    path(API + "gift-cards/spend/", giftcards.SpendCardView.as_view(), name="api-card-spend"),
    path(API + "gift-cards/refund/", giftcards.RefundCardView.as_view(), name="api-card-refund"),
    path(API + "campaigns/", campaigns.CampaignsView.as_view(), name="api-campaigns"),
    path(API + "campaigns/<int:pk>/", campaigns.CampaignView.as_view(), name="api-campaign"),
    path(API + "campaigns/<int:pk>/transition/", campaigns.TransitionView.as_view(), name="api-campaign-transition"),
    path(API + "campaigns/<int:pk>/approve/", campaigns.ApproveView.as_view(), name="api-campaign-approve"),
]
