"""URLs of the app: include them under any prefix with ``include("personalization.urls")``."""

from django.urls import path

from personalization.rest import coupons, events, forms, offers

app_name = "personalization"
API = "api/v1/"

urlpatterns = [
    path("claim/", forms.claim, name="claim"),
    path("consent/", forms.consent, name="consent"),
    path(API + "events/", events.EventsView.as_view(), name="events"),
    path(API + "offers/", offers.OffersView.as_view(), name="offers"),
    path(API + "products/", offers.ProductsView.as_view(), name="products"),
    path(API + "coupons/claim/", coupons.ClaimView.as_view(), name="api-claim"),
    path(API + "coupons/preview/", coupons.PreviewView.as_view(), name="api-preview"),
    path(API + "coupons/reserve/", coupons.ReserveView.as_view(), name="api-reserve"),
    path(API + "coupons/release/", coupons.ReleaseView.as_view(), name="api-release"),
    path(API + "coupons/redeem/", coupons.RedeemView.as_view(), name="api-redeem"),
    path(API + "coupons/refund/", coupons.RefundView.as_view(), name="api-refund"),
]
