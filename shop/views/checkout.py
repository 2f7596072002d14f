"""Checkout, confirmation, cancellation."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from shop import checkout, coupons
from shop.basket import SessionBasket
from shop.forms import CheckoutForm, ShownForm
from shop.models import Order
from shop.tax import by_rate


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """Ask for the address and place the order. A repeated form leads to the order that it already made."""
    if request.method != "POST":
        return _ask(request, CheckoutForm(initial=_known_address(request)))
    token = request.POST.get("token", "")
    form = CheckoutForm(request.POST)
    if not checkout.knows_token(request, token):
        messages.error(request, _("This form has expired. Please check your order once more."))
        return _ask(request, form)
    if order := checkout.order_of_token(token):
        checkout.remember(request, order)
        return redirect(order)
    if not form.is_valid():
        return _ask(request, form)
    return _place(request, form, token)


def _place(request: HttpRequest, form: CheckoutForm, token: str) -> HttpResponse:
    basket = SessionBasket(request)
    if not basket.lines:
        return redirect("shop:basket")
    try:
        order = checkout.place(request, basket, token=token, shown=_shown(request), details=form.cleaned_data)
    except checkout.SoldOut as error:
        words = {"title": error.product.title}
        messages.error(request, _("There is not enough of %(title)s left. Your order was not placed.") % words)
        return redirect("shop:basket")
    except checkout.TotalChanged:
        messages.warning(
            request, _("The total has changed since you last saw it. Please look at it and confirm again.")
        )
        return _ask(request, form)
    except checkout.DiscountUnderReview:
        coupons.remove(request)
        messages.warning(
            request,
            _("We have to check this discount first. You can order without it now, or try again with it later."),
        )
        return _ask(request, form)
    messages.success(request, _("Thank you. Your order has been placed."))
    return redirect(order)


def _shown(request: HttpRequest) -> checkout.Shown | None:
    form = ShownForm(request.POST)
    return checkout.Shown(**form.cleaned_data) if form.is_valid() else None


def _ask(request: HttpRequest, form: CheckoutForm) -> HttpResponse:
    """Show the form with a fresh token and the amounts that hold now."""
    quote = coupons.quote(request, SessionBasket(request))
    if not quote.orderable:
        return redirect("shop:basket")
    context = {"form": form, "quote": quote, "token": checkout.new_token(request)}
    return render(request, "shop/checkout.html", context)


def _known_address(request: HttpRequest) -> dict[str, str]:
    """Fill the form from the account's last order."""
    if not request.user.is_authenticated:
        return {}
    known = {"name": request.user.get_full_name(), "email": request.user.email}
    last = Order.objects.filter(user=request.user).exclude(address="").first()
    if last is not None:
        known |= {field: getattr(last, field) for field in CheckoutForm.base_fields}
    return known


def _own_order(request: HttpRequest, number: str) -> Order:
    order = get_object_or_404(Order.objects.prefetch_related("lines__product__category"), number=number)
    if not checkout.may_see(request, order):
        raise Http404
    return order


@never_cache
@require_safe
def order(request: HttpRequest, number: str) -> HttpResponse:
    """An order: its confirmation, and later its state."""
    own = _own_order(request, number)
    taxes = by_rate((line.tax_rate, line.tax_minor) for line in own.lines.all())
    return render(request, "shop/order.html", {"order": own, "taxes": taxes})


@require_POST
def cancel(request: HttpRequest, number: str) -> HttpResponse:
    """Cancel the order; asked twice, it happens once."""
    own = _own_order(request, number)
    if checkout.cancel(own, request):
        messages.success(request, _("Your order is cancelled."))
    else:
        messages.info(request, _("This order was cancelled before."))
    return redirect(own)
