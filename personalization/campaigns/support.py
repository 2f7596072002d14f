"""The support desk: find a shopper, re-issue a coupon, give goodwill within a monthly limit, show a code.

Goodwill is shop credit and belongs to no campaign: any amount fits, no terms have to be invented for it, and what is
left over stays with the shopper. Everything that is done leaves a :class:`SupportAction`, with who and why.
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from personalization import conf
from personalization.campaigns import codes, coupons, giftcards, liability
from personalization.exceptions import AllowanceUsedUp, ClaimRefused, GiftCardRefused
from personalization.models import (
    Allowance,
    Coupon,
    GiftCard,
    GiftCardEntry,
    Offer,
    Redemption,
    Shopper,
    ShopperAlias,
    SupportAction,
)
from personalization.tracking import secrets

Kind = SupportAction.Kind
MOST = 20
"""Shoppers that one search returns."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search led to. Coupons and cards are there if the text was a code, whoever they belong to."""

    shoppers: list[Shopper]
    coupons: list[Coupon]
    cards: list[GiftCard]

    def __bool__(self) -> bool:
        return bool(self.shoppers or self.coupons or self.cards)


def find(text: str) -> Found:
    """Find by an account's name or e-mail, an order number, a pseudonym, an imported id, a guest's reference or a code.

    Everything is looked up exactly, and the text is kept nowhere: it may be a code.
    """
    text = text.strip()
    if not text:
        return Found([], [], [])
    by_code = codes.digests(text)
    found_coupons = list(Coupon.objects.select_related("offer__campaign").filter(code_digest__in=by_code))
    cards = list(GiftCard.objects.filter(code_digest__in=by_code, kind=GiftCard.Kind.CARD))
    holders = [*(coupon.shopper_id for coupon in found_coupons), *(card.shopper_id for card in cards)]
    wanted = Q(pk__in=[pk for pk in holders if pk is not None])
    wanted |= Q(user__in=_accounts(text))
    wanted |= Q(pk__in=Redemption.objects.filter(order_id=text).values("shopper"))
    wanted |= Q(pk__in=GiftCardEntry.objects.filter(order_id=text).values("card__shopper"))
    wanted |= Q(pk__in=_known_as(text))
    with contextlib.suppress(ValueError):
        wanted |= Q(key=uuid.UUID(text.split(":")[-1]))
    rows = Shopper.objects.select_related("user", "merged_into__user").filter(wanted).order_by("pk")[:MOST]
    people = {shopper.pk: shopper for shopper in (row.merged_into or row for row in rows)}
    return Found(list(people.values()), found_coupons, cards)


def _accounts(text: str) -> Any:
    account: Any = get_user_model()
    same = Q(**{account.USERNAME_FIELD: text})
    email = account.get_email_field_name()
    if "@" in text and any(field.name == email for field in account._meta.fields):
        same |= Q(**{f"{email}__iexact": text})
    return account._default_manager.filter(same).values("pk")[:MOST]


def _known_as(text: str) -> Any:
    guest = Q(kind=ShopperAlias.Kind.GUEST, value__in=secrets.digests(text.lower(), "guest"))
    imported = Q(kind=ShopperAlias.Kind.EXTERNAL, value=text)
    return ShopperAlias.objects.filter(guest | imported).values("shopper")


# --- Re-issue ---------------------------------------------------------------------------------------------------------


def reissue(coupon: Coupon, *, by: Any, reason: str) -> Coupon:
    """Void a coupon and issue another of the same offer for its shopper; repeated it returns the one issued.

    The offer's limits count the new one like any other. Raises ClaimRefused, with a reason for staff: the campaign is
    over, all are issued, the code is for many, the coupon is used up, or a basket holds it right now.
    """
    done = _replacement(coupon)
    if done is not None:
        return done
    if coupon.shopper_id is None and coupon.max_uses > 1:
        raise ClaimRefused(reason="shared")
    refusal = coupons.closed_reason(coupon.offer, timezone.now())
    if refusal not in {"", "paced"}:
        raise ClaimRefused(reason=refusal)
    try:
        with transaction.atomic():
            return _reissue(coupon, by, reason)
    except (IntegrityError, ClaimRefused) as error:  # perhaps the same re-issue, at the same moment
        done = _replacement(coupon)
        if done is None:
            raise (error if isinstance(error, ClaimRefused) else ClaimRefused(reason="at_once")) from None
        return done


def _replacement(coupon: Coupon) -> Coupon | None:
    return Coupon.objects.select_related("offer__campaign").filter(replaces=coupon).order_by("issued_at").first()


