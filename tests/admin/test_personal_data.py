"""Personal data is hidden from all staff, shown to whoever may after they said why, and the log says who looked."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction
from django.urls import reverse

from personalization.admin.csv import PSEUDONYM
from personalization.models import (
    AuditEntry,
    Event,
    GiftCard,
    GiftCardEntry,
    QuarantinedEvent,
    Redemption,
    Shopper,
    ShopperAlias,
)
from personalization.tracking import audit, secrets
from tests.admin.builders import make_everything, make_shopper, make_user

pytestmark = pytest.mark.django_db
SECRET = "Zebra-Canary"
WHY = {"why": "support", "reference": "T-17"}
VIEWS = ("view_event", "view_quarantinedevent", "view_shopper", "view_redemption", "view_giftcard")


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:personalization_{name}", args=args)


@pytest.fixture
def rows(db: None) -> dict[str, Any]:
    """One row of everything, with the secret wherever personal data can stand."""
    found = make_everything()
    user = get_user_model().objects.create_user(f"{SECRET}-name")
    shopper = found["shopper"]
    Shopper.objects.filter(pk=shopper.pk).update(user=user, attributes={"tier": "gold", "name": SECRET, "age": 77})
    Event.objects.filter(pk=found["event"].pk).update(
        type="search_performed", source=f"web:{SECRET}", event_id=f"order:{SECRET}",
        properties={"query": SECRET, "results": 4711},
    )  # fmt: skip
    QuarantinedEvent.objects.filter(pk=found["quarantinedevent"].pk).update(
        source=f"web:{SECRET}", payload={"type": "review_submitted", "properties": {"text": SECRET, "rating": 9}}
    )
    Redemption.objects.filter(pk=found["redemption"].pk).update(order_id=SECRET)
    ShopperAlias.objects.filter(shopper=shopper).update(value=f"X{SECRET}")
    card = GiftCard.objects.create(
        shopper=shopper,
        kind="credit",
        currency="EUR",
        balance_minor=0,
        held_minor=0,
        code_digest="d",
        population="shop",
    )
    GiftCardEntry.objects.create(operation_id="1", card=card, kind="issue", balance_delta=0, order_id=SECRET)
    return {**found, "giftcard": card}


PAGES = ["event", "quarantinedevent", "shopper", "redemption"]


@pytest.mark.parametrize("name", [*PAGES, "giftcard"])
@pytest.mark.parametrize("permission", [(), ("view_personal_data",)])
def test_nothing_personal_is_on_a_page_that_nobody_asked_for(
    client: Any, rows: dict[str, Any], name: str, permission: tuple[str, ...]
) -> None:
    client.force_login(make_user(*VIEWS, *permission))
    for address in (url(f"{name}_changelist"), url(f"{name}_change", rows[name].pk)):
        html = client.get(address).content.decode()
        assert SECRET not in html, address
        assert ">77<" not in html
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("name", PAGES)
def test_with_a_reason_it_is_shown_once_and_written_down(client: Any, rows: dict[str, Any], name: str) -> None:
    user = make_user(*VIEWS, "view_personal_data")
    client.force_login(user)
    row = rows[name]
    answer = client.post(url(f"{name}_unmask", row.pk), WHY)
    assert SECRET in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.by, entry.kind, entry.why, entry.reference) == ("viewed", user, name, "support", "T-17")
    assert list(audit.about(rows["shopper"])) == [entry]
    assert rows["shopper"].key.hex not in entry.subject
    assert SECRET not in client.get(url(f"{name}_change", row.pk)).content.decode()


@pytest.mark.parametrize("name", PAGES)
def test_without_permission_reason_or_post_nothing_is_shown(client: Any, rows: dict[str, Any], name: str) -> None:
    address = url(f"{name}_unmask", rows[name].pk)
    client.force_login(make_user(*VIEWS))
    page = client.get(url(f"{name}_change", rows[name].pk)).content.decode()
    assert address not in page
    assert client.post(address, WHY).status_code == 403
    client.force_login(make_user("view_personal_data"))
    assert client.post(address, WHY).status_code == 403
    client.force_login(make_user(*VIEWS, "view_personal_data"))
    assert address in client.get(url(f"{name}_change", rows[name].pk)).content.decode()
    assert client.get(address).status_code == 405
    for wrong in ({}, {"why": "support"}, {"why": "nosy", "reference": "1"}, {**WHY, "reference": "ada@example.org"}):
        answer = client.post(address, wrong, follow=True).content.decode()
        assert "Say why, and for which ticket" in answer
        assert SECRET not in answer
    assert not AuditEntry.objects.exists()


def test_a_cookie_is_never_shown(client: Any, rows: dict[str, Any]) -> None:
    """With it one could go shopping as somebody else."""
    ShopperAlias.objects.filter(shopper=rows["shopper"]).update(kind="visitor")
    client.force_login(make_user(*VIEWS, "view_personal_data"))
    assert f"X{SECRET}" not in client.post(url("shopper_unmask", rows["shopper"].pk), WHY).content.decode()


def test_the_desk_names_nobody_until_it_is_asked(client: Any, rows: dict[str, Any]) -> None:
    shopper = rows["shopper"]
    client.force_login(make_user("grant_coupon"))
    answer = client.post(url("support_desk"), {"text": f"{SECRET}-name"})
    assert answer["Location"] == url("support_shopper", shopper.pk)
    assert SECRET not in client.get(answer["Location"]).content.decode()
    assert client.post(url("support_unmask", shopper.pk), WHY).status_code == 403
    client.force_login(make_user("grant_coupon", "view_personal_data"))
    assert SECRET not in client.get(answer["Location"]).content.decode()
    assert SECRET not in client.post(url("support_unmask", shopper.pk), {}, follow=True).content.decode()
    assert not AuditEntry.objects.exists()
    shown = client.post(url("support_unmask", shopper.pk), WHY).content.decode()
    assert f"{SECRET}-name" in shown
    assert AuditEntry.objects.get().subject == audit.pseudonym(shopper)


# --- Files ------------------------------------------------------------------------------------------------------------


def read(answer: Any) -> str:
    return io.BytesIO(b"".join(answer.streaming_content)).read().decode("utf-8-sig")


def test_a_file_has_pseudonyms_that_can_be_joined(client: Any, rows: dict[str, Any]) -> None:
    client.force_login(make_user("view_redemption", "view_personal_data"))
    text = read(client.get(url("redemption_export")))
    assert SECRET not in text
    assert secrets.pseudonym(SECRET)[:PSEUDONYM] in text
    assert not AuditEntry.objects.exists()


def test_a_file_in_clear_needs_a_reason_and_is_logged(client: Any, rows: dict[str, Any]) -> None:
    client.force_login(make_user("view_redemption"))
    assert client.post(url("redemption_export"), WHY).status_code == 403
    assert "with personal data" not in client.get(url("redemption_changelist")).content.decode()
    client.force_login(make_user("view_redemption", "view_personal_data"))
    assert "with personal data" in client.get(url("redemption_changelist")).content.decode()
    assert "Say why" in client.post(url("redemption_export"), {}, follow=True).content.decode()
    assert SECRET in read(client.post(url("redemption_export"), WHY))
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.kind, entry.details) == ("exported", "redemption", {"rows": 1})
    assert client.post(url("coupon_export"), WHY).status_code == 405


# --- The log ----------------------------------------------------------------------------------------------------------


def test_the_log_refuses_changes_and_deletions(db: None) -> None:
    entry = audit.note(audit.Action.ERASED, subject="a")
    rows = AuditEntry.objects.filter(pk=entry.pk)
    for deed in (lambda: rows.update(subject="b"), rows.delete, lambda: rows._raw_delete("default"), entry.delete):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            deed()
    entry.subject = "b"
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        entry.save()
    assert AuditEntry.objects.get().subject == "a"


def test_without_its_triggers_the_log_could_be_changed(db: None) -> None:
    """The control: it is they that refuse, and a missing one is noticed and made again."""
    entry = audit.note(audit.Action.ERASED, subject="a")
    assert audit.missing_guards() == set()
    name = "personalization_auditentry_no_update"
    on_table = " ON personalization_auditentry" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER {name}{on_table}")
    assert audit.missing_guards() == {name}
    assert AuditEntry.objects.filter(pk=entry.pk).update(subject="b") == 1
    audit.install_guards()
    assert audit.missing_guards() == set()


def test_an_entry_outlives_the_account(db: None, client: Any) -> None:
    user = make_user()
    key = user.pk
    audit.note(audit.Action.VIEWED, by=user, subject="a")
    user.delete()
    entry = AuditEntry.objects.get()
    assert entry.by_id == key
    client.force_login(make_user("view_auditentry"))
    assert client.get(url("auditentry_changelist")).status_code == 200
    assert client.get(url("auditentry_change", entry.pk)).status_code == 200


def test_a_reason_of_ones_own_is_none(db: None) -> None:
    with pytest.raises(ValueError, match="why is 'bla' and must be one of request, support, abuse, legal, fault"):
        audit.note(audit.Action.ERASED, why="bla")
    assert not AuditEntry.objects.exists()


def test_the_log_is_found_by_shopper_staff_and_ticket(client: Any, db: None) -> None:
    shopper, user = make_shopper(), make_user(username="grace")
    audit.note(audit.Action.VIEWED, by=user, subject=audit.pseudonym(shopper), why="legal", reference="L-1")
    audit.note(audit.Action.EXPORTED, by=make_user(username="alan"), kind="redemption", reference="L-2")
    client.force_login(make_user("view_auditentry"))
    for term in (str(shopper.key), f"shop:{shopper.key}", "grace", "L-1", audit.pseudonym(shopper)):
        html = client.get(url("auditentry_changelist"), {"q": term}).content.decode()
        assert "L-1" in html, term
        assert "L-2" not in html, term
    entry = AuditEntry.objects.get(reference="L-1")
    assert client.post(url("auditentry_change", entry.pk), {}).status_code == 403
    assert client.post(url("auditentry_delete", entry.pk), {"post": "yes"}).status_code == 403


def test_the_log_has_a_permission_of_its_own(client: Any, db: None) -> None:
    client.force_login(make_user(*VIEWS, "view_personal_data"))
    assert client.get(url("auditentry_changelist")).status_code == 403


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", [1, 2])
def test_after_an_emptied_database_the_log_is_guarded_again(turn: int) -> None:
    """The second turn finds what the first one's flush left: no row, and both triggers."""
    assert not AuditEntry.objects.exists()
    assert audit.missing_guards() == set()
    audit.note(audit.Action.ERASED, subject="a")


