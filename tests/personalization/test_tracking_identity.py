"""Who is behind a request: visitor, account, guest; who becomes one person at login, and who never does."""

from __future__ import annotations

from unittest import mock

import pytest
from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.signals import user_logged_in
from django.urls import reverse
from django.utils import timezone

from personalization import api
from personalization.models import (
    ConsentRecord,
    Coupon,
    Decision,
    Event,
    Exposure,
    FormerAlias,
    QuarantinedEvent,
    Shopper,
    ShopperAlias,
    ShopperMerge,
)
from personalization.tracking import consent, identity, impersonation, logins, merging
from personalization.types import CONSENT_PURPOSES, ProfileData, Purpose, ShopperData
from tests.personalization import host
from tests.personalization.builders import (
    Browser,
    event,
    make_account,
    make_alias,
    make_event,
    make_offer,
    make_request,
    make_shopper,
)
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db


def log_in(browser: Browser, account: object) -> None:
    given = {"username": account, "password": "pw", "csrfmiddlewaretoken": browser.csrf()}
    assert browser.post(reverse("shop:login"), given).status_code == 302


def log_out(browser: Browser) -> None:
    browser.post(reverse("shop:logout"), {"csrfmiddlewaretoken": browser.csrf()})


# --- Login ------------------------------------------------------------------------------------------------------------


def test_a_visitor_becomes_the_account_that_logs_in(visitor: Browser) -> None:
    visitor.events(event("product_viewed", item_id="p-1"), event("teleported"))
    before = visitor.shopper()
    issued = api.claim(make_offer().pk, shopper=before)
    account = make_account("ada")
    log_in(visitor, "ada")
    joined = Shopper.objects.get(user=account)
    assert joined == visitor.shopper()  # the cookie leads to the account now
    assert Event.objects.filter(shopper=joined, item_id="p-1").exists()
    assert Coupon.objects.get(pk=issued.coupon_id).shopper == joined
    assert QuarantinedEvent.objects.get().shopper == joined
    assert all(joined.allows(purpose) for purpose in CONSENT_PURPOSES)
    before.refresh_from_db()
    assert before.merged_into == joined
    assert not any(before.allows(purpose) for purpose in CONSENT_PURPOSES)
    assert visitor.events(event()).json()["accepted"] == 1


def test_nothing_of_a_visitor_is_left_behind(shopper: Shopper) -> None:
    """Every table with a shopper: rooms that add one are found here. What stays is history: whose an id was."""
    offer = make_offer()
    request = make_request(visitor=make_alias(shopper))
    make_event(shopper)
    QuarantinedEvent.objects.create(source="web", payload={}, reason="bad", shopper=shopper)
    Exposure.objects.create(shopper=shopper, exposed_at=timezone.now(), window_ends_at=timezone.now())
    Decision.objects.create(shopper=shopper, slot="home_hero", eligible=[], excluded={}, chosen=[], policy="p")
    api.claim(offer.pk, shopper=shopper)
    account = logins.link_at_login(request, make_account())
    assert account is not None
    for relation in Shopper._meta.related_objects:
        model = relation.related_model
        if relation.field.name == "shopper" and isinstance(model, type) and model is not FormerAlias:
            assert not model._default_manager.filter(shopper=shopper).exists(), model
    assert shopper.pk != account.pk


def test_a_second_account_is_never_merged(visitor: Browser) -> None:
    make_account("ada"), make_account("bob")
    log_in(visitor, "ada")
    visitor.events(event("product_viewed", item_id="adas"))
    log_out(visitor)
    log_in(visitor, "bob")
    visitor.events(event("product_viewed", item_id="bobs"))
    ada, bob = Shopper.objects.get(user__username="ada"), Shopper.objects.get(user__username="bob")
    assert ada.merged_into is None
    assert bob.merged_into is None
    assert Event.objects.filter(shopper=ada, item_id="adas").exists()
    assert not Event.objects.filter(shopper=bob, item_id="adas").exists()
    assert not Event.objects.filter(shopper=ada, item_id="bobs").exists()


