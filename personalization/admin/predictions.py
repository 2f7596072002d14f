"""What the latest scores say about one shopper, for their page: likely kinds, offers, interests, products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext as _

from personalization import conf
from personalization.admin.causes import Why, why_of
from personalization.admin.display import DASH, change_url, money, number, percent
from personalization.admin.explanation import head_labels, head_texts, names_of, shares_in_words
from personalization.admin.outcomes import Line, table
from personalization.decisioning import eligibility, session
from personalization.features import intent
from personalization.learning.figures import is_number, mapping
from personalization.learning.wordings import kinds_of_offers
from personalization.models import Campaign, CatalogItem, Offer, ScoreSet, Shopper, ShopperScores

MOST = 12


@dataclass(frozen=True)
class Share:
    """A name with a share between 0 and 1, for a bar."""

    name: str
    share: float
    text: str

    @property
    def width(self) -> str:
        return f"{min(max(self.share, 0.0), 1.0) * 100:.1f}"


@dataclass(frozen=True)
class OfferEffects:
    """One offer's predicted effects for the shopper.

    ``barred``: why the shopper cannot get it now. It has no explanation then: nothing of it is shown to them.
    """

    name: str
    url: str
    heads: tuple[str, ...]
    barred: str = ""
    why: Why | None = None


@dataclass(frozen=True)
class Predictions:
    """All of one shopper's scores, ready to show."""

    score_set: ScoreSet
    is_live: bool
    kinds: list[Share]
    head_labels: list[str]
    offers: list[OfferEffects]
    interest: list[Share]
    products: list[str]
    values: list[tuple[str, str]]


def predictions_of(shopper: Shopper) -> Predictions | None:
    """Return the shopper's live scores, else the newest ones; None if there are none, or no consent to show them."""
    if not shopper.consent_personalisation:
        return None
    scores = ShopperScores.objects.filter(shopper=shopper).select_related("score_set")
    row = scores.filter(score_set__state=ScoreSet.State.LIVE).first() or scores.order_by("-score_set_id").first()
    if row is None:
        return None
    values = row.values if isinstance(row.values, Mapping) else {}
    return Predictions(
        score_set=row.score_set,
        is_live=row.score_set.state == ScoreSet.State.LIVE,
        kinds=_shares(row.kinds, kinds_of_offers()),
        head_labels=head_labels(),
        offers=_offers(row.offers, row.reasons, shopper),
        interest=_shares(values.get("interest"), {}),
        products=_products(row.items),
        values=_values(values) + _intent(row),
    )


def defaults(score_set: ScoreSet) -> str | SafeString:
    """Return what a set gives to shoppers who are not in it: averages, by offer and by kind."""
    stored = mapping(score_set.defaults)
    offers = mapping(stored.get("offers"))
    known = Offer.objects.select_related("campaign").in_bulk([int(key) for key in offers if _is_key(key)])
    names = names_of(known)
    lines = [
        Line(names.get(int(key) if _is_key(key) else 0, _("Offer %(id)s (gone)") % {"id": key}), _effects(heads))
        for key, heads in offers.items()
    ]
    kinds = kinds_of_offers()
    lines += [
        Line(_("Any %(kind)s") % {"kind": kinds.get(kind, kind)}, _effects(heads))
        for kind, heads in mapping(stored.get("kinds")).items()
    ]
    pairs = (
        (_("Likely kinds of offer"), shares_in_words(stored.get("strategy"), kinds)),
        *_values(stored),
        (_("Products"), ", ".join(_products(stored.get("items")))),
        (_("Quick model"), _("yes") if stored.get("quick") else _("no")),
    )
    return table([*lines, *(Line(name, value) for name, value in pairs if value not in ("", DASH))]) if stored else DASH


def _is_key(key: Any) -> bool:
    return str(key).isascii() and str(key).isdecimal() and len(str(key)) < 19


def _effects(heads: Any) -> str:
    return " · ".join(f"{name} {text}" for name, text in zip(head_labels(), head_texts(heads), strict=True))


def _shares(value: Any, names: Mapping[str, Any]) -> list[Share]:
    if not isinstance(value, Mapping):
        return []
    shares = [
        Share(str(names.get(str(key), key)), float(share), percent(share))
        for key, share in value.items()
        if is_number(share)
    ]
    return sorted(shares, key=lambda item: -item.share)[:MOST]


def _offers(value: Any, reasons: Any, shopper: Shopper) -> list[OfferEffects]:
    if not isinstance(value, Mapping):
        return []
    told = mapping(reasons)
    parts = mapping(told.get("offers"))
    keys = [int(key) for key in value if str(key).isdecimal() and len(str(key)) < 19]
    known = Offer.objects.select_related("campaign").in_bulk(keys)
    names, now = names_of(known), timezone.now()
    recent = session.read(shopper, now)
    _open, barred, _held = eligibility.split(list(known.values()), shopper, personal=True, recent=recent, now=now)
    effects = []
    for key, heads in list(value.items())[: MOST * 2]:
        offer = known.get(int(key)) if str(key).isdecimal() else None
        name = names[offer.pk] if offer is not None else _("Offer %(id)s (gone)") % {"id": key}
        url = change_url(Campaign, offer.campaign_id) if offer is not None else ""
        code = barred.get(offer.pk, "") if offer is not None else "gone"
        own = None if code else parts.get(key)
        why = why_of({"head": told.get("head"), **own}) if isinstance(own, Mapping) else None
        effects.append(OfferEffects(name, url, head_texts(heads), _barred_in_words(code), why))
    return effects


def _barred_in_words(code: str) -> str:
    if not code:
        return ""
    return gettext(eligibility.REASONS[code]) if code in eligibility.REASONS else code.replace("_", " ")


def _products(value: Any) -> list[str]:
    ids = [str(item) for item in value[:MOST]] if isinstance(value, list) else []
    titles = dict(CatalogItem.objects.filter(item_id__in=ids).values_list("item_id", "title"))
    return [titles.get(item, item) for item in ids]


def _intent(row: ShopperScores) -> list[tuple[str, str]]:
    """Return the purchase intent with its band, under the days that the set looks ahead; without a model nothing."""
    if row.intent is None:
        return []
    name = _("Likely to buy within %(days)s days") % {"days": row.score_set.intent_days}
    return [(name, f"{percent(row.intent)} ({intent.BANDS[intent.band(row.intent, row.score_set)]})")]


def _values(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = [(_("Expected basket"), money(values.get("basket_minor"), conf.get().currency))]
    visits = values.get("visit_rate")
    pairs.append((_("Visits a day"), number(visits) if isinstance(visits, int | float) else DASH))
    return [pair for pair in pairs if pair[1] != DASH]
