"""The steps of a campaign's page: a stored campaign opens as an overview, a new one as a form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from personalization.admin import audience, moments
from personalization.admin.display import money
from personalization.models import Campaign

AUDIENCE = {*audience.FIELDS, "audience_mode"}
BUDGET = {"currency", "budget_minor", "pacing", "gate_liability"}


@dataclass(frozen=True)
class Part:
    """One step: its anchor, its title, whether something in it has to be mended, and what is stored in a line.

    ``summary`` is empty for a campaign that is not stored yet, and for parts that say it themselves.
    """

    key: str
    title: str
    wrong: bool = False
    summary: str = ""

    @property
    def open(self) -> bool:
        return self.wrong or not self.summary


def parts(form: Any, formsets: Any, stored: Campaign | None, reach: str) -> list[Part]:
    """Return the steps of the page. ``reach`` says how many shoppers the stored audience has."""
    wrong = set(form.errors)
    offers_wrong = any(formset.formset.total_error_count() for formset in formsets) if form.is_bound else False
    told = _summaries(stored, reach) if stored is not None else {}
    found = [
        Part("goal", gettext("Goal and dates"), bool(wrong - AUDIENCE - BUDGET - {"__all__"}), told.get("goal", "")),
        Part("audience", gettext("Audience"), bool(wrong & AUDIENCE), told.get("audience", "")),
        Part("offers", gettext("Offers"), offers_wrong),
        Part("budget", gettext("Budget and pace"), bool(wrong & BUDGET), told.get("budget", "")),
    ]
    if stored is not None:
        found += [Part("look", gettext("Look")), Part("launch", gettext("Forecast and launch"))]
    return found


def _summaries(campaign: Campaign, reach: str) -> dict[str, str]:
    limit = gettext("no limit") if campaign.budget_minor is None else money(campaign.budget_minor, campaign.currency)
    facts = {
        "goal": [" – ".join(moments.span(campaign)), campaign.goal],
        "audience": [*audience.in_words(campaign.audience), reach],
        "budget": [limit, campaign.get_pacing_display()],
    }
    return {key: " · ".join(str(fact).rstrip(".") for fact in told if fact) for key, told in facts.items()}
