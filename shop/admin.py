"""The shop's own back office: plain Django admin. Campaigns have theirs in the personalisation app."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from shop import checkout
from shop.models import Brand, Category, CustomerProfile, Order, OrderLine, Product, SimulationInfo
from shop.money import money


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):
    list_display = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}


@admin.register(Brand)
class BrandAdmin(admin.ModelAdmin):
    search_fields = ["name"]


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["title", "category", "brand", "price", "stock", "visible"]
    list_filter = ["visible", "category"]
    list_select_related = ["category", "brand"]
    search_fields = ["title", "brand__name"]
    autocomplete_fields = ["brand"]
    prepopulated_fields = {"slug": ["title"]}

    @admin.display(description=_("price"), ordering="price_minor")
    def price(self, product: Product) -> str:
        return money(product.price_minor)


@admin.register(CustomerProfile)
class CustomerProfileAdmin(admin.ModelAdmin):
    list_display = ["user", "tier", "city", "joined_at"]
    list_filter = ["tier"]
    list_select_related = ["user"]
    search_fields = ["user__username", "user__email", "city"]
    autocomplete_fields = ["user"]


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    extra = 0
    can_delete = False
    fields = ["title", "quantity", "unit_price_minor", "discount_minor"]
    readonly_fields = ["title", "quantity", "unit_price_minor", "discount_minor"]

    def has_add_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders are made at the checkout and ended by cancelling: amounts and state cannot be typed over."""

    list_display = ["number", "placed_at", "name", "total", "discount", "status"]
    list_filter = ["status", "placed_at"]
    search_fields = ["number", "email", "name"]
    date_hierarchy = "placed_at"
    show_full_result_count = False
    inlines = [OrderLineInline]
    actions = ["cancel_orders"]
    readonly_fields = [
        "number",
        "user",
        "total_minor",
        "discount_minor",
        "currency",
        "status",
        "placed_at",
        "reservation_id",
    ]

    @admin.display(description=_("total"), ordering="total_minor")
    def total(self, order: Order) -> str:
        return money(order.total_minor, order.currency)

    @admin.display(description=_("discount"), ordering="discount_minor")
    def discount(self, order: Order) -> str:
        return money(order.discount_minor, order.currency)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False

    @admin.action(description=_("Cancel the selected orders"), permissions=["change"])
    def cancel_orders(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        """Cancel through the shop's own verb: stock and discounts go back."""
        count = sum(checkout.cancel(order) for order in orders)
        words = ngettext("%(count)d order is cancelled.", "%(count)d orders are cancelled.", count)
        messages.success(request, words % {"count": count})


@admin.register(SimulationInfo)
class SimulationInfoAdmin(admin.ModelAdmin):
    list_display = ["seed", "created_at"]
    readonly_fields = ["seed", "created_at", "description", "truth"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
