"""Addresses of the shop's own pages, in the namespace ``shop``."""

from django.urls import path

from shop.views import account, basket, catalog, checkout, privacy

app_name = "shop"
urlpatterns = [
    path("", catalog.home, name="home"),
    path("favicon.ico", catalog.favicon, name="favicon"),
    path("category/<slug:slug>/", catalog.category, name="category"),
    path("product/<slug:slug>/", catalog.product, name="product"),
    path("search/", catalog.search, name="search"),
    path("basket/", basket.show, name="basket"),
    path("basket/add/<slug:slug>/", basket.add, name="basket-add"),
    path("basket/change/<slug:slug>/", basket.change, name="basket-change"),
    path("basket/coupon/", basket.apply_coupon, name="coupon-apply"),
    path("basket/coupon/remove/", basket.remove_coupon, name="coupon-remove"),
    path("checkout/", checkout.page, name="checkout"),
    path("order/<slug:number>/", checkout.order, name="order"),
    path("order/<slug:number>/cancel/", checkout.cancel, name="order-cancel"),
    path("account/", account.account, name="account"),
    path("account/login/", account.sign_in, name="login"),
    path("account/logout/", account.sign_out, name="logout"),
    path("account/register/", account.register, name="register"),
    path("privacy/", privacy.page, name="privacy"),
    path("privacy/how-offers-are-chosen/", privacy.how_chosen, name="how-chosen"),
    path("privacy/consent/", privacy.consent, name="privacy-consent"),
    path("privacy/download/", privacy.download, name="privacy-download"),
    path("privacy/erase/", privacy.erase, name="privacy-erase"),
]
