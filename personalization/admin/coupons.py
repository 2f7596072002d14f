"""Coupons and their money, to read. A code is shown nowhere here; finding a coupon by its code is a POST."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters

from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.csv import Column, CsvAdmin
from personalization.admin.display import badge, change_url, day, json_block, money
from personalization.admin.forms import FindCodeForm
from personalization.admin.masking import masked_order
from personalization.admin.personal import PersonalAdmin, is_shown
from personalization.campaigns import codes
from personalization.models import Coupon, LedgerEntry, Redemption, Reservation, Shopper
from personalization.pure.money import from_minor


@admin.register(Coupon)
class CouponAdmin(CsvAdmin, ReadOnlyAdmin):
    list_display = ("__str__", "state", "offer", "campaign", "shopper", "issued", "expires")
    list_select_related = ("offer__campaign", "shopper")
    list_filter = (("voided_at", admin.EmptyFieldListFilter), "issued_at")
    linked = ("offer__campaign",)
    ordering = ("-issued_at", "-pk")
    fields = (
        "id",
        "state",
        "offer",
        "campaign",
        "shopper",
        "claim_no",
        "uses",
        "issued_at",
        "expires_at",
        "voided_at",
        "decision",
    )
    change_list_template = "admin/personalization/coupon/change_list.html"
    csv_columns: ClassVar[list[Column]] = [
        ("id", lambda coupon: coupon.pk),
        ("campaign", lambda coupon: coupon.offer.campaign.name),
        ("offer", lambda coupon: coupon.offer.name),
        ("origin", lambda coupon: coupon.origin),
        ("used", lambda coupon: coupon.used_count),
        ("uses_at_most", lambda coupon: coupon.max_uses),
        ("issued_at", lambda coupon: coupon.issued_at),
        ("expires_at", lambda coupon: coupon.expires_at),
        ("voided_at", lambda coupon: coupon.voided_at),
    ]

    @admin.display(description=_("campaign"))
    def campaign(self, coupon: Coupon) -> Any:
        return coupon.offer.campaign

    @admin.display(description=_("state"))
    def state(self, coupon: Coupon) -> Any:
        if coupon.voided_at is not None:
            return badge(gettext("voided"), "expired")
        if coupon.used_count >= coupon.max_uses:
            return badge(gettext("used"), "redeemed")
        if coupon.expires_at is not None and coupon.expires_at <= timezone.now():
            return badge(gettext("expired"), "expired")
        if coupon.reserved_count:
            return badge(gettext("in a basket"), "held")
        return badge(gettext("open"), "live")

    @admin.display(description=_("issued"), ordering="issued_at")
    def issued(self, coupon: Coupon) -> str:
        return day(coupon.issued_at)

    @admin.display(description=_("expires"), ordering="expires_at")
    def expires(self, coupon: Coupon) -> str:
        return day(coupon.expires_at)

    @admin.display(description=_("uses"))
    def uses(self, coupon: Coupon) -> str:
        return gettext("%(used)d of %(most)d") % {"used": coupon.used_count, "most": coupon.max_uses}

    def get_urls(self) -> list[Any]:
        find = self.admin_site.admin_view(sensitive_post_parameters("code")(self.find_page))
        return [path("find/", find, name="personalization_coupon_find"), *super().get_urls()]

    def find_page(self, request: HttpRequest) -> HttpResponse:
        """Find a coupon by its code, which travels in the body and is not shown again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = FindCodeForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            found = Coupon.objects.filter(code_digest__in=codes.digests(form.cleaned_data["code"])).first()
            if found is not None:
                return HttpResponseRedirect(change_url(Coupon, found.pk))
            self.message_user(request, gettext("No coupon has this code."), messages.WARNING)
            form = FindCodeForm()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Find a coupon by its code"),
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/personalization/coupon/find.html", context)


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "state_badge",
        "amount",
        "campaign",
        "offer",
        "coupon",
        "shopper",
        "expires_at",
    )
    list_select_related = ("campaign", "offer", "coupon", "shopper")
    list_filter = ("state",)
    ordering = ("-created_at", "-pk")
    fields = (
        "id",
        "state_badge",
        "amount",
        "per_line_text",
        "campaign",
        "offer",
        "coupon",
        "shopper",
        "basket_reference",
        "created_at",
        "expires_at",
    )

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, reservation: Reservation) -> Any:
        return badge(reservation.get_state_display(), reservation.state)

    @admin.display(description=_("amount"), ordering="amount_minor")
    def amount(self, reservation: Reservation) -> str:
        return money(reservation.amount_minor, reservation.campaign.currency)

    @admin.display(description=_("per line"))
    def per_line_text(self, reservation: Reservation) -> Any:
        lines, currency = reservation.per_line_minor, reservation.campaign.currency
        if not isinstance(lines, list):
            return json_block(lines)
        return ", ".join(money(line, currency) for line in lines)