def test_signing_out_leaves_a_strangers_browser(visitor: Browser) -> None:
    make_account("ada")
    log_in(visitor, "ada")
    old = visitor.visitor()
    log_out(visitor)
    assert visitor.visitor() == ""
    assert visitor.events(event()).status_code == 204
    visitor.cookies["pz_visitor"] = old  # nor does a copy of the cookie lead to the account
    assert visitor.events(event()).status_code == 204
    visitor.answer("all")
    assert visitor.events(event()).json()["accepted"] == 1
    assert Event.objects.get(type="page_viewed").shopper.user is None


def test_a_browser_that_leads_to_one_account_merges_it_into_no_other(db: None) -> None:
    """However the cookie outlived the first account's visit."""
    first, second = make_account(), make_account()
    before = api.shopper_for_user(first)
    make_event(before, item_id="firsts")
    joined = logins.link_at_login(make_request(visitor=make_alias(before)), second)
    assert joined is not None
    before.refresh_from_db()
    assert joined.user == second
    assert (before.user, before.merged_into) == (first, None)
    assert not Event.objects.filter(shopper=joined).exists()


@pytest.mark.parametrize("key", impersonation.SESSION_MARKS)
def test_staff_who_log_in_as_a_shopper_are_never_merged_with_them(shopper: Shopper, key: str) -> None:
    account = make_account()
    joined = api.shopper_for_user(account)
    request = make_request(visitor=make_alias(shopper), user=account)
    request.session[key] = "1"
    assert logins.link_at_login(request, account) == joined
    shopper.refresh_from_db()
    assert shopper.merged_into is None
    assert api.shopper_for(request) == joined


def test_a_shared_browser_forgets_the_account_before(visitor: Browser) -> None:
    """The first session lapsed without signing out; then somebody else of the household signs in."""
    make_account("ada"), make_account("bob")
    log_in(visitor, "ada")
    visitor.events(event("product_viewed", item_id="adas"))
    ada, cookie = visitor.shopper(), visitor.visitor()
    del visitor.cookies[settings.SESSION_COOKIE_NAME]
    log_in(visitor, "bob")
    assert visitor.visitor() == ""
    bob = Shopper.objects.get(user__username="bob")
    visitor.answer("all")
    visitor.events(event("product_viewed", item_id="bobs"))
    seen = Event.objects.filter(type="product_viewed").values_list("item_id", "shopper")
    assert dict(seen) == {"adas": ada.pk, "bobs": bob.pk}
    assert not ShopperMerge.objects.filter(account=bob).exists()
    assert not ShopperAlias.objects.filter(value=cookie).exists()
    assert visitor.shopper() == bob  # consent gave the browser an id of its own


def test_two_devices_lead_to_one_account(visitor: Browser) -> None:
    make_account("ada")
    phone = Browser()
    phone.answer("all")
    for device, item in ((visitor, "desk"), (phone, "phone")):
        device.events(event("product_viewed", item_id=item))
        log_in(device, "ada")
    assert visitor.shopper() == phone.shopper() == Shopper.objects.get(user__username="ada")
    assert Event.objects.filter(shopper=phone.shopper(), type="product_viewed").count() == 2
    log_out(phone)
    assert visitor.shopper().user is not None  # the other device knows them still
    assert phone.visitor() == ""


def test_logging_in_again_merges_nothing_more(visitor: Browser) -> None:
    make_account("ada")
    log_in(visitor, "ada")
    log_out(visitor)
    log_in(visitor, "ada")
    assert Shopper.objects.filter(merged_into=None).count() == 1
    assert Event.objects.filter(type="logged_in").count() == Event.objects.count()


def test_a_login_without_a_request_or_visitor_is_no_trouble(db: None) -> None:
    account = make_account()
    user_logged_in.send(sender=type(account), request=None, user=account)
    assert not Shopper.objects.exists()
    joined = logins.link_at_login(make_request(), account)
    assert joined is not None
    assert joined.user == account


