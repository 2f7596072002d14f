"""The pages of Corner Books."""

import secrets
from decimal import Decimal

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from corner.adapters import Purchases, cents, order
from corner.models import Book, Purchase, PurchasedBook
from personalization import api
from personalization.ports.signals import basket_changed, order_placed, product_viewed
from personalization.types import Basket, BasketLine


def front_page(request):
    return render(request, "corner/front_page.html", {"books": Book.objects.order_by("title")})


def book_page(request, isbn):
    book = get_object_or_404(Book, pk=isbn)
    product_viewed.send(sender=Book, request=request, item_id=book.isbn, category=book.shelf)
    return render(request, "corner/book_page.html", {"book": book})


@require_POST
def add_to_bag(request):
    book = get_object_or_404(Book, pk=request.POST.get("isbn", ""))
    bag = request.session.setdefault("bag", {})
    bag[book.isbn] = bag.get(book.isbn, 0) + 1
    request.session.modified = True
    basket_changed.send(
        sender=Book,
        request=request,
        item_id=book.isbn,
        quantity=bag[book.isbn],
        basket_total_minor=basket_of(request).total_minor,
    )
    return redirect("bag")


def basket_of(request):
    """Return the bag as the personalisation app wants to see it."""
    bag = request.session.get("bag", {})
    books = Book.objects.filter(pk__in=bag).order_by("pk")
    lines = tuple(BasketLine(book.isbn, bag[book.isbn], cents(book.price), book.shelf) for book in books)
    return Basket(lines=lines, currency="EUR")


def bag(request):
    shopper = api.shopper_for(request)
    coupons = api.coupons_of(shopper) if shopper else []
    return render(request, "corner/bag.html", {"basket": basket_of(request), "coupons": coupons})


@require_POST
def buy(request):
    basket = basket_of(request)
    if not basket.lines:
        return HttpResponse("The bag is empty.", status=400)
    try:
        purchase = place(request, basket, request.POST.get("code", ""))
    except (api.CouponRefused, api.BasketNotEligible) as error:
        messages.error(request, error.message)
        return redirect("bag")
    del request.session["bag"]
    order_placed.send(sender=Purchase, request=request, order=order(purchase))
    return render(request, "corner/thanks.html", {"purchase": purchase})


def place(request, basket, code):
    with transaction.atomic():
        purchase = Purchase.objects.create(
            reference=secrets.token_hex(6),
            reader=request.user if request.user.is_authenticated else None,
            email=request.POST.get("email", ""),
            bought_at=timezone.now(),
        )
        for line in basket.lines:
            PurchasedBook.objects.create(
                purchase=purchase,
                book_id=line.item_id,
                copies=line.quantity,
                price=Decimal(line.unit_price_minor) / 100,
            )
        discount_minor = 0
        if code:
            hold = api.reserve(
                shopper=api.shopper_for(request, create=True),
                basket=basket,
                code=code,
                idempotency_key=f"purchase:{purchase.reference}",
            )
            discount_minor = api.redeem(hold.reservation_id, order_label=Purchases.label, order_id=purchase.reference)
        purchase.discount = Decimal(discount_minor) / 100
        purchase.paid = Decimal(basket.total_minor - discount_minor) / 100
        purchase.save()
    return purchase
