"""Redemptions that wait for somebody's decision, and the rules that stopped them with what decisions say of each."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from personalization.admin.base import PersonalizationAdmin, ReadOnlyAdmin
from personalization.admin.display import DASH, badge, change_url, money, percent
from personalization.campaigns import risk
from personalization.models import Reservation, RiskReview, RiskRule

TONES = {"pending": "held", "approved": "redeemed", "rejected": "failed", "lapsed": "expired"}
MEANINGS = {
    RiskRule.Kind.VELOCITY: _("How many baskets the shopper used a coupon for within a day, this one included."),
    RiskRule.Kind.DEVICE: _("How many other shoppers used the same device within 90 days."),
    RiskRule.Kind.ADDRESS: _("How many other shoppers used the same postal address within 90 days."),
    RiskRule.Kind.PAYMENT: _("How many other shoppers used the same means of payment within 90 days."),
    RiskRule.Kind.NETWORK: _("How many other shoppers used the same network address within a day."),
    RiskRule.Kind.SELF_REFERRAL: _("1 when the shopper, or somebody with their device, address or payment, referred."),
    RiskRule.Kind.YOUNG_ACCOUNT: _("Hours since the account was made. Counts up to this figure, not from it."),
}


class DecisionForm(forms.Form):
    """A decision on one redemption, and why."""

    verdict = forms.ChoiceField(choices=[("approve", ""), ("reject", "")])
    note = forms.CharField(label=_("Note"), max_length=300, required=False)


@admin.register(RiskReview)
class RiskReviewAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "state_badge", "score", "signs", "amount", "campaign", "shopper", "decided_by")
    list_select_related = ("reservation__campaign", "reservation__shopper", "decided_by")
    list_filter = ("state",)
    fields = (
        "created_at",
        "state_badge",
        "score",
        "signs",
        "amount",
        "campaign",
        "shopper",
        "reservation",
        "decided_by",
        "decided_at",
        "note",
    )
    change_form_template = "admin/personalization/riskreview/change_form.html"

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, review: RiskReview) -> Any:
        return badge(review.get_state_display(), TONES.get(review.state, ""))

    @admin.display(description=_("signs"))
    def signs(self, review: RiskReview) -> Any:
        names = dict(RiskRule.Kind.choices)
        hits = [hit for hit in review.hits if isinstance(hit, dict)] if isinstance(review.hits, list) else []
        lines = [
            (names.get(str(hit.get("rule")), hit.get("rule")), hit.get("figure", DASH), hit.get("points", DASH))
            for hit in hits
        ]
        points = gettext("points")
        rows = ((name, figure, counted, points) for name, figure, counted in lines)
        return format_html_join("", '<div class="pz-sign">{}: {} ({} {})</div>', rows) or DASH

    @admin.display(description=_("amount"))
    def amount(self, review: RiskReview) -> str:
        return money(review.reservation.amount_minor, review.reservation.campaign.currency)

    @admin.display(description=_("campaign"))
    def campaign(self, review: RiskReview) -> Any:
        return review.reservation.campaign

    @admin.display(description=_("shopper"))
    def shopper(self, review: RiskReview) -> Any:
        return review.reservation.shopper or DASH

    def get_urls(self) -> list[Any]:
        decide = self.admin_site.admin_view(self.decide)
        return [
            path("<int:review_id>/decide/", decide, name="personalization_riskreview_decide"),
            *super().get_urls(),
        ]

    def may_decide(self, request: HttpRequest) -> bool:
        return self.may(request, "decide_riskreview")

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        review = kwargs.get("obj")
        if review is not None:
            waits = review.state == review.State.PENDING and review.reservation.state == Reservation.State.REVIEW
            context["decision_form"] = DecisionForm(auto_id="pz-%s") if waits and self.may_decide(request) else None
        return super().render_change_form(request, context, *args, **kwargs)

    def decide(self, request: HttpRequest, review_id: int) -> HttpResponse:
        """Approve or reject; of two people who decide at once, the second is told."""
        if not (self.may_decide(request) and self.has_view_permission(request)):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        review = RiskReview.objects.select_related("reservation").filter(pk=review_id).first()
        if review is None:
            return self.gone(request, str(review_id))
        form = DecisionForm(request.POST)
        if not form.is_valid():
            self.message_user(request, gettext("Choose one of the two, and keep the note short."), messages.WARNING)
            return HttpResponseRedirect(change_url(RiskReview, review.pk))
        verb = risk.approve if form.cleaned_data["verdict"] == "approve" else risk.reject
        if verb(review, request.user, form.cleaned_data["note"]):
            self.log_change(request, review, review.get_state_display())
            self.message_user(request, gettext("Decided: %(state)s.") % {"state": review.get_state_display()})
            return HttpResponseRedirect(
                reverse("admin:personalization_riskreview_changelist") + "?state__exact=pending"
            )
        text = gettext("This was decided already, or the shopper has given it up.")
        self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(change_url(RiskReview, review.pk))


@admin.register(RiskRule)
class RiskRuleAdmin(PersonalizationAdmin):
    """Rules are switched off, not deleted: each sign has one, and the next migrate would bring it back."""

    list_display = ("__str__", "threshold", "points", "active", "fired_count", "precision", "proposal")
    fields = ("kind", "meaning", "threshold", "points", "active", "fired_count", "confirmed_count", "dismissed_count")
    readonly_fields = ("kind", "meaning", "fired_count", "confirmed_count", "dismissed_count")
    ordering = ("pk",)
    actions = ("apply_points",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("what is counted"))
    def meaning(self, rule: RiskRule) -> str:
        return str(MEANINGS.get(RiskRule.Kind(rule.kind), DASH))

    @admin.display(description=_("was right"))
    def precision(self, rule: RiskRule) -> str:
        said = risk.advice(rule)
        if said.precision is None:
            return DASH
        figures = {"share": percent(said.precision, 0), "decided": said.decided}
        return gettext("%(share)s of %(decided)d") % figures

    @admin.display(description=_("what decisions say"))
    def proposal(self, rule: RiskRule) -> str:
        said = risk.advice(rule)
        lines = []
        if said.raise_threshold:
            counts = {"dismissed": said.dismissed, "decided": said.decided}
            text = (
                gettext("Dismissed %(dismissed)d of %(decided)d: lower its figure.")
                if rule.kind == RiskRule.Kind.YOUNG_ACCOUNT
                else gettext("Dismissed %(dismissed)d of %(decided)d: raise its threshold.")
            )
            lines.append(text % counts)
        if said.points is not None and said.points != rule.points:
            lines.append(gettext("%(points)d points would fit.") % {"points": said.points})
        return " ".join(lines) or DASH

    @admin.action(description=_("Take over the proposed points"), permissions=["change"])
    def apply_points(self, request: HttpRequest, queryset: QuerySet[RiskRule]) -> None:
        proposed = risk.suggest_points()
        changed = 0
        for rule in queryset:
            if rule.pk in proposed:
                before, rule.points = rule.points, proposed[rule.pk]
                rule.save(update_fields=["points"])
                self.log_change(request, rule, f"{before} → {rule.points}")
                changed += 1
        text = ngettext("%(count)d rule has new points.", "%(count)d rules have new points.", changed)
        self.message_user(request, text % {"count": changed})
