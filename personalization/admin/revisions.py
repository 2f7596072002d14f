"""The pages of a campaign's revisions: who changed what and when, back to an older one, and the approval of one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import formats
from django.utils.translation import gettext as _

from personalization.admin import switch
from personalization.admin.display import DASH, money
from personalization.campaigns import clock, lifecycle, revisions
from personalization.exceptions import PersonalizationError
from personalization.models import Campaign, CampaignRevision
from personalization.ports.messages import explain

if TYPE_CHECKING:
    from personalization.admin.campaigns import CampaignAdmin

MOST = 100


@dataclass(frozen=True)
class Line:
    """One change in words."""

    what: str
    field: str
    before: str
    after: str


def lines(campaign: Campaign, revision: CampaignRevision) -> list[Line]:
    """Return what a revision changed, money and moments as people read them."""
    return [_line(campaign, change) for change in revision.changes]


def _line(campaign: Campaign, change: dict[str, Any]) -> Line:
    words = {"campaign": _("Campaign"), "offer": _("Offer “%(name)s”"), "trigger": _("Occasion “%(name)s”")}
    what = words[change["what"]] % {"name": change["name"]} if change["name"] else words["campaign"]
    if not change["field"]:
        field = _("added") if change["before"] is None else _("taken away")
        return Line(what, field, "", "")
    column = revisions.MODELS[change["what"]]._meta.get_field(change["field"])
    label = str(getattr(column, "verbose_name", change["field"]))
    before, after = (_value(campaign, change["field"], change[side]) for side in ("before", "after"))
    return Line(what, label, before, after)


def _value(campaign: Campaign, name: str, value: Any) -> str:
    if value is None or value == "" or value in ([], {}):
        return DASH
    if name.endswith("_minor"):
        return money(value, campaign.currency)
    if name.endswith("_at"):
        shown = clock.wall(datetime.fromisoformat(value), clock.zone_of(campaign))
        return str(formats.date_format(shown, "DATETIME_FORMAT"))
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def revisions_view(model_admin: CampaignAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """GET shows the revisions, newest first; POST brings a draft back to one, or approves the latest."""
    campaign = model_admin.get_object(request, object_id)
    if campaign is None:
        return model_admin.gone(request, object_id)
    if not model_admin.has_view_permission(request, campaign):
        raise PermissionDenied
    if request.method == "POST":
        _act(model_admin, request, campaign)
        return HttpResponseRedirect(request.get_full_path())
    rows = campaign.revisions.select_related("by").order_by("-number")[:MOST]
    may_restore = campaign.status == Campaign.Status.DRAFT and model_admin.has_change_permission(request, campaign)
    request.current_app = model_admin.admin_site.name
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "media": model_admin.media,
        "original": campaign,
        "title": _("Revisions: %(name)s") % {"name": campaign.name},
        "revisions": [(row, lines(campaign, row)) for row in rows],
        "may_restore": may_restore,
        "is_approved": lifecycle.is_approved(campaign),
        "may_approve": may_approve(request, campaign),
    }
    return TemplateResponse(request, "admin/personalization/campaign/revisions.html", context)


def may_approve(request: HttpRequest, campaign: Campaign) -> bool:
    """Return whether this user sees the button that approves the campaign as it is now."""
    open_now = campaign.status in lifecycle.APPROVABLE and not lifecycle.is_approved(campaign)
    return open_now and request.user.has_perm("personalization.approve_campaign")


def _act(model_admin: CampaignAdmin, request: HttpRequest, campaign: Campaign) -> None:
    number = request.POST.get("revision", "")
    if not number.isdecimal():
        return
    try:
        if "approve" in request.POST:
            lifecycle.approve(campaign, request.user, int(number))
            done = _("Revision %(number)s is approved.") % {"number": number}
        else:
            if not model_admin.has_change_permission(request, campaign):
                raise PermissionDenied
            revisions.restore(campaign, int(number), request.user)
            done = _("The draft is back at revision %(number)s.") % {"number": number}
    except PersonalizationError as error:
        model_admin.message_user(request, explain(error), messages.ERROR)
        return
    model_admin.log_change(request, campaign, done)
    model_admin.message_user(request, done, messages.SUCCESS)


def urls(model_admin: CampaignAdmin) -> list[Any]:
    """Return the addresses of these pages and of those in :mod:`personalization.admin.switch`."""
    wrap = model_admin.admin_site.admin_view
    pages = {
        "stop": ("stop/", switch.switch_view),
        "templates": ("templates/", switch.template_view),
        "clone": ("<path:object_id>/clone/", switch.clone_view),
        "revisions": ("<path:object_id>/revisions/", revisions_view),
    }

    def bound(view: Any) -> Any:
        return lambda request, **kwargs: view(model_admin, request, **kwargs)

    return [
        path(route, wrap(bound(view)), name=f"personalization_campaign_{name}") for name, (route, view) in pages.items()
    ]


def tools(request: HttpRequest, campaign: Campaign) -> dict[str, str]:
    """Return the addresses that the campaign's page links to."""
    key = [campaign.pk]
    return {
        "revisions": reverse("admin:personalization_campaign_revisions", args=key),
        "clone": reverse("admin:personalization_campaign_clone", args=key)
        if request.user.has_perm("personalization.add_campaign")
        else "",
    }