# --- Consent at a merge -----------------------------------------------------------------------------------------------


def merged(visitors: set[Purpose], accounts: set[Purpose] | None) -> Shopper:
    """Log a visitor with this consent in to an account with that one (None: it has never been asked)."""
    account = make_account()
    joined = api.shopper_for_user(account)
    if accounts is not None:
        consent.record(joined, CONSENT_PURPOSES, source="test")
        consent.record(joined, accounts, source="test")
    known = Shopper.objects.create()
    consent.record(known, visitors, source="banner")
    logins.link_at_login(make_request(visitor=make_alias(known)), account)
    joined.refresh_from_db()
    return joined


def test_an_account_that_was_never_asked_takes_over_the_visitors_answer(db: None) -> None:
    joined = merged({Purpose.PERSONALISATION}, None)
    assert joined.allows(Purpose.PERSONALISATION)
    assert not joined.allows(Purpose.ANALYTICS)


@pytest.mark.parametrize("visitors", [set(), {Purpose.PERSONALISATION}, set(CONSENT_PURPOSES)])
def test_an_accounts_own_answer_stands(db: None, visitors: set[Purpose]) -> None:
    joined = merged(visitors, {Purpose.ANALYTICS})
    assert joined.allows(Purpose.ANALYTICS)
    assert not joined.allows(Purpose.PERSONALISATION)
    assert not joined.allows(Purpose.MARKETING)


def test_after_a_merge_the_flags_still_are_the_ledgers_latest_word(db: None) -> None:
    for visitors, accounts in [
        (set(CONSENT_PURPOSES), set()),
        (set(), set(CONSENT_PURPOSES)),
        ({Purpose.ANALYTICS}, None),
    ]:
        joined = merged(visitors, accounts)
        latest = dict(
            ConsentRecord.objects.filter(shopper=joined).order_by("at", "pk").values_list("purpose", "granted")
        )
        for purpose in CONSENT_PURPOSES:
            assert joined.allows(purpose) == latest.get(purpose.value, False), (visitors, accounts, purpose)


def test_a_coupon_that_the_account_holds_already_is_not_doubled(db: None) -> None:
    offer = make_offer()
    account = make_account()
    joined = api.shopper_for_user(account)
    known = make_shopper()
    first, second = api.claim(offer.pk, shopper=joined), api.claim(offer.pk, shopper=known)
    logins.link_at_login(make_request(visitor=make_alias(known)), account)
    assert [str(pk) for pk in Coupon.objects.filter(shopper=joined).values_list("pk", flat=True)] == [first.coupon_id]
    assert Coupon.objects.get(pk=second.coupon_id).shopper == known  # spent by nobody


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_a_contract_write_makes_a_shopper_of_the_session(db: None) -> None:
    request = make_request()
    assert api.shopper_for(request) is None
    made = api.shopper_for(request, create=True)
    assert made is not None
    assert not any(made.allows(purpose) for purpose in CONSENT_PURPOSES)
    again = make_request()
    again.session = request.session
    assert api.shopper_for(again) == made
    assert api.shopper_for(make_request()) is None


def test_consent_after_a_claim_keeps_the_shopper(browser: Browser) -> None:
    issued = browser.call("api-claim", {"offer_id": make_offer().pk}).json()
    browser.answer("all")
    assert Coupon.objects.get(pk=issued["coupon_id"]).shopper == browser.shopper()


def test_an_account_wins_over_the_visitor_cookie(shopper: Shopper) -> None:
    account = make_account()
    request = make_request(visitor=make_alias(shopper), user=account)
    assert api.shopper_for(request) is None
    made = api.shopper_for(request, create=True)
    assert made is not None
    assert made.user == account
    logout(request)