def _reissue(coupon: Coupon, by: Any, reason: str) -> Coupon:
    unused = Coupon.objects.filter(pk=coupon.pk, voided_at=None, reserved_count=0, max_uses__gt=F("used_count"))
    if not unused.update(voided_at=timezone.now()):
        spent = Coupon.objects.filter(pk=coupon.pk, max_uses__lte=F("used_count")).exists()
        raise ClaimRefused(reason="used_up" if spent else "in_basket_or_void")
    # The offer before its campaign, as everywhere: dropping the old one's liability locks the campaign.
    offer = Offer.objects.select_for_update(of=("self",)).select_related("campaign").get(pk=coupon.offer_id)
    coupon.refresh_from_db()
    liability.drop(coupon)
    new = coupons.issue(
        offer,
        shopper=coupon.shopper,
        origin=Coupon.Origin.SUPPORT,
        max_uses=coupon.max_uses - coupon.used_count,
        claim_key=f"reissue:{coupon.pk}",
        replaces=coupon,
    )
    SupportAction.objects.create(
        operation_id=f"reissue:{coupon.pk}",
        kind=Kind.REISSUE,
        by=by,
        shopper=coupon.shopper,
        coupon=new,
        reason=reason[:300],
    )
    return new


# --- Goodwill ---------------------------------------------------------------------------------------------------------


def give_goodwill(
    shopper: Shopper, amount_minor: int, currency: str, *, by: Any, reason: str, idempotency_key: str
) -> GiftCard:
    """Give a shopper credit; for somebody without an account, who could not use credit, a gift card with a code.

    The same key of the same member of staff gives once. Raises AllowanceUsedUp when the month's limit does not
    cover it, GiftCardRefused for an amount that is not positive, ClaimRefused when the key stands for another gift.
    """
    if amount_minor <= 0:
        raise GiftCardRefused("A credit is more than nothing.", reason="amount")
    key = f"goodwill:{by.pk}:{idempotency_key}"[:140]
    given = {"shopper": shopper, "amount_minor": amount_minor, "currency": currency}
    try:
        with transaction.atomic():
            return _given_before(key, given) or _give(key, given, by, reason)
    except IntegrityError:  # the same key, at the same moment
        card = _given_before(key, given)
        if card is None:
            raise
        return card


def _given_before(key: str, given: dict[str, Any]) -> GiftCard | None:
    done = SupportAction.objects.select_related("card").filter(operation_id=key).first()
    if done is None:
        return None
    if done.card is None or {name: getattr(done, name) for name in given} != given:
        raise ClaimRefused(reason="other_gift")
    return done.card


def _give(key: str, given: dict[str, Any], by: Any, reason: str) -> GiftCard:
    shopper, amount, currency = given["shopper"], given["amount_minor"], given["currency"]
    allowance = allowance_of(by, currency)
    taken = Allowance.objects.filter(pk=allowance.pk, granted_minor__lte=F("limit_minor") - amount).update(
        granted_minor=F("granted_minor") + amount
    )
    if not taken:
        raise AllowanceUsedUp
    if shopper.user_id is not None:
        card = giftcards.credit(shopper, amount, currency, operation_id=key, by=by)
    else:
        card = giftcards.issue(amount, currency, operation_id=key, shopper=shopper, by=by)
    SupportAction.objects.create(operation_id=key, kind=Kind.GOODWILL, by=by, card=card, reason=reason[:300], **given)
    return card


def allowance_of(user: Any, currency: str, now: datetime | None = None) -> Allowance:
    """Return what this member of staff may still give this month; made on demand with the limit from the settings."""
    month = timezone.localdate(now or timezone.now()).replace(day=1)
    allowance, _made = Allowance.objects.get_or_create(
        user=user, month=month, currency=currency, defaults={"limit_minor": conf.get().goodwill_limit_minor}
    )
    return allowance


# --- Codes ------------------------------------------------------------------------------------------------------------


def masked(ciphertext: str) -> str:
    """Return a code of which only the end can be read; nothing of one too short to hide."""
    code = codes.reveal(ciphertext)
    return f"…{code[-4:]}" if len(codes.normalise(code)) >= codes.LENGTH else "…"


def reveal(of: Coupon | GiftCard, *, by: Any, reason: str = "") -> str:
    """Return a code in clear text, and write down who looked at it; empty if no key fits any more."""
    SupportAction.objects.create(
        operation_id=f"reveal:{uuid.uuid4().hex}",
        kind=Kind.REVEAL,
        by=by,
        shopper_id=of.shopper_id,
        coupon=of if isinstance(of, Coupon) else None,
        card=of if isinstance(of, GiftCard) else None,
        reason=reason[:300],
    )
    return codes.reveal(of.code_ciphertext)
