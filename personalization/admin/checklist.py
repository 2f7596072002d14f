"""Further lines of the check-list before a launch: audience, words, coupons, sending, forecast, conflicts, approval."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from personalization import conf
from personalization.admin import conflicts, forecasts
from personalization.admin.display import words_of
from personalization.campaigns import catalog, channels
from personalization.exceptions import InvalidAudience
from personalization.features import audiences
from personalization.learning import forecast_terms, jobs
from personalization.models import Campaign, Job, Offer
from personalization.pure.costs import worst_case
from personalization.types import JobKind, OfferKind

FRESH = timedelta(days=7)


@dataclass(frozen=True)
class Check:
    """One line of the check-list: whether it is met, what it says then, what it says while open, and what to do.

    ``waits``: a job is open for it, so that the line may change by itself; ``worked``: a worker is at that job.
    ``notes``: it is met, and nothing was to be done: it tells what to know.
    """

    ok: bool
    text: str
    still: str
    hint: str = ""
    waits: bool = False
    worked: bool = False
    notes: bool = False

    @property
    def told(self) -> str:
        """The line as it stands: an open one says what is the matter, not what should be."""
        return self.text if self.ok else self.still


def further(campaign: Campaign, offers: list[Offer], now: datetime) -> list[Check]:
    """Return the lines about audience, words, coupons, currency, messages, forecast, conflicts and approval."""
    return [
        *_of_audience(campaign, now),
        *_of_offers(campaign, offers),
        *_of_currency(campaign, offers),
        *_of_sending(campaign),
        *_of_forecast(campaign, now),
        _of_conflicts(campaign),
        *_of_approval(campaign),
    ]


def unsendable(campaign: Campaign) -> list[str]:
    """Return why a campaign that is past its launch sends nothing, or not everything; nothing for another state."""
    if campaign.status not in (Campaign.Status.SCHEDULED, Campaign.Status.RUNNING, Campaign.Status.PAUSED):
        return []
    return [check.hint for check in _of_sending(campaign) if not check.ok]


def _of_audience(campaign: Campaign, now: datetime) -> list[Check]:
    """A rule may ask for scores that nobody has yet; of one that cannot be read, another line tells."""
    try:
        lacking = audiences.lacking(campaign, now)
    except InvalidAudience:
        return []
    if not lacking:
        return []
    waited = open_jobs(JobKind.TRAIN, JobKind.SCORE, JobKind.SUMMARY).filter(params__population=campaign.population)
    met, still = (
        _("Its audience asks for nothing that is not known yet"),
        _("Its audience asks for what is not known yet"),
    )
    return [Check(False, met, still, lacking, waits=waited.exists(), worked=jobs.at_work(waited, now).exists())]


def _of_offers(campaign: Campaign, offers: list[Offer]) -> list[Check]:
    wordless = [offer.name for offer in offers if not offer.headline or not (offer.body or offer.body_html)]
    known = set(conf.get().slots)
    strange = sorted({slot for offer in offers for slot in words_of(offer.slots)} - known)
    checks = [
        Check(
            not wordless,
            _("Every offer has a headline and a text"),
            _("An offer lacks its headline or its text"),
            _("Without: %(names)s.") % {"names": ", ".join(wordless)},
        )
    ]
    if strange:
        hint = _("The shop does not declare %(slots)s: nothing is shown there.") % {"slots": ", ".join(strange)}
        checks.append(Check(False, _("Every slot exists"), _("A slot does not exist"), hint))
    aimless = [offer.name for offer in offers if _is_aimless(offer)]
    if aimless:
        hint = _("Nothing is claimed there, and there is no link: pages leave the button of %(names)s out.")
        hint %= {"names": ", ".join(aimless)}
        checks.append(Check(False, _("Every button leads somewhere"), _("A button leads nowhere"), hint))
    beneficial = [offer for offer in offers if offer.kind != OfferKind.ANNOUNCEMENT]
    unlimited = [offer.name for offer in beneficial if offer.max_issued is None and offer.max_redemptions is None]
    if beneficial:
        checks.append(
            Check(
                not unlimited or bool(campaign.budget_minor),
                _("The number of coupons is bounded"),
                _("The number of coupons has no bound"),
                _("Neither a limit nor a budget bounds: %(names)s.") % {"names": ", ".join(unlimited)},
            )
        )
    if campaign.gate_liability:
        boundless = [offer.name for offer in beneficial if worst_case(offer.terms()) is None]
        hint = _("Set a largest discount for: %(names)s.") % {"names": ", ".join(boundless)}
        met, still = _("The budget can cover every coupon"), _("The budget may not cover every coupon")
        checks.append(Check(not boundless, met, still, hint))
    return checks


def _of_currency(campaign: Campaign, offers: list[Offer]) -> list[Check]:
    """An offer counts for baskets in its campaign's currency alone: in another one nobody can redeem it."""
    if not catalog.foreign(offers):
        return []
    hint = _(
        "Products are sold in %(shop)s, its offers are in %(own)s: nobody could redeem them, so they are not shown. "
        "Change the campaign’s currency."
    ) % {"shop": ", ".join(catalog.currencies(campaign.population)), "own": campaign.currency}
    return [Check(False, _("Products are sold in its currency"), _("No product is sold in its currency"), hint)]


