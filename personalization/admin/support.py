"""The support desk: find a shopper, see what they hold, re-issue, give goodwill, show a code. What was done is listed.

What is looked for travels in the body of a POST: it may be a code. Every deed is a POST and leaves a line below.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from personalization import conf
from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import DASH, money
from personalization.admin.fields import MoneyField
from personalization.admin.masking import MASK, masked_order
from personalization.admin.personal import WhyForm, may_show, new_form, note_shown, why_not
from personalization.campaigns import support
from personalization.exceptions import ClaimRefused, PersonalizationError
from personalization.models import Campaign, Coupon, GiftCard, Redemption, Shopper, SupportAction
from personalization.ports.messages import explain
from personalization.tracking import identity

RECENT = 50
REFUSALS = {
    "shared": _("This code is for many. Only a coupon of one shopper can be re-issued."),
    "all_issued": _("All coupons of this offer are issued. A marketer can raise the limit."),
    "campaign_not_running": _("The campaign does not run any more."),
    "outside_campaign_dates": _("The campaign does not run at this moment."),
    "outside_window": _("The offer’s window is closed."),
    "used_up": _("The coupon is used up: nothing of it is left to be issued again. Goodwill may help."),
    "in_basket_or_void": _("The coupon is void, or an open basket holds it at this moment."),
    "liability": _("The campaign’s budget does not cover another coupon."),
    "other_gift": _("This form was sent before with other figures. Open the page again."),
}


class FindForm(forms.Form):
    """Whatever the shopper tells: it is looked up exactly and kept nowhere."""

    text = forms.CharField(
        label=_("Account, e-mail, order number or code"),
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


class ReasonForm(forms.Form):
    """Why something is done to a coupon or a card of the shopper."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    reason = forms.CharField(label=_("Reason"), max_length=300)


