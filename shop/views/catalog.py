"""Looking around: home, shelves, products, search."""

from __future__ import annotations

from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from personalization.ports.signals import category_viewed, product_viewed, search_performed
from shop.basket import MAX_QUANTITY, SessionBasket
from shop.forms import SearchForm
from shop.models import Category, Product

PAGE_SIZE = 24
SORTS = {
    "featured": (_("Featured"), ["-pk"]),
    "price": (_("Price, low to high"), ["price_minor", "pk"]),
    "-price": (_("Price, high to low"), ["-price_minor", "pk"]),
    "title": (_("Name"), ["title", "pk"]),
}


def on_sale() -> QuerySet[Product]:
    """Return the products that pages may show, with what a product card needs."""
    return Product.objects.filter(visible=True).select_related("category", "brand")


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Where browsers look when a page names no icon: an error page, the admin, the API's description."""
    return redirect(static("shop/icon.svg"))  # not for good: a release may give it another name


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The front door: hero slot, recommendations, shelves."""
    return render(request, "shop/home.html", {"fresh": on_sale().filter(stock__gt=0).order_by("-pk")[:8]})


@require_safe
def category(request: HttpRequest, slug: str) -> HttpResponse:
    """One shelf, sorted and paged."""
    shelf = get_object_or_404(Category, slug=slug)
    category_viewed.send(sender=Category, request=request, category=shelf.slug)
    sort, products = _sorted(request, on_sale().filter(category=shelf))
    context = {"category": shelf, "page": _page(request, products), "sort": sort, "sorts": _sort_labels()}
    return render(request, "shop/category.html", context)


@require_safe
def product(request: HttpRequest, slug: str) -> HttpResponse:
    """One product, with an offer slot and what others liked."""
    shown = get_object_or_404(on_sale(), slug=slug)
    product_viewed.send(sender=Product, request=request, item_id=str(shown.pk), category=shown.category.slug)
    context = {
        "product": shown,
        "in_basket": SessionBasket(request).quantity_of(shown),
        "max_quantity": min(MAX_QUANTITY, shown.stock),
    }
    return render(request, "shop/product.html", context)


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Products whose title, brand, shelf or description hold every word."""
    form = SearchForm(request.GET)
    query = form.cleaned_data["q"] if form.is_valid() else ""
    sort, products = _sorted(request, _matching(query))
    page = _page(request, products)
    if query and page.number == 1:
        search_performed.send(sender=SearchForm, request=request, query=query, results=page.paginator.count)
    context = {
        "query": query,
        "problem": "" if form.is_valid() else form.errors["q"][0],
        "page": page,
        "sort": sort,
        "sorts": _sort_labels(),
    }
    return render(request, "shop/search.html", context)


def _matching(query: str) -> QuerySet[Product]:
    if not query:
        return Product.objects.none()
    found = on_sale()
    for word in query.split()[:8]:
        found = found.filter(
            Q(title__icontains=word)
            | Q(description__icontains=word)
            | Q(category__name__icontains=word)
            | Q(brand__name__icontains=word)
        )
    return found


def _sorted(request: HttpRequest, products: QuerySet[Product]) -> tuple[str, QuerySet[Product]]:
    """Sort as asked; what is sold out comes last in the default order."""
    sort = request.GET.get("sort", "")
    if sort not in SORTS:
        sort = "featured"
    order = SORTS[sort][1]
    if sort == "featured":
        return sort, products.annotate(gone=Q(stock__lte=0)).order_by("gone", *order)
    return sort, products.order_by(*order)


def _sort_labels() -> list[tuple[str, object]]:
    return [(key, label) for key, (label, _order) in SORTS.items()]


def _page(request: HttpRequest, products: QuerySet[Product]) -> Page[Product]:
    return Paginator(products, PAGE_SIZE).get_page(request.GET.get("page"))
