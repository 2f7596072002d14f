"""The button that stops everything, the banner while it is stopped, and new campaigns from a copy or a template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from personalization import conf
from personalization.campaigns import authoring, switch, templates
from personalization.exceptions import PersonalizationError
from personalization.models import Campaign
from personalization.ports.messages import explain

if TYPE_CHECKING:
    from personalization.admin.campaigns import CampaignAdmin


def context(request: HttpRequest) -> dict[str, Any]:
    """Return what the list of campaigns says about the kill switch and who may turn it."""
    found = switch.state(conf.get().population)
    return {
        "stopped": found if found is not None and found.engaged else None,
        "may_stop": request.user.has_perm(switch.PERMISSION),
    }


def switch_view(model_admin: CampaignAdmin, request: HttpRequest) -> HttpResponse:
    """GET asks first, POST stops everything or opens it again."""
    if not request.user.has_perm(switch.PERMISSION):
        raise PermissionDenied
    population = conf.get().population
    back = HttpResponseRedirect(reverse("admin:personalization_campaign_changelist"))
    if request.method == "POST":
        to_stop = request.POST.get("to") == "stop"
        turn = switch.engage if to_stop else switch.open
        try:
            turned = turn(population, request.user, request.POST.get("reason", ""))
        except PersonalizationError as error:
            model_admin.message_user(request, explain(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        text = _("All campaigns are stopped.") if to_stop else _("The campaigns go on.")
        model_admin.message_user(request, text if turned else _("It was so already."), messages.SUCCESS)
        return back
    title = _("Open all campaigns again") if context(request)["stopped"] else _("Stop all campaigns")
    return _page(model_admin, request, "switch", {"title": title, "changes": switch.history(population)})


def clone_view(model_admin: CampaignAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """POST copies a campaign into a new draft and opens it."""
    campaign = model_admin.get_object(request, object_id)
    if campaign is None:
        return model_admin.gone(request, object_id)
    if request.method != "POST" or not model_admin.has_add_permission(request):
        raise PermissionDenied
    return _made(model_admin, request, lambda: authoring.clone(campaign, request.user))


def template_view(model_admin: CampaignAdmin, request: HttpRequest) -> HttpResponse:
    """GET shows the templates, POST makes a draft from one and opens it."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    if request.method == "POST":
        name = request.POST.get("template", "")
        return _made(model_admin, request, lambda: templates.design(name, by=request.user))
    return _page(
        model_admin, request, "templates", {"title": _("New from a template"), "designs": templates.DESIGNS.items()}
    )


def _made(model_admin: CampaignAdmin, request: HttpRequest, make: Any) -> HttpResponse:
    try:
        campaign: Campaign = make()
    except PersonalizationError as error:
        model_admin.message_user(request, explain(error), messages.ERROR)
        return HttpResponseRedirect(reverse("admin:personalization_campaign_changelist"))
    model_admin.log_addition(request, campaign, [{"added": {}}])
    text = _("“%(name)s” is a draft now. Look it over before you launch it.")
    model_admin.message_user(request, text % {"name": campaign.name}, messages.SUCCESS)
    return HttpResponseRedirect(reverse("admin:personalization_campaign_change", args=[campaign.pk]))


def _page(model_admin: CampaignAdmin, request: HttpRequest, name: str, extra: dict[str, Any]) -> HttpResponse:
    request.current_app = model_admin.admin_site.name
    given = {
        **model_admin.admin_site.each_context(request),
        **context(request),
        "opts": model_admin.opts,
        "media": model_admin.media,
        **extra,
    }
    return TemplateResponse(request, f"admin/personalization/campaign/{name}.html", given)
