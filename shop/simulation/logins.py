"""Who a person at the terminal may sign in as: the owner of the demo, and a few of its shoppers.

Passwords are drawn anew at every start and shown once; the simulation's other accounts have none.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from personalization.types import OfferKind
from shop.simulation.hostrows import user_name
from shop.simulation.offers import KINDS
from shop.simulation.people import People
from shop.simulation.words import TIERS

ADMIN = "admin"
PASSWORD_BYTES = 12


@dataclass(frozen=True)
class Login:
    """One account, with what makes it worth a look."""

    name: str
    password: str
    about: str


def admin_login() -> Login:
    """Create the demo's superuser, or give it a new password."""
    user, _created = User.objects.get_or_create(username=ADMIN, defaults={"email": "admin@example.com"})
    user.is_staff = user.is_superuser = user.is_active = True
    return Login(ADMIN, _new_password(user), _("the owner, at /admin/"))


def shopper_logins(people: People) -> list[Login]:
    """Open a few telling accounts: each likes one kind of offer far better than the others."""
    about = {
        OfferKind.COUPON: _("a shopper who loves coupons"),
        OfferKind.FLASH_SALE: _("a shopper who waits for flash sales"),
        OfferKind.MEMBER_EXCLUSIVE: _("a gold member"),
    }
    logins = []
    for kind, words in about.items():
        user = User.objects.filter(username=user_name(people, typical_of(people, kind))).first()
        if user is not None:
            logins.append(Login(user.username, _new_password(user), words))
    return logins


def typical_of(people: People, kind: OfferKind) -> int:
    """Return the number of the account that prefers this kind most; a gold member for the members' offers."""
    column = KINDS.index(kind)
    others = np.delete(people.deal_taste, column, axis=1).mean(axis=1)
    lead = people.deal_taste[:, column] - others
    fits = people.consents & ~people.visitor & (people.joined < 0)
    fits &= people.visits_per_day > np.median(people.visits_per_day)
    gold = people.tier == TIERS.index("gold")
    fits &= gold if kind == OfferKind.MEMBER_EXCLUSIVE else ~gold
    return int(np.where(fits, lead, -np.inf).argmax())


def _new_password(user: User) -> str:
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    user.set_password(password)
    user.save()
    return password
