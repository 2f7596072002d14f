"""Ready-made groups of staff, each with the least it needs. Made and completed after ``migrate``.

What a shop's owner adds to a group stays; what they take out of one comes back with the next ``migrate``: for less,
make a group of your own.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db.models import QuerySet

from personalization.campaigns import risk

PREFIX = "Campaigns: "
"""Before each name, so that a group of the host's with the same name is not given anything."""
GROUPS: dict[str, tuple[str, ...]] = {
    "marketer": (
        *("view_campaign", "add_campaign", "change_campaign", "launch_campaign", "stop_campaign"),
        *("view_offer", "add_offer", "change_offer", "delete_offer"),
        *("view_trigger", "add_trigger", "change_trigger", "delete_trigger"),
        *("view_codebatch", "add_codebatch", "view_coupon", "view_forecast", "run_job", "view_job"),
        *("view_campaignrevision", "view_campaigntransition", "view_outboxmessage", "view_catalogitem"),
        *("view_alert", "change_alert"),
    ),
    "approver": (
        *("view_campaign", "approve_campaign", "launch_campaign", "stop_campaign"),
        *("view_offer", "view_trigger", "view_forecast", "view_campaignrevision", "view_campaigntransition"),
        *("view_alert", "change_alert"),
    ),
    "support": (
        *("grant_coupon", "view_supportaction", "view_coupon", "view_reservation", "view_redemption"),
        *("view_giftcard", "view_giftcardentry", "view_grant"),
        *("view_riskreview", "decide_riskreview"),
        *("view_shoppermerge", "undo_shoppermerge"),
    ),
    "analyst": (
        *("view_campaign", "view_offer", "view_trigger", "view_forecast", "view_campaignrevision"),
        *("view_campaigntransition", "view_redemption", "view_ledgerentry", "view_decision", "view_exposure"),
        *("view_event", "view_catalogitem", "view_modelversion", "view_scoreset", "view_job"),
        *("view_riskrule", "view_outboxmessage", "view_alert", "view_sessionverdict"),
        *("view_monitoringreport", "view_tuningrun"),
    ),
}


def after_migrate(*, app_config: Any, using: str = "default", **kwargs: Any) -> None:
    """Make the groups and the default rules, unless the migration has just taken the tables away."""
    known = kwargs.get("apps", apps)
    if using != "default" or not any(model._meta.model_name == "riskrule" for model in _models(known)):
        return
    risk.ensure_defaults()
    if apps.is_installed("django.contrib.auth"):
        ensure_groups(app_config)


def _models(known: Any) -> list[Any]:
    try:
        return list(known.get_app_config("personalization").get_models())
    except LookupError:
        return []


def ensure_groups(app_config: Any = None) -> None:
    """Make each group that is missing and give each the permissions that it lacks."""
    from django.contrib.auth.management import create_permissions
    from django.contrib.auth.models import Group

    # Django makes permissions in a receiver of its own, which may come after ours.
    create_permissions(app_config or apps.get_app_config("personalization"), verbosity=0)
    for name, codenames in GROUPS.items():
        group, _made = Group.objects.get_or_create(name=PREFIX + name)
        group.permissions.add(*permissions(codenames))


def permissions(codenames: tuple[str, ...]) -> QuerySet[Any]:
    """Return this app's permissions of these names."""
    from django.contrib.auth.models import Permission

    return Permission.objects.filter(content_type__app_label="personalization", codename__in=codenames)