def test_an_account_has_one_shopper_with_its_profile(hosted: None) -> None:
    account = make_account()
    joined_at = timezone.now()
    host.PROFILES[account.pk] = ProfileData(joined_at=joined_at, attributes={"age": 40, "tier": "gold"})
    one = api.shopper_for_user(account)
    assert one == api.shopper_for_user(account) == identity.shopper_for_user_id(account.pk)
    assert (one.joined_at, one.attributes) == (joined_at, {"age": 40, "tier": "gold"})
    host.PROFILES[account.pk] = ProfileData(joined_at=joined_at, attributes={"age": 41})
    assert identity.sync_profiles() == 1
    one.refresh_from_db()
    assert one.attributes == {"age": 41}


# --- Guests -----------------------------------------------------------------------------------------------------------


def test_a_guest_is_known_by_a_hash_alone(configure: Configure, db: None) -> None:
    guest = identity.shopper_for_guest(" Ada@Example.org ")
    assert guest == identity.shopper_for_guest("ada@example.org")
    assert guest != identity.shopper_for_guest("bob@example.org")
    assert "ada" not in str(list(ShopperAlias.objects.values())).lower()
    assert not any(guest.allows(purpose) for purpose in CONSENT_PURPOSES)


def test_a_guest_is_found_again_after_the_keys_were_rotated(configure: Configure, db: None) -> None:
    configure(SECRET_KEYS=["old"])
    guest = identity.shopper_for_guest("ada@example.org")
    configure(SECRET_KEYS=["new", "old"])
    assert identity.shopper_for_guest("ada@example.org") == guest
    configure(SECRET_KEYS=["new"])
    assert identity.shopper_for_guest("ada@example.org") != guest


# --- Bulk -------------------------------------------------------------------------------------------------------------


def test_shoppers_in_bulk_are_made_once(db: None) -> None:
    rows = [
        ShopperData(f"set:{n}", "set", attributes={"age": n}, purposes=frozenset({Purpose.MARKETING}))
        for n in range(700)
    ]
    first = api.upsert_shoppers(rows)
    assert api.upsert_shoppers(iter(rows)) == first
    assert len(first) == Shopper.objects.count() == ConsentRecord.objects.count() == 700
    assert (
        Shopper.objects.filter(population="set", consent_marketing=True, consent_personalisation=False).count() == 700
    )
    api.upsert_shoppers([ShopperData("set:3", "set", attributes={"age": 99})])
    assert Shopper.objects.get(pk=first["set:3"]).attributes == {"age": 99}
    assert Shopper.objects.get(pk=first["set:3"]).consent_marketing  # only the person withdraws


def test_of_two_rows_for_one_shopper_the_later_counts(db: None) -> None:
    rows = [ShopperData("set:1", attributes={"age": 1}), ShopperData("set:1", attributes={"age": 2})]
    for _ in range(2):
        found = api.upsert_shoppers(rows)
        assert len(found) == Shopper.objects.count() == 1
        assert Shopper.objects.get().attributes == {"age": 2}


def test_an_account_in_bulk_keeps_the_shopper_it_has(db: None) -> None:
    account = make_account()
    existing = api.shopper_for_user(account)
    found = api.upsert_shoppers([ShopperData("crm:1", user_id=account.pk, attributes={"age": 5})])
    assert found == {"crm:1": existing.pk}
    existing.refresh_from_db()
    assert existing.attributes == {"age": 5}


def test_an_account_that_is_erased_while_it_signs_in_starts_anew(shopper: Shopper) -> None:
    account = make_account()
    old = identity.shopper_for_user(account)
    request = make_request(visitor=make_alias(shopper))

    def erased_first(visitor: Shopper, into: Shopper, *, reason: str) -> None:
        api.erase(Shopper.objects.get(pk=old.pk))
        merging.merge(visitor, into, reason=reason)

    with mock.patch.object(logins, "merge", erased_first):
        joined = logins.link_at_login(request, account)
    assert joined is not None
    assert joined.key != old.key
    assert joined.user == account
    assert identity.shopper_for(request) == joined