class GoodwillForm(forms.Form):
    """An amount in one of the shop's currencies. ``key`` makes a form that is sent twice give once."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    currency = forms.ChoiceField(label=_("Currency"))
    amount = MoneyField(label=_("Amount"))
    reason = forms.CharField(label=_("Reason"), max_length=300)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        used = Campaign.objects.order_by("currency").values_list("currency", flat=True).distinct()
        known = list(dict.fromkeys([conf.get().currency, *used]))
        self.fields["currency"].choices = [(code, code) for code in known]  # type: ignore[attr-defined]
        amount: Any = self.fields["amount"]
        chosen = self.data.get(self.add_prefix("currency")) if self.is_bound else ""
        amount.currency = chosen if chosen in known else known[0]
        amount.required = True


@admin.register(SupportAction)
class SupportActionAdmin(ReadOnlyAdmin):
    list_display = ("at", "kind", "by", "shopper", "coupon", "amount", "reason")
    list_select_related = ("by", "shopper", "coupon")
    list_filter = ("kind",)
    fields = ("at", "kind", "by", "shopper", "coupon", "card", "amount", "reason")
    change_list_template = "admin/personalization/supportaction/change_list.html"

    @admin.display(description=_("amount"))
    def amount(self, deed: SupportAction) -> str:
        return money(deed.amount_minor, deed.currency) if deed.currency else DASH

    def get_urls(self) -> list[Any]:
        name = "personalization_support_{}".format
        desk: list[tuple[str, str, Callable[..., HttpResponse]]] = [
            ("desk/", "desk", sensitive_post_parameters("text")(self.desk)),
            ("desk/<int:shopper_id>/", "shopper", self.shopper_page),
            ("desk/<int:shopper_id>/reissue/", "reissue", self.reissue),
            ("desk/<int:shopper_id>/goodwill/", "goodwill", self.goodwill),
            ("desk/<int:shopper_id>/reveal/", "reveal", self.reveal),
            ("desk/<int:shopper_id>/unmask/", "unmask", self.unmask),
        ]
        pages = [
            path(route, never_cache(self.admin_site.admin_view(view)), name=name(ending))
            for route, ending, view in desk
        ]
        return [*pages, *super().get_urls()]

    def _require(self, request: HttpRequest) -> None:
        if not self.may(request, "grant_coupon"):
            raise PermissionDenied

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(
            request, {**(extra_context or {}), "may_help": self.may(request, "grant_coupon")}
        )

    # --- Pages --------------------------------------------------------------------------------------------------------

    @sensitive_variables("found")
    def desk(self, request: HttpRequest) -> HttpResponse:
        """Find somebody; one shopper found opens their page."""
        self._require(request)
        form = FindForm(request.POST if request.method == "POST" else None)
        found = None
        if form.is_valid():
            found = support.find(form.cleaned_data["text"])
            if len(found.shoppers) == 1:
                return HttpResponseRedirect(_page(found.shoppers[0].pk))
            if not found:
                self.message_user(request, gettext("Nothing was found. Type it exactly."), messages.WARNING)
            form = FindForm()
        context = self._context(request, gettext("Support desk"), form=form, found=found)
        return TemplateResponse(request, "admin/personalization/supportaction/desk.html", context)

    def shopper_page(self, request: HttpRequest, shopper_id: int) -> HttpResponse:
        """Show what a shopper holds and what was done for them."""
        self._require(request)
        shopper = self._shopper(shopper_id)
        if shopper is None:
            return self.gone(request, str(shopper_id))
        return self._page(request, shopper)

    def _page(self, request: HttpRequest, shopper: Shopper, *, in_clear: bool = False, **more: Any) -> HttpResponse:
        people = identity.people_of(shopper.pk)
        coupons = Coupon.objects.select_related("offer__campaign").filter(shopper__in=people).order_by("-issued_at")
        redemptions = Redemption.objects.select_related("campaign", "offer").filter(shopper__in=people)
        allowance = support.allowance_of(request.user, conf.get().currency)
        left = allowance.limit_minor - allowance.granted_minor
        context = self._context(
            request,
            gettext("Support desk: %(shopper)s") % {"shopper": shopper},
            shopper=shopper,
            account=_account(shopper, in_clear=in_clear),
            is_shown=in_clear,
            why_form=new_form() if may_show(request) else None,
            coupons=[_coupon_row(coupon) for coupon in coupons[:RECENT]],
            cards=[_card_row(card) for card in GiftCard.objects.filter(shopper__in=people).order_by("-created_at")],
            redemptions=[
                (
                    row,
                    row.order_id if in_clear else masked_order(row.order_id),
                    money(row.amount_minor, row.campaign.currency),
                    money(row.refunded_minor, row.campaign.currency),
                )
                for row in redemptions.order_by("-redeemed_at")[:RECENT]
            ],
            deeds=SupportAction.objects.select_related("by").filter(shopper__in=people).order_by("-at")[:RECENT],
            reason_form=ReasonForm(initial={"key": uuid.uuid4()}, auto_id=False),
            **{"goodwill_form": GoodwillForm(initial={"key": uuid.uuid4()}), **more},
            left=money(left, allowance.currency),
        )
        return TemplateResponse(request, "admin/personalization/supportaction/shopper.html", context)

    def _context(self, request: HttpRequest, title: str, **more: Any) -> dict[str, Any]:
        each = self.admin_site.each_context(request)
        return {**each, "opts": self.opts, "title": title, "media": self.media, **more}

    def _shopper(self, shopper_id: int) -> Shopper | None:
        found = Shopper.objects.select_related("user", "merged_into__user").filter(pk=shopper_id).first()
        return (found.merged_into or found) if found is not None else None

    # --- Deeds --------------------------------------------------------------------------------------------------------

    def reissue(self, request: HttpRequest, shopper_id: int) -> HttpResponse:
        return self._deed(request, shopper_id, self._reissue)

    def goodwill(self, request: HttpRequest, shopper_id: int) -> HttpResponse:
        return self._deed(request, shopper_id, self._goodwill)

    def reveal(self, request: HttpRequest, shopper_id: int) -> HttpResponse:
        return self._deed(request, shopper_id, self._reveal)

    def _deed(self, request: HttpRequest, shopper_id: int, act: Callable[..., HttpResponse | None]) -> HttpResponse:
        """Do something for a shopper and return to their page; a refusal is said there."""
        self._require(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        shopper = self._shopper(shopper_id)
        if shopper is None:
            return self.gone(request, str(shopper_id))
        try:
            answer = act(request, shopper)
        except ClaimRefused as error:
            self.message_user(request, str(REFUSALS.get(error.reason, explain(error))), messages.WARNING)
            answer = None
        except PersonalizationError as error:
            self.message_user(request, explain(error), messages.WARNING)
            answer = None
        return answer or HttpResponseRedirect(_page(shopper.pk))

    def _reissue(self, request: HttpRequest, shopper: Shopper) -> HttpResponse | None:
        form, coupon = ReasonForm(request.POST), _own(Coupon, shopper, request.POST.get("coupon"))
        if coupon is None or not form.is_valid():
            self._ask_reason(request)
            return None
        support.reissue(coupon, by=request.user, reason=form.cleaned_data["reason"])
        self.message_user(request, gettext("The coupon is void; the new one is in the list."))
        return None

    def _goodwill(self, request: HttpRequest, shopper: Shopper) -> HttpResponse | None:
        form = GoodwillForm(request.POST)
        if not form.is_valid():
            return self._page(request, shopper, goodwill_form=form)
        given = form.cleaned_data
        support.give_goodwill(
            shopper,
            given["amount"],
            given["currency"],
            by=request.user,
            reason=given["reason"],
            idempotency_key=given["key"].hex,
        )
        text = gettext("%(amount)s given.") % {"amount": money(given["amount"], given["currency"])}
        self.message_user(request, text)
        return None

    @sensitive_variables("code")
    def _reveal(self, request: HttpRequest, shopper: Shopper) -> HttpResponse | None:
        """Show one code on the page that answers this POST, and nowhere else."""
        form = ReasonForm(request.POST)
        thing = _own(Coupon, shopper, request.POST.get("coupon")) or _own(GiftCard, shopper, request.POST.get("card"))
        if thing is None or not form.is_valid():
            self._ask_reason(request)
            return None
        code = support.reveal(thing, by=request.user, reason=form.cleaned_data["reason"])
        return self._page(request, shopper, revealed=code)

    def unmask(self, request: HttpRequest, shopper_id: int) -> HttpResponse:
        """Show the account's name and the orders' numbers on the page that answers this POST."""
        if not may_show(request):
            raise PermissionDenied
        return self._deed(request, shopper_id, self._unmask)

    def _unmask(self, request: HttpRequest, shopper: Shopper) -> HttpResponse | None:
        form = WhyForm(request.POST)
        if not form.is_valid():
            self.message_user(request, why_not(form), messages.WARNING)
            return None
        note_shown(request, shopper, shopper, form)
        return self._page(request, shopper, in_clear=True)

    def _ask_reason(self, request: HttpRequest) -> None:
        self.message_user(request, gettext("Give the reason: it is kept beside what you do."), messages.WARNING)


def _page(shopper_id: int) -> str:
    return reverse("admin:personalization_support_shopper", args=[shopper_id])


def _account(shopper: Shopper, *, in_clear: bool) -> str:
    """Return the account's name, hidden unless it was asked for; nothing for a shopper without an account."""
    if shopper.user is None:
        return ""
    return str(shopper.user.get_username()) if in_clear else MASK