# --- Questions that spell it out --------------------------------------------------------------------------------------

ORACLES = [
    ("shopper", f"attributes__name__startswith={SECRET[:1]}"),
    ("shopper", "attributes__age__gte=70"),
    ("shopper", "user=1"),
    ("event", f"properties__query__icontains={SECRET[:3]}"),
    ("event", "properties__results__gt=4000"),
    ("event", f"event_id__startswith=order:{SECRET[:1]}"),
    ("event", f"source__contains={SECRET[:1]}"),
    ("quarantinedevent", f"payload__properties__text__startswith={SECRET[:1]}"),
    ("redemption", f"order_id__startswith={SECRET[:1]}"),
    ("giftcard", "code_digest__startswith=d"),
]


@pytest.mark.parametrize(("name", "question"), ORACLES)
def test_no_address_asks_for_what_is_hidden(client: Any, rows: dict[str, Any], name: str, question: str) -> None:
    """Whether a value begins so, asked letter by letter, is the value. Nobody said why, and no log tells of it."""
    client.force_login(make_user(*VIEWS, "view_personal_data"))
    exported = {"redemption", "giftcard"}
    for page in ("changelist", "export") if name in exported else ("changelist",):
        assert client.get(f"{url(f'{name}_{page}')}?{question}").status_code == 400


