"""Gift cards, shop credit and later benefits, to read; a card can be blocked. A code is shown nowhere."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.csv import Column, CsvAdmin
from personalization.admin.display import DASH, badge, change_url, day, money
from personalization.admin.masking import masked_order
from personalization.models import GiftCard, GiftCardEntry, Grant
from personalization.pure.money import from_minor


class EntryInline(admin.TabularInline):
    """A card's movements, oldest first."""

    model = GiftCardEntry
    fields = ("at", "kind", "balance", "held", "order_label", "order")
    readonly_fields = fields
    ordering = ("pk",)
    extra = 0
    can_delete = False
    verbose_name_plural = _("movements")

    def get_queryset(self, request: HttpRequest) -> QuerySet[GiftCardEntry]:
        return super().get_queryset(request).select_related("card")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("personalization.view_giftcard"))

    @admin.display(description=_("order"))
    def order(self, entry: GiftCardEntry) -> str:
        return masked_order(entry.order_id)

    @admin.display(description=_("change of balance"))
    def balance(self, entry: GiftCardEntry) -> str:
        return _signed(entry.balance_delta, entry.card.currency)

    @admin.display(description=_("change of held"))
    def held(self, entry: GiftCardEntry) -> str:
        return _signed(entry.held_delta, entry.card.currency)


@admin.register(GiftCard)
class GiftCardAdmin(CsvAdmin, ReadOnlyAdmin):
    list_display = ("__str__", "kind", "state", "balance", "held", "shopper", "issued", "expires")
    list_select_related = ("shopper",)
    list_filter = ("kind", "currency", ("blocked_at", admin.EmptyFieldListFilter), "created_at")
    ordering: ClassVar[tuple[str, ...]] = ("-created_at", "-pk")
    inlines = (EntryInline,)
    fields = (
        "id",
        "kind",
        "state",
        "balance",
        "held",
        "shopper",
        "population",
        "created_by",
        "created_at",
        "expires_at",
        "blocked_at",
    )
    change_form_template = "admin/personalization/giftcard/change_form.html"
    change_list_template = "admin/personalization/export_list.html"
    csv_columns: ClassVar[list[Column]] = [
        ("id", lambda card: card.pk),
        ("kind", lambda card: card.kind),
        ("currency", lambda card: card.currency),
        ("balance", lambda card: from_minor(card.balance_minor, card.currency)),
        ("held", lambda card: from_minor(card.held_minor, card.currency)),
        ("issued_at", lambda card: card.created_at),
        ("expires_at", lambda card: card.expires_at),
        ("blocked_at", lambda card: card.blocked_at),
    ]

    @admin.display(description=_("state"))
    def state(self, card: GiftCard) -> Any:
        if card.blocked_at is not None:
            return badge(gettext("blocked"), "failed")
        if card.expires_at is not None and card.expires_at <= timezone.now():
            return badge(gettext("expired"), "expired")
        return badge(gettext("open"), "live") if card.balance_minor else badge(gettext("used up"), "ended")

    @admin.display(description=_("balance"), ordering="balance_minor")
    def balance(self, card: GiftCard) -> str:
        return money(card.balance_minor, card.currency)

    @admin.display(description=_("held"), ordering="held_minor")
    def held(self, card: GiftCard) -> str:
        return money(card.held_minor, card.currency)

    @admin.display(description=_("issued"), ordering="created_at")
    def issued(self, card: GiftCard) -> str:
        return day(card.created_at)

    @admin.display(description=_("expires"), ordering="expires_at")
    def expires(self, card: GiftCard) -> str:
        return day(card.expires_at)

    def get_urls(self) -> list[Any]:
        block = self.admin_site.admin_view(self.block_page)
        return [path("<path:object_id>/block/", block, name="personalization_giftcard_block"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        may_block = self.may(request, "change_giftcard")
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "may_block": may_block})

    def block_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Block a card, or open it again: nothing can be paid with a blocked one. Holds that exist stay."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_view_permission(request) or not self.may(request, "change_giftcard"):
            raise PermissionDenied
        card = self.get_object(request, object_id)
        if card is None:
            return self.gone(request, object_id)
        block = request.POST.get("to") == "blocked"
        rows = GiftCard.objects.filter(pk=card.pk, blocked_at__isnull=block)
        if rows.update(blocked_at=timezone.now() if block else None):
            text = gettext("The card is blocked.") if block else gettext("The card is open again.")
            self.log_change(request, card, text)
            self.message_user(request, text, messages.SUCCESS)
        else:
            self.message_user(request, gettext("Somebody else has done so already."), messages.WARNING)
        return HttpResponseRedirect(change_url(GiftCard, card.pk))


@admin.register(Grant)
class GrantAdmin(CsvAdmin, ReadOnlyAdmin):
    list_display = ("__str__", "kind", "amount_text", "state_badge", "due_at", "done_at", "problem")
    list_select_related = ("redemption__campaign",)
    list_filter = ("state", "kind")
    fields = ("redemption", "kind", "amount_text", "state_badge", "due_at", "done_at", "attempts", "problem")
    change_list_template = "admin/personalization/export_list.html"
    csv_columns: ClassVar[list[Column]] = [
        ("id", lambda grant: grant.pk),
        ("kind", lambda grant: grant.kind),
        ("amount", lambda grant: grant.amount),
        ("state", lambda grant: grant.state),
        ("due_at", lambda grant: grant.due_at),
        ("done_at", lambda grant: grant.done_at),
        ("order_id", lambda grant: grant.redemption.order_id),
        ("problem", lambda grant: grant.problem),
    ]
    csv_personal = frozenset({"order_id"})

    @admin.display(description=_("amount"), ordering="amount")
    def amount_text(self, grant: Grant) -> str:
        if grant.kind == Grant.Kind.POINTS:
            return gettext("%(count)d points") % {"count": grant.amount}
        return money(grant.amount, grant.redemption.campaign.currency)

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, grant: Grant) -> Any:
        tones = {"pending": "held", "granted": "redeemed", "cancelled": "cancelled"}
        return badge(grant.get_state_display(), tones.get(grant.state, ""))


def _signed(minor: int, currency: str) -> str:
    if not minor:
        return DASH
    return f"{'+' if minor > 0 else '−'}{money(abs(minor), currency)}"