def _own(model: type[Coupon] | type[GiftCard], shopper: Shopper, key: str | None) -> Any:
    """Return this shopper's coupon or card; nobody else's can be reached through their page."""
    try:
        pk = uuid.UUID(str(key))
    except ValueError:
        return None
    rows: Any = model._default_manager.filter(shopper__in=identity.people_of(shopper.pk), pk=pk)
    return (rows.select_related("offer__campaign") if model is Coupon else rows).first()


def _coupon_row(coupon: Coupon) -> dict[str, Any]:
    over = coupon.expires_at is not None and coupon.expires_at <= timezone.now()
    state = (
        gettext("voided") if coupon.voided_at is not None
        else gettext("used") if coupon.used_count >= coupon.max_uses
        else gettext("in a basket") if coupon.reserved_count
        else gettext("expired") if over
        else gettext("open")
    )  # fmt: skip
    return {
        "coupon": coupon,
        "code": support.masked(coupon.code_ciphertext),
        "state": state,
        "reissuable": coupon.voided_at is None and not coupon.reserved_count,
    }


def _card_row(card: GiftCard) -> dict[str, Any]:
    is_card = card.kind == GiftCard.Kind.CARD
    return {
        "card": card,
        "code": support.masked(card.code_ciphertext) if is_card else "",
        "balance": money(card.balance_minor - card.held_minor, card.currency),
    }
