"""Alerts: what somebody should look at, raised once an occasion and mailed to MANAGERS once.

Each condition is one query over all campaigns; the unique key is what makes an occasion, so that any number of
workers may check at once. The mail is claimed before it goes out and given back if sending fails: a crash in between
loses a mail, never the alert, and no two workers send the same one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.mail import mail_managers
from django.db.models import BooleanField, Count, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from personalization import conf
from personalization.campaigns import channels, risk
from personalization.models import Alert, Campaign, CampaignTransition, Exposure, OutboxMessage, Trigger
from personalization.ports.money import money as money_text

logger = logging.getLogger(__name__)
Kind = Alert.Kind
Status = Campaign.Status
DAY = timedelta(days=1)
OPEN = (Status.SCHEDULED, Status.RUNNING, Status.PAUSED)
USED = F("reserved_minor") + F("spent_minor")
_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {}


def check(now: datetime | None = None) -> int:
    """Raise what is new and mail it; returns how many alerts are new. Call it outside of any transaction."""
    now = now or timezone.now()
    new = raise_new([*_budget(), *_silent(now), *_liability(), *_review(now), *_push(now), *_unsendable()], now)
    mail_waiting(now)
    return len(new)


def raise_new(wanted: list[Alert], now: datetime) -> list[Alert]:
    """Store the alerts whose occasion is new, and return them; rooms above raise theirs here."""
    known = set(Alert.objects.filter(key__in=[alert.key for alert in wanted]).values_list("key", flat=True))
    new = [alert for alert in wanted if alert.key not in known]
    for alert in new:
        alert.raised_at = now
    Alert.objects.bulk_create(new, ignore_conflicts=True, batch_size=500)
    return new


def register(kind: Alert.Kind, words: Callable[[Mapping[str, Any]], str]) -> None:
    """Let a room above put the figures of its alerts into words."""
    _WORDS[kind.value] = words


def _campaigns() -> QuerySet[Campaign]:
    return Campaign.objects.filter(population=conf.get().population).order_by("pk")


def _budget() -> Iterator[Alert]:
    """A budget that was raised is another occasion."""
    permille = round(conf.get().alert_budget_share * 1000)
    over = ExpressionWrapper(Q(budget_minor__lte=USED * 1000 / permille), output_field=BooleanField())
    near = _campaigns().filter(status__in=[Status.RUNNING, Status.PAUSED], budget_minor__gt=0)
    for campaign in near.annotate(over=over).filter(over=True) if permille > 0 else []:
        figures = {
            "used": campaign.reserved_minor + campaign.spent_minor,
            "budget": campaign.budget_minor,
            "currency": campaign.currency,
        }
        yield Alert(
            campaign=campaign, kind=Kind.BUDGET, key=f"budget:{campaign.pk}:{campaign.budget_minor}", figures=figures
        )


def _silent(now: datetime) -> Iterator[Alert]:
    """A campaign on the shop's pages that has been running for a day and was shown to nobody in that day."""
    mine = Exposure.objects.filter(campaign=OuterRef("pk"))
    since = now - DAY
    turned = CampaignTransition.objects.filter(campaign=OuterRef("pk"), to_status=Status.RUNNING, at__gt=since)
    silent = (
        _campaigns()
        .filter(status=Status.RUNNING, delivery=Campaign.Delivery.ON_PAGE, starts_at__lte=since, ends_at__gt=now)
        .filter(~Exists(mine.filter(exposed_at__gt=since)), ~Exists(turned))
        .annotate(last=Subquery(mine.order_by("-exposed_at").values("exposed_at")[:1]))
        .prefetch_related("offers")
    )
    for campaign in silent:
        if not any(offer.slots for offer in campaign.offers.all()):
            continue  # its offers have no place on a page: it works through codes
        last = campaign.last or campaign.starts_at
        key = f"silent:{campaign.pk}:{int(last.timestamp())}"
        yield Alert(campaign=campaign, kind=Kind.SILENT, key=key, figures={"last": last.isoformat()})


def _liability() -> Iterator[Alert]:
    over = _campaigns().filter(status__in=OPEN, budget_minor__lt=USED + F("liability_minor"), liability_minor__gt=0)
    for campaign in over:
        figures = {
            "worst": campaign.reserved_minor + campaign.spent_minor + campaign.liability_minor,
            "budget": campaign.budget_minor,
            "currency": campaign.currency,
        }
        key = f"liability:{campaign.pk}:{campaign.budget_minor}"
        yield Alert(campaign=campaign, kind=Kind.LIABILITY, key=key, figures=figures)