@admin.register(Redemption)
class RedemptionAdmin(CsvAdmin, PersonalAdmin[Redemption]):
    list_display = ("redeemed_at", "order", "amount", "refunded", "campaign", "offer", "coupon", "shopper")
    list_select_related = ("campaign", "offer", "coupon", "shopper")
    list_filter = ("redeemed_at",)
    linked = ("campaign",)
    search_fields = ("=order_id",)
    search_help_text = _("The order’s number, exactly.")
    fields = (
        "order_label",
        "order",
        "amount",
        "refunded",
        "campaign",
        "offer",
        "coupon",
        "shopper",
        "reservation",
        "redeemed_at",
    )
    change_list_template = "admin/personalization/export_list.html"
    csv_columns: ClassVar[list[Column]] = [
        ("id", lambda row: row.pk),
        ("redeemed_at", lambda row: row.redeemed_at),
        ("order_label", lambda row: row.order_label),
        ("order_id", lambda row: row.order_id),
        ("campaign", lambda row: row.campaign.name),
        ("offer", lambda row: row.offer.name),
        ("currency", lambda row: row.campaign.currency),
        ("amount", lambda row: _major(row.amount_minor, row)),
        ("refunded", lambda row: _major(row.refunded_minor, row)),
    ]
    csv_personal = frozenset({"order_id"})

    @admin.display(description=_("order"), ordering="order_id")
    def order(self, redemption: Redemption) -> str:
        return redemption.order_id if is_shown(redemption) else masked_order(redemption.order_id)

    def person(self, row: Redemption) -> Shopper | None:
        return row.shopper

    @admin.display(description=_("amount"), ordering="amount_minor")
    def amount(self, redemption: Redemption) -> str:
        return money(redemption.amount_minor, redemption.campaign.currency)

    @admin.display(description=_("refunded"), ordering="refunded_minor")
    def refunded(self, redemption: Redemption) -> str:
        return money(redemption.refunded_minor, redemption.campaign.currency)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(CsvAdmin, ReadOnlyAdmin):
    list_display = ("at", "kind", "campaign", "reserved", "spent", "reservation")
    list_select_related = ("campaign", "reservation")
    list_filter = ("kind", "at")
    linked = ("campaign",)
    fields = ("operation_id", "kind", "campaign", "reservation", "reserved", "spent", "at")
    change_list_template = "admin/personalization/export_list.html"
    csv_columns: ClassVar[list[Column]] = [
        ("operation_id", lambda row: row.operation_id),
        ("at", lambda row: row.at),
        ("kind", lambda row: row.kind),
        ("campaign", lambda row: row.campaign.name),
        ("currency", lambda row: row.campaign.currency),
        ("reserved", lambda row: _major(row.reserved_delta, row)),
        ("spent", lambda row: _major(row.spent_delta, row)),
    ]

    @admin.display(description=_("change of reserved"))
    def reserved(self, entry: LedgerEntry) -> str:
        return _signed(entry.reserved_delta, entry.campaign.currency)

    @admin.display(description=_("change of spent"))
    def spent(self, entry: LedgerEntry) -> str:
        return _signed(entry.spent_delta, entry.campaign.currency)


def _major(minor: int, row: Any) -> Decimal:
    return from_minor(minor, row.campaign.currency)


def _signed(minor: int, currency: str) -> str:
    text = money(abs(minor), currency)
    return text if not minor else f"{'+' if minor > 0 else '−'}{text}"
