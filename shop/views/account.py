"""Signing in and out, registering, and what an account holds: coupons and orders."""

from __future__ import annotations

from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from personalization import api
from shop.forms import LoginForm, RegistrationForm
from shop.models import CustomerProfile, Order

RECENT_ORDERS = 20

sign_in = LoginView.as_view(
    template_name="shop/login.html", authentication_form=LoginForm, redirect_authenticated_user=True
)
sign_out = LogoutView.as_view()


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: HttpRequest) -> HttpResponse:
    """Make an account and sign in to it."""
    if request.user.is_authenticated:
        return redirect("shop:account")
    form = RegistrationForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and (user := form.save()) is not None:
        login(request, user)
        return redirect("shop:account")
    return render(request, "shop/register.html", {"form": form})


@never_cache
@login_required
@require_safe
def account(request: HttpRequest) -> HttpResponse:
    """The account's coupons, orders and loyalty tier."""
    assert request.user.is_authenticated  # for the type checker: login_required has seen to it
    shopper = api.shopper_for(request)
    context = {
        "my_coupons": api.coupons_of(shopper) if shopper else [],
        "orders": Order.objects.filter(user=request.user).prefetch_related("lines")[:RECENT_ORDERS],
        "profile": CustomerProfile.objects.filter(user=request.user).first(),
    }
    return render(request, "shop/account.html", context)