def _review(now: datetime) -> Iterator[Alert]:
    """Once a day while anything waits."""
    waiting = risk.waiting().count()
    if waiting:
        yield Alert(kind=Kind.REVIEW, key=f"review:{_today(now)}", figures={"waiting": waiting})


def _push(now: datetime) -> Iterator[Alert]:
    """Once a day and campaign while messages fail."""
    failed = OutboxMessage.objects.filter(state=OutboxMessage.State.FAILED, created_at__gt=now - DAY)
    for row in failed.values("campaign").annotate(failed=Count("pk")).order_by("campaign"):
        key = f"push:{row['campaign']}:{_today(now)}"
        yield Alert(campaign_id=row["campaign"], kind=Kind.PUSH, key=key, figures={"failed": row["failed"]})


def _unsendable() -> Iterator[Alert]:
    """Once a campaign, and again when something else is lacking: it runs over channels that are not set up."""
    of = Trigger.objects.filter(active=True, campaign__in=_campaigns().filter(status=Status.RUNNING))
    used: dict[int, set[str]] = {}
    for campaign, names in of.order_by("campaign").values_list("campaign", "channels"):
        used.setdefault(campaign, set()).update(map(str, names))
    for campaign, names in used.items():
        lacking = channels.lacking(names)
        if lacking:
            key = f"channels:{campaign}:{channels.in_words(lacking)}"[:100]
            yield Alert(campaign_id=campaign, kind=Kind.PUSH, key=key, figures={"lacking": lacking})


def _today(now: datetime) -> str:
    return timezone.localdate(now).isoformat()


def mail_waiting(now: datetime | None = None) -> int:
    """Mail the alerts of the last day that were not mailed, in one message; returns how many it told of."""
    now = now or timezone.now()
    if not settings.MANAGERS:
        return 0
    unmailed = Alert.objects.filter(mailed_at=None, raised_at__gt=now - DAY)
    claimed = [
        alert
        for alert in unmailed.select_related("campaign").order_by("pk")
        if Alert.objects.filter(pk=alert.pk, mailed_at=None).update(mailed_at=now)
    ]
    if not claimed:
        return 0
    with translation.override(settings.LANGUAGE_CODE):
        subject = ngettext("%(count)d alert", "%(count)d alerts", len(claimed)) % {"count": len(claimed)}
        lines = [f"{alert.campaign.name}: {text(alert)}" if alert.campaign else text(alert) for alert in claimed]
    try:
        mail_managers(subject, "\n".join(lines))
    except Exception:  # the mail server is away: the next check tries again
        logger.warning("alerts could not be mailed", exc_info=True)
        Alert.objects.filter(pk__in=[alert.pk for alert in claimed]).update(mailed_at=None)
        return 0
    return len(claimed)


def text(alert: Alert) -> str:
    """Return what happened as a sentence, in the language that is active."""
    figures = alert.figures if isinstance(alert.figures, dict) else {}
    if alert.kind in _WORDS:
        return _WORDS[alert.kind](figures)
    currency = str(figures.get("currency") or conf.get().currency)
    money = {name: money_text(int(figures.get(name) or 0), currency) for name in ("used", "worst", "budget")}
    match alert.kind:
        case Kind.BUDGET:
            return _("%(used)s of the budget of %(budget)s are used.") % money
        case Kind.SILENT:
            return _("The campaign runs, but nobody has been shown anything of it for a day.")
        case Kind.LIABILITY:
            return _("Used and promised discounts could reach %(worst)s; the budget is %(budget)s.") % money
        case Kind.REVIEW:
            count = int(figures.get("waiting") or 0)
            return ngettext("%(count)d redemption waits.", "%(count)d redemptions wait.", count) % {"count": count}
        case _ if isinstance(figures.get("lacking"), dict):
            told = channels.in_words(figures["lacking"])
            return _("These settings are empty, so nobody is reached. %(channels)s.") % {"channels": told}
        case _:
            count = int(figures.get("failed") or 0)
            return ngettext("%(count)d message failed.", "%(count)d messages failed.", count) % {"count": count}


def unseen() -> QuerySet[Alert]:
    """Return the alerts that nobody has marked as seen, newest first."""
    return Alert.objects.filter(seen_at=None).select_related("campaign").order_by("-raised_at", "-pk")


def mark_seen(alerts: QuerySet[Alert], by: object) -> int:
    """Mark alerts as seen by somebody; what was seen before keeps its first reader."""
    return alerts.filter(seen_at=None).update(seen_at=timezone.now(), seen_by=by)
