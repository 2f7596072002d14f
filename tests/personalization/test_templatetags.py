"""What a shop's templates get: offers or their fallback, the banner, the beacon, and pages that nobody else caches."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template, TemplateSyntaxError, engines
from django.test import Client
from django.urls import reverse

from personalization.models import Decision, Exposure, Shopper
from personalization.templatetags import personalization as tags
from personalization.tracking.middleware import ShopperMiddleware
from personalization.tracking.pages import is_page_token
from personalization.types import Purpose
from tests.personalization import host
from tests.personalization.builders import (
    AGENT,
    Browser,
    make_alias,
    make_offer,
    make_request,
    make_scores,
    make_shopper,
    score,
)
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db
DATA = {"data-pz-offer", "data-pz-decision", "data-pz-position"}
FORM = {"method", "action", "type", "name", "value"}
SLOT = '{% offer_slot "home_hero" %}Nothing today.{% endoffer_slot %}'


def render(source: str, request: HttpRequest | None = None, **context: Any) -> str:
    return engines["django"].from_string("{% load personalization %}" + source).render(context, request).strip()


def page(source: str, request: HttpRequest) -> HttpResponse:
    """Return the response as the middleware lets it out."""
    answer = ShopperMiddleware(lambda asked: HttpResponse(render(source, asked)))(request)
    assert isinstance(answer, HttpResponse)
    return answer


def of(shopper: Shopper, **kwargs: Any) -> HttpRequest:
    return make_request(visitor=make_alias(shopper), **kwargs)


# --- Offers -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("plain")
def test_a_slot_renders_its_offers(shopper: Shopper) -> None:
    first = make_offer(headline="Ten <b>off</b>", body="Only & now")
    make_offer(kind="announcement", name="News", cta_url="/news/?a=1&b=2")
    html = render('{% offer_slot "home_hero" limit=2 %}Nothing{% endoffer_slot %}', of(shopper))
    decision = Decision.objects.get()
    assert html.count('<article class="pz-offer') == 2
    assert f'data-pz-offer="{first.pk}" data-pz-decision="{decision.pk}" data-pz-position="1"' in html
    assert "Ten &lt;b&gt;off&lt;/b&gt;" in html
    assert "Only &amp; now" in html
    assert html.count(f'action="{reverse("personalization:claim")}"') == 1
    assert html.count(f'action="{reverse("personalization:dismiss")}"') == 2
    assert html.count("<form") == 3
    assert f'name="decision" value="{decision.pk}"' in html
    assert 'name="csrfmiddlewaretoken"' in html
    assert '<a class="pz-offer__cta" href="/news/?a=1&amp;b=2">Have a look</a>' in html
    assert "Nothing" not in html
    assert Exposure.objects.count() == 2


@pytest.mark.usefixtures("plain")
def test_nothing_of_a_card_runs_a_script_or_leaves_the_shop(shopper: Shopper) -> None:
    make_offer(headline="<script>alert(1)</script>", cta_url='/" onclick="alert(1)', kind="announcement")
    html = render(SLOT, of(shopper))
    assert "<script" not in html
    assert "https" not in html
    assert set(re.findall(r"\s([\w-]+)=", re.sub(r'"[^"]*"', '""', html))) <= {"class", "href", "id", *DATA, *FORM}


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", " JavaScript:x", "java\nscript:x", "data:text/html,x", "http://["]
)
def test_a_link_into_a_script_is_no_link(address: str) -> None:
    with pytest.raises(ValidationError, match="page of the shop"):
        make_offer(kind="announcement", cta_url=address).clean()
    for page_of_ours in ("", "/news/", "?sort=new", "https://shop.example/a", "//cdn.example/"):
        make_offer(kind="announcement", cta_url=page_of_ours).clean()


def test_without_an_offer_the_fallback_is_rendered(shopper: Shopper) -> None:
    assert render(SLOT.replace("Nothing", "No {{ what }}"), of(shopper), what="news") == "No news today."
    assert render('{% offers "home_hero" as found %}{{ found|length }}', of(shopper)) == "0"


def test_a_holdout_sees_the_fallback(shopper: Shopper, configure: Configure) -> None:
    configure(HOLDOUT_PERCENT=100.0)
    make_offer()
    assert render(SLOT, of(shopper)) == "Nothing today."
    assert Exposure.objects.get().arm == "holdout"


@pytest.mark.usefixtures("plain")
def test_offers_can_be_rendered_by_the_page_itself(shopper: Shopper) -> None:
    make_offer(name="One"), make_offer(name="Two")
    source = '{% offers "home_hero" limit=2 as found %}{% for offer in found %}[{{ offer.headline }}]{% endfor %}'
    assert render(source, of(shopper)) == "[One][Two]"


@pytest.mark.parametrize("source", [SLOT, '{% offers "home_hero" as found %}{{ found|length }}'])
def test_without_a_request_there_is_nothing_to_decide(source: str) -> None:
    make_offer()
    assert render(source) in {"Nothing today.", "0"}
    strange = Context({"request": "not a request"})
    assert Template("{% load personalization %}" + source).render(strange) in {"Nothing today.", "0"}
    assert not Decision.objects.exists()


@pytest.mark.parametrize(
    "source",
    [
        '{% offers "cellar" as found %}',
        '{% offer_slot "cellar" %}x{% endoffer_slot %}',
        "{% offer_slot missing %}x{% endoffer_slot %}",
        "{% offer_slot %}x{% endoffer_slot %}",
        '{% offer_slot "home_hero" 3 %}x{% endoffer_slot %}',
        '{% offer_slot "home_hero" limit=1 x %}x{% endoffer_slot %}',
        '{% offer_slot "home_hero" %}x',
    ],
)
def test_a_mistake_of_the_template_is_told_to_its_author(shopper: Shopper, source: str) -> None:
    with pytest.raises(TemplateSyntaxError):
        render(source, of(shopper))


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("limit", ["missing", "none", "word", "'x'", "0", "-2", "1.5"])
def test_a_limit_that_is_none_is_one(shopper: Shopper, limit: str) -> None:
    make_offer(), make_offer()
    source = "{% offer_slot 'home_hero' limit=" + limit + " %}x{% endoffer_slot %}"
    assert render(source, of(shopper), none=None, word="many").count("<article") == 1


def test_whatever_fails_a_page_is_served(shopper: Shopper, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("the database is gone")

    for name in ("decide", "recommend"):
        monkeypatch.setattr(tags, name, fail)
    assert render(SLOT, of(shopper)) == "Nothing today."
    assert render('{% offers "home_hero" as found %}{{ found }}', of(shopper)) == "[]"
    assert render("{% recommended_products as found %}{{ found }}", of(shopper)) == "[]"


# --- Products ---------------------------------------------------------------------------------------------------------


def test_products_are_recommended_by_id(shopper: Shopper, hosted: None) -> None:
    host.PRODUCTS += [host.product(str(number)) for number in range(3)]
    score(make_scores(), shopper, {}, items=["0", "1", "2"])
    source = "{% recommended_products product_id=this limit=1 as found %}{{ found|join:',' }}"
    assert render(source, of(shopper), this=0) == "1"
    assert render("{% recommended_products as found %}{{ found|join:',' }}", of(shopper)) == "0,1,2"
    assert render("{% recommended_products as found %}{{ found|length }}") == "0"


# --- The banner -------------------------------------------------------------------------------------------------------


def test_the_banner_asks_until_it_is_answered(db: None) -> None:
    html = render("{% consent_banner %}", make_request())
    assert f'action="{reverse("personalization:consent")}"' in html
    for purpose in (Purpose.PERSONALISATION, Purpose.ANALYTICS, Purpose.MARKETING):
        assert f'name="purpose" value="{purpose.value}"' in html
    assert "checked" not in html  # nothing is agreed to beforehand
    assert all(f'name="answer" value="{value}"' in html for value in ("none", "chosen", "all"))
    assert 'name="csrfmiddlewaretoken"' in html


@pytest.mark.parametrize("answer", ["all", "none"])
def test_an_answer_ends_the_asking(browser: Browser, answer: str) -> None:
    assert "pz-consent__title" in browser.get(reverse("shop:home")).content.decode()
    browser.answer(answer)
    assert "pz-consent__title" not in browser.get(reverse("shop:home")).content.decode()


def test_the_banner_does_not_ask_whose_browser_has_answered(shopper: Shopper, configure: Configure) -> None:
    assert render("{% consent_banner %}", make_request(headers={"sec-gpc": "1"})) == ""
    assert render("{% consent_banner %}", of(shopper)) == ""
    assert render("{% consent_banner %}") == ""
    configure(CONSENT="tests.personalization.host.Consent")
    assert render("{% consent_banner %}", make_request()) == ""


# --- The beacon -------------------------------------------------------------------------------------------------------


def test_the_beacon_is_there_with_consent_only(shopper: Shopper) -> None:
    html = render("{% personalization_beacon %}", of(shopper))
    assert re.fullmatch(r'<script src="/static/personalization/beacon[^"]*\.js" defer data-[^>]+></script>', html)
    assert f'data-pz-endpoint="{reverse("personalization:events")}"' in html
    token = re.search(r'data-pz-token="([^"]+)"', html)
    assert token
    assert is_page_token(token[1])
    for request in (
        make_request(),
        of(make_shopper(consent_analytics=False, consent_personalisation=False, consent_marketing=False)),
        of(shopper, headers={"sec-gpc": "1"}),
        None,
    ):
        assert render("{% personalization_beacon %}", request) == ""


def test_the_beacon_says_where_its_page_is_shown(shopper: Shopper) -> None:
    assert 'data-pz-channel="mini_program"' in render(
        '{% personalization_beacon channel="mini_program" %}', of(shopper)
    )
    assert "data-pz-channel" not in render("{% personalization_beacon %}", of(shopper))


# --- Caches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        SLOT,
        '{% offers "home_hero" as found %}',
        "{% recommended_products as found %}",
        "{% consent_banner %}",
        "{% personalization_beacon %}",
    ],
)
@pytest.mark.parametrize("consenting", [True, False])
def test_a_page_that_depends_on_the_shopper_is_kept_by_nobody_else(
    shopper: Shopper, source: str, consenting: bool
) -> None:
    """Without consent too: the first visitor's page must not be everybody's."""
    answer = page(source, of(shopper) if consenting else make_request())
    assert {"private", "no-store"} <= {part.strip() for part in answer["Cache-Control"].split(",")}
    assert "Cookie" in answer["Vary"]


def test_a_page_without_us_is_left_alone(shopper: Shopper) -> None:
    answer = page("Nothing of ours.", of(shopper))
    assert "Cache-Control" not in answer
    assert "Vary" not in answer


def test_the_demo_shops_pages_are_private(db: None) -> None:
    answer = Client(headers={"user-agent": AGENT}).get(reverse("shop:home"))
    assert "no-store" in answer["Cache-Control"]
