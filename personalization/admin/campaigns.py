"""The campaign pages: the list a marketer starts the day with, and one campaign from idea to outcome."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.forms import Field
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin import (
    audience,
    calendar,
    checklist,
    conflicts,
    forecasts,
    lifecycle,
    moments,
    parts,
    preview,
    products,
)
from personalization.admin import revisions as revision_pages
from personalization.admin import switch as switch_pages
from personalization.admin.campaign_list import CampaignList
from personalization.admin.display import money
from personalization.admin.fields import MomentField
from personalization.admin.forms import CampaignForm, friendly_formfield
from personalization.admin.offers import CLOSED, OPEN, OfferInline, OfferLines
from personalization.admin.triggers import TriggerInline
from personalization.campaigns import catalog, revisions
from personalization.exceptions import InvalidTransition
from personalization.models import Campaign

COLUMNS = (
    "name",
    "goal",
    "delivery",
    "starts_at",
    "ends_at",
    "time_zone",
    "sites",
    "audience_mode",
    "currency",
    "pacing",
    "gate_liability",
    "attribution_hours",
    "priority",
)
"""What the form edits as it is. What a state has fixed of it (``revisions.editable_fields``) is shown instead."""


@admin.register(Campaign)
class CampaignAdmin(CampaignList):
    form = CampaignForm
    formfield_overrides = {
        models.DateTimeField: {"form_class": MomentField, "help_text": _("Without a time: at midnight.")}
    }
    inlines = (OfferInline, TriggerInline)
    save_on_top = False
    raced = _("Nothing is saved: meanwhile a limit or the budget has been used further. Check it again.")
    change_form_template = "admin/personalization/campaign/change_form.html"

    # -- what may be edited when

    def has_change_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        return not (obj is not None and obj.status in CLOSED) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        drafted = obj is None or obj.status == Campaign.Status.DRAFT
        return drafted and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Campaign | None = None) -> list[str]:
        always = ["audience_words", "audience_others", "budget", "budget_text"]
        if obj is None:
            return always
        editable = revisions.editable_fields(obj).campaign
        fixed = [name for name in COLUMNS if name not in editable]
        return [*always, *fixed, *(() if "audience" in editable else audience.FIELDS)]

    def get_fieldsets(self, request: HttpRequest, obj: Campaign | None = None) -> Any:
        editable = obj is None or self.has_change_permission(request, obj)
        columns = revisions.editable_fields(obj).campaign if obj is not None else {"audience", "budget_minor"}
        with_rule = editable and "audience" in columns
        budget: list[Any] = [("currency", "budget_minor" if editable and "budget_minor" in columns else "budget_text")]
        if obj is not None:
            budget.append("budget")
        return [
            (
                None,
                {
                    "fields": ["name", "goal", "delivery", ("starts_at", "ends_at"), "time_zone"],
                    "description": self._reason(obj),
                    "classes": ["pz-part-goal"],
                },
            ),
            (
                _("Sites, measuring and order"),
                {"fields": ["sites", "attribution_hours", "priority"], "classes": ["collapse", "pz-part-goal"]},
            ),
            (
                None,
                {
                    "fields": [*self._audience_rows(obj, editable=with_rule), "audience_mode"],
                    "classes": ["pz-audience", "pz-part-audience"],
                },
            ),
            (None, {"fields": [*budget, "pacing", "gate_liability"], "classes": ["pz-part-budget"]}),
        ]

    def _audience_rows(self, campaign: Campaign | None, *, editable: bool) -> list[Any]:
        rule = campaign.audience if campaign is not None else {}
        if editable and audience.is_editable(rule):
            rows: list[Any] = [
                "audience_tier",
                ("audience_city", "audience_gender"),
                ("audience_age_min", "audience_age_max"),
                ("audience_tenure_min", "audience_tenure_max"),
                "audience_intent_min",
            ]
            return [*rows, audience.MORE]
        return ["audience_words"]

    def _reason(self, campaign: Campaign | None) -> Any:
        if campaign is None or campaign.status in OPEN:
            return ""
        if campaign.status == Campaign.Status.SCHEDULED:
            return _(
                "Delivery, start, currency and audience are fixed because the campaign is scheduled. "
                "Send it back to draft to change them."
            )
        if campaign.status in CLOSED:
            return _("The campaign is over: everything is kept as it was.")
        return _(
            "Delivery, start, currency and audience are fixed because the campaign has started: "
            "its forecast and its measurement rest on them."
        )

    def formfield_for_dbfield(self, db_field: models.Field, request: Any, **kwargs: Any) -> Field | None:
        return friendly_formfield(db_field.name) or super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_inline_formsets(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Let an offer whose kind is fixed show the fields of that kind."""
        found = super().get_inline_formsets(*args, **kwargs)
        return [OfferLines.of(made) if isinstance(made.opts, OfferInline) else made for made in found]

    @admin.display(description=_("Budget"))
    def budget_text(self, campaign: Campaign) -> str:
        if campaign.budget_minor is None:
            return gettext("no limit")
        return money(campaign.budget_minor, campaign.currency)

    @admin.display(description=_("Conditions"))
    def audience_words(self, campaign: Campaign) -> Any:
        return _bullets(audience.in_words(campaign.audience))

    @admin.display(description=_("Further conditions"))
    def audience_others(self, campaign: Campaign) -> Any:
        return _bullets(audience.in_words({"all": audience.split(campaign.audience)[1]}))

    # -- saving

    def save_model(self, request: HttpRequest, obj: Campaign, form: Any, change: bool) -> None:
        """Write what the form edits and nothing else: checkouts move the counters of the same row."""
        if not change:
            obj.created_by = request.user
            obj.population = conf.get().population
            obj.save()
            return
        seen = request.POST.get("_seen_revision", "")
        revisions.require(obj, int(seen) if seen.isdecimal() else obj.revision)
        now = Campaign.objects.values_list("status", flat=True).get(pk=obj.pk)
        if request.POST.get("_seen_status", now) != now:
            state = dict(Campaign.Status.choices).get(now, now)
            raise InvalidTransition(
                gettext("Nothing is saved: the campaign is %(state)s since you opened this page.") % {"state": state}
            )
        obj.save(update_fields=[*form.changed_columns(), "audience"])

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Write the offers, and then what the campaign looks like after this edit."""
        super().save_related(request, form, formsets, change)
        revisions.record(form.instance, request.user)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Write each offer's edited columns only, for the same reason."""
        formset.save(commit=False)
        forms = {offer_form.instance.pk: offer_form for offer_form in formset.initial_forms}
        for offer, _changes in formset.changed_objects:
            offer.save(update_fields=forms[offer.pk].changed_columns())
        for offer in formset.deleted_objects:
            offer.delete()
        for offer in formset.new_objects:
            offer.save()

    # -- further pages

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("audience/", wrap(self.audience_page), name="personalization_campaign_audience"),
            path(
                "products/",
                wrap(products.ProductSearch.as_view(admin_site=self.admin_site)),
                name="personalization_campaign_products",
            ),
            *revision_pages.urls(self),
            path("calendar/", wrap(self.calendar_page), name="personalization_campaign_calendar"),
            path("<path:object_id>/preview/", wrap(self.preview_page), name="personalization_campaign_preview"),
            path(
                "<path:object_id>/state/<slug:to>/",
                wrap(self.state_page),
                name="personalization_campaign_state",
            ),
            path("<path:object_id>/checks/", wrap(self.checks_page), name="personalization_campaign_checks"),
            path(
                "<path:object_id>/forecast/",
                wrap(self.forecast_page),
                name="personalization_campaign_forecast",
            ),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {**switch_pages.context(request), **(extra_context or {})})

    def state_page(self, request: HttpRequest, object_id: str, to: str) -> HttpResponse:
        return lifecycle.state_view(self, request, object_id, to)

    def checks_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return lifecycle.checks_view(self, request, object_id)

    def forecast_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return forecasts.forecast_view(self, request, object_id)

    def calendar_page(self, request: HttpRequest) -> HttpResponse:
        return calendar.calendar_view(self, request)

    def preview_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return preview.preview_view(self, request, object_id)

    def audience_view(self, request: HttpRequest, campaign: Campaign) -> audience.AudienceView:
        """Return who the campaign reaches now; the sample only for those who may view shoppers."""
        may_see = request.user.has_perm("personalization.view_shopper")
        return audience.look(campaign, with_sample=may_see)

    def audience_page(self, request: HttpRequest) -> HttpResponse:
        """Count the audience that is being typed; nothing is saved."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        stored = self.get_object(request, request.POST.get("campaign", ""))
        campaign = stored or Campaign(population=conf.get().population)
        if request.POST.get("delivery") in Campaign.Delivery.values:
            campaign.delivery = request.POST["delivery"]
        form = audience.AudienceForm(request.POST)
        if form.is_valid():
            campaign.audience = form.rule(audience.split(campaign.audience)[1])
        if form.errors:
            found = audience.AudienceView(
                None, [], " ".join(str(line) for lines in form.errors.values() for line in lines)
            )
        else:
            found = self.audience_view(request, campaign)
        html = render_to_string("admin/personalization/campaign/audience_now.html", {"audience": found}, request)
        return JsonResponse({"html": html})

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Campaign | None = None,
    ) -> Any:
        """Put the panels around the form: state and steps, audience, forecast, history."""
        # The form may have put unsaved values on its instance: panels speak about what is stored.
        stored = self.get_object(request, str(obj.pk)) if obj is not None else None
        found = self.audience_view(request, stored or Campaign(population=conf.get().population))
        context.update(audience=found, audience_url=reverse("admin:personalization_campaign_audience"), stored=stored)
        form = context["adminform"].form
        context.update(categories=catalog.categories(), categories_id=products.CATEGORIES)
        context["parts"] = parts.parts(form, context["inline_admin_formsets"], stored, found.sentence)
        if stored is not None:
            context["tools"] = revision_pages.tools(request, stored)
            steps = lifecycle.steps(request, stored)
            shown = lifecycle.is_before_launch(stored, steps)
            context.update(lifecycle.checks_context(stored, found, shown=shown))
            context.update(
                state_badge=moments.state_badge(stored),
                steps=steps,
                unsendable=checklist.unsendable(stored),
                history=lifecycle.history(stored),
                panel=forecasts.panel(request, stored),
                conflicts=conflicts.of_campaign(stored),
                cards=preview.cards(request, stored, 2),
            )
        return super().render_change_form(request, context, add=add, change=change, form_url=form_url, obj=obj)


def _bullets(lines: list[str]) -> Any:
    return format_html('<ul class="pz-list">{}</ul>', format_html_join("", "<li>{}</li>", ((line,) for line in lines)))