def test_what_filters_and_links_ask_is_answered(client: Any, rows: dict[str, Any]) -> None:
    """The other side: the filters of the lists, and the lists of one campaign or one shopper."""
    client.force_login(make_user(*VIEWS, "view_coupon", "view_exposure", "view_decision", "view_ledgerentry"))
    campaign, shopper = rows["campaign"].pk, rows["shopper"].pk
    asked = [
        ("shopper", "is_bot__exact=0"),
        ("event", "type=search_performed&channel__exact=web"),
        ("event", f"shopper__id__exact={shopper}"),
        ("decision", f"shopper__id__exact={shopper}"),
        ("quarantinedevent", "from=web"),
        ("redemption", "redeemed_at__gte=2020-01-01+00:00:00%2B00:00"),
        *((name, f"campaign__id__exact={campaign}") for name in ("exposure", "redemption", "ledgerentry")),
        ("coupon", f"offer__campaign__id__exact={campaign}&voided_at__isempty=1"),
    ]
    statuses = {query: client.get(f"{url(f'{name}_changelist')}?{query}").status_code for name, query in asked}
    assert set(statuses.values()) == {200}, statuses
    found = client.get(f"{url('coupon_changelist')}?offer__campaign__id__exact={campaign}").context["cl"].queryset
    assert [coupon.offer.campaign_id for coupon in found] == [campaign]
