"""What a campaign has to share with others: places, baskets and products. Told in sentences, with links.

One query brings every campaign that runs in the same days; whether two audiences share somebody is asked for at most
``MOST`` of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from personalization import conf
from personalization.admin.display import change_url, words_of
from personalization.admin.moments import moment
from personalization.exceptions import PersonalizationError
from personalization.features import audiences
from personalization.models import Campaign, Offer
from personalization.types import OfferKind

MOST = 10
LIVE = [
    Campaign.Status.REVIEW,
    Campaign.Status.SCHEDULED,
    Campaign.Status.RUNNING,
    Campaign.Status.PAUSED,
]


@dataclass(frozen=True)
class Conflict:
    """One sentence about one other campaign. ``serious``: it costs money or hides an offer, and wants a decision."""

    campaign: str
    url: str
    sentence: str
    serious: bool


@dataclass(frozen=True)
class Conflicts:
    """What was found; ``unseen`` overlapping campaigns were not looked at."""

    found: list[Conflict]
    unseen: int = 0

    @property
    def serious(self) -> list[Conflict]:
        return [conflict for conflict in self.found if conflict.serious]


def of_campaign(campaign: Campaign) -> Conflicts:
    """Return the conflicts of a stored campaign with those that run or shall run in the same days."""
    others = list(_overlapping(campaign)[: MOST + 50])
    mine = list(campaign.offers.order_by("pk"))
    touching = [(other, _sentences(campaign, mine, other)) for other in others]
    touching = [(other, lines) for other, lines in touching if lines]
    found = []
    for other, lines in touching[:MOST]:
        if not _share_somebody(campaign, other):
            continue
        url = change_url(Campaign, other.pk)
        found += [Conflict(other.name, url, sentence, serious) for sentence, serious in lines]
    found.sort(key=lambda conflict: not conflict.serious)
    return Conflicts(found, unseen=max(len(touching) - MOST, 0))


def _overlapping(campaign: Campaign) -> QuerySet[Campaign]:
    return (
        Campaign.objects.filter(
            status__in=LIVE,
            population=campaign.population,
            starts_at__lt=campaign.ends_at,
            ends_at__gt=campaign.starts_at,
        )
        .exclude(pk=campaign.pk)
        .prefetch_related("offers")
        .order_by("starts_at", "pk")
    )


def _sentences(campaign: Campaign, mine: list[Offer], other: Campaign) -> list[tuple[str, bool]]:
    """Return what the two campaigns collide in, each with whether it is serious."""
    ours, others = set(words_of(campaign.sites)), set(words_of(other.sites))
    if ours and others and not ours & others:
        return []
    theirs = list(other.offers.all())
    return [*_places(campaign, mine, other, theirs), *_baskets(mine, theirs)]


def _places(campaign: Campaign, mine: list[Offer], other: Campaign, theirs: list[Offer]) -> list[tuple[str, bool]]:
    on_page = Campaign.Delivery.ON_PAGE
    if campaign.delivery != on_page or other.delivery != on_page:
        return []
    shared = {slot for offer in mine for slot in words_of(offer.slots)} & {
        slot for offer in theirs for slot in words_of(offer.slots)
    }
    if not shared:
        return []
    names = conf.get().slots
    days = _("%(first)s to %(last)s") % {
        "first": moment(max(campaign.starts_at, other.starts_at), campaign.time_zone),
        "last": moment(min(campaign.ends_at, other.ends_at), campaign.time_zone),
    }
    sentence = _("It wants the same place (%(slots)s) from %(days)s. Each shopper gets what is predicted to suit them.")
    return [
        (sentence % {"slots": ", ".join(sorted(str(names.get(slot, slot)) for slot in shared)), "days": days}, False)
    ]


def _slots(offers: list[Offer]) -> set[str]:
    return {slot for offer in offers for slot in words_of(offer.slots)}


def _baskets(mine: list[Offer], theirs: list[Offer]) -> list[tuple[str, bool]]:
    """Return what happens where offers of both campaigns meet in one basket: one sentence a reason."""
    groups: set[str] = set()
    alone: set[str] = set()
    stacked: set[tuple[str, str]] = set()
    for own in mine:
        for offer in theirs:
            if OfferKind.ANNOUNCEMENT in (own.kind, offer.kind):
                continue
            if own.exclusion_group and own.exclusion_group == offer.exclusion_group:
                groups.add(own.exclusion_group)
            elif own.exclusive or offer.exclusive:
                alone.add(own.name if own.exclusive else offer.name)
            elif _same_products(own, offer):
                stacked.add((own.name, offer.name))
    lines: list[tuple[str, bool]] = []
    if groups:
        text = _("Offers of both are in the exclusion group %(groups)s: a basket gets at most one of them.")
        lines.append((text % {"groups": ", ".join(sorted(groups))}, False))
    if alone:
        text = _("%(offers)s cannot be used with any other offer: where both fit, the shopper gets the better one.")
        lines.append((text % {"offers": _listed(sorted(alone))}, False))
    if stacked:
        text = _("Both discount the same products and may be used together: %(pairs)s.")
        pairs = [_("“%(one)s” with “%(other)s”") % {"one": one, "other": other} for one, other in sorted(stacked)]
        lines.append((text % {"pairs": ", ".join(pairs[:3]) + (" …" if len(pairs) > 3 else "")}, True))
    return lines


def _same_products(one: Offer, other: Offer) -> bool:
    """Tell whether one product can be discounted by both."""
    ours, others = set(words_of(one.item_ids)), set(words_of(other.item_ids))
    if ours and others and not ours & others:
        return False
    return not (one.category and other.category) or one.category == other.category


def _share_somebody(one: Campaign, other: Campaign) -> bool:
    """Tell whether anybody is in both audiences; a rule that cannot be read may reach anybody."""
    if not one.audience or not other.audience:
        return True
    try:
        # The sets differ in their moments at most; who is in both is one EXISTS.
        both = audiences.reachable(one).filter(Q(pk__in=audiences.reachable(other).values("pk")))
        return bool(both.exists())
    except PersonalizationError:
        return True


def _listed(names: list[str]) -> str:
    return ", ".join(f"“{name}”" for name in names)
