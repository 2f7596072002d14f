"""The basket page, and what can be done to it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from personalization import api
from personalization.ports.messages import explain
from shop import coupons
from shop.basket import MAX_QUANTITY, BasketFull, SessionBasket
from shop.forms import CouponForm, QuantityForm
from shop.models import Product


@never_cache
@require_safe
def show(request: HttpRequest) -> HttpResponse:
    """The lines with their discount, the shopper's own coupons that can still be used, the field for a code."""
    quote = coupons.quote(request, SessionBasket(request))
    shopper = api.shopper_for(request)
    context = {
        "quote": quote,
        "my_coupons": [coupon for coupon in api.coupons_of(shopper) if coupon.usable] if shopper else [],
        "max_quantity": MAX_QUANTITY,
    }
    return render(request, "shop/basket.html", context)


@require_POST
def add(request: HttpRequest, slug: str) -> HttpResponse:
    """Put more of a product into the basket."""
    product = get_object_or_404(Product.objects.select_related("category"), slug=slug, visible=True)
    form = QuantityForm(request.POST)
    if not form.is_valid():
        messages.error(request, form.problem())
        return redirect(product)
    if form.cleaned_data["quantity"] == 0:
        messages.error(request, _("Please enter a quantity of at least 1."))
        return redirect(product)
    basket = SessionBasket(request)
    wanted = basket.quantity_of(product) + form.cleaned_data["quantity"]
    if _set(request, basket, product, wanted):
        messages.success(request, _("%(title)s is in your basket.") % {"title": product.title})
        return redirect("shop:basket")
    return redirect(product)


@require_POST
def change(request: HttpRequest, slug: str) -> HttpResponse:
    """Set a line's quantity; 0 takes the product out."""
    product = get_object_or_404(Product.objects.select_related("category"), slug=slug)
    form = QuantityForm(request.POST)
    if form.is_valid():
        _set(request, SessionBasket(request), product, form.cleaned_data["quantity"])
    else:
        messages.error(request, form.problem())
    return redirect("shop:basket")


def _set(request: HttpRequest, basket: SessionBasket, product: Product, quantity: int) -> bool:
    """Set the quantity if the shelf allows it; otherwise say why not."""
    if quantity > MAX_QUANTITY:
        limit = {"limit": MAX_QUANTITY}
        messages.error(request, _("You can order at most %(limit)s pieces of one product.") % limit)
        return False
    if quantity > product.stock:
        messages.error(request, _not_enough(product))
        return False
    try:
        basket.set(product, quantity)
    except BasketFull:
        messages.error(request, _("Your basket is full. Please order what is in it first."))
        return False
    return True


def _not_enough(product: Product) -> str:
    if product.stock <= 0:
        return _("%(title)s is sold out.") % {"title": product.title}
    return _("Only %(stock)s of %(title)s are left.") % {"stock": product.stock, "title": product.title}


@sensitive_post_parameters("code")
@require_POST
def apply_coupon(request: HttpRequest) -> HttpResponse:
    """Apply a code, or one of the shopper's own coupons."""
    form = CouponForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Please enter a code."))
        return redirect("shop:basket")
    coupon = form.cleaned_data["coupon"]
    try:
        preview = coupons.apply(request, code=form.cleaned_data["code"], coupon_id=str(coupon) if coupon else "")
    except (api.CouponRefused, api.BasketNotEligible, api.TooManyTries) as error:
        messages.error(request, explain(error))
    else:
        messages.success(request, _("Applied: %(offer)s.") % {"offer": preview.offer_name})
    return redirect("shop:basket")


@require_POST
def remove_coupon(request: HttpRequest) -> HttpResponse:
    """Take a coupon off the basket, or all."""
    coupons.remove(request, request.POST.get("coupon", ""))
    return redirect("shop:basket")