def _is_aimless(offer: Offer) -> bool:
    """Return whether a button has words, but nothing to do: it claims nothing and leads nowhere."""
    claims = offer.kind != OfferKind.ANNOUNCEMENT and offer.application == Offer.Application.CLAIM
    return bool(offer.cta_label) and not claims and not offer.cta_url


def _of_sending(campaign: Campaign) -> list[Check]:
    """A campaign that is sent needs an occasion with a channel; a channel needs to be set up."""
    used = {name for trigger in campaign.triggers.filter(active=True) for name in trigger.channels}
    checks = []
    if campaign.delivery == Campaign.Delivery.SENT:
        hint = _("Nothing would be sent: add a trigger with a channel. “Launch” sends it once to the whole audience.")
        checks.append(Check(bool(used), _("It is sent to its shoppers"), _("It is sent to nobody yet"), hint))
    if used:
        told = channels.in_words(channels.lacking(used))
        hint = _("These settings are empty, so nobody is reached. %(channels)s.") % {"channels": told}
        checks.append(Check(not told, _("Its channels are set up"), _("A channel of it is not set up"), hint))
    return checks


def _of_forecast(campaign: Campaign, now: datetime) -> list[Check]:
    """A forecast of other terms, of long ago, or one still in the making, is no forecast of this campaign."""
    waited = open_jobs(JobKind.FORECAST).filter(params__campaign=campaign.pk)
    if waited.exists():
        hint = _("Wait for it: a launch now freezes the one before, or none.")
        met, still = _("No forecast is being computed"), _("A forecast is being computed")
        return [Check(False, met, still, hint, waits=True, worked=jobs.at_work(waited, now).exists())]
    newest = campaign.forecasts.order_by("-created_at").first()
    if newest is None:
        return []
    fitting = forecast_terms.fits(newest)
    hint = _("It is more than seven days old. Compute it again.") if fitting else str(forecasts.UNFIT)
    fresh = fitting and now - newest.created_at <= FRESH
    return [Check(fresh, _("Its forecast is up to date"), _("Its forecast is out of date"), hint)]


def open_jobs(*kinds: JobKind) -> QuerySet[Job]:
    """Return the jobs of these kinds that wait or run."""
    return Job.objects.filter(kind__in=[kind.value for kind in kinds], state__in=jobs.OPEN)


def _of_conflicts(campaign: Campaign) -> Check:
    serious = conflicts.of_campaign(campaign).serious
    names = dict.fromkeys(f"“{conflict.campaign}”" for conflict in serious)
    hint = _("Discounts may add up with: %(names)s.") % {"names": ", ".join(names)}
    return Check(not serious, _("It gets along with other campaigns"), _("It meets other campaigns"), hint)


def _of_approval(campaign: Campaign) -> list[Check]:
    if not conf.get().approval_required:
        return []
    approved = campaign.approved_revision is not None and campaign.approved_revision == campaign.revision
    met, still = _("Its latest revision is approved"), _("Its latest revision is not approved yet")
    return [Check(approved, met, still, _("Somebody with the permission has to approve it."))]
