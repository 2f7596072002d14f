"""The Chinese catalogues: complete, compiled as committed, true to their placeholders, and what pages really show.

After changing a text: ``django-admin makemessages -l zh_Hans -i migrations --add-location file --no-obsolete`` and
``django-admin compilemessages``, both inside the app's folder.
"""

from __future__ import annotations

import ast
import gettext
import html
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.urls import reverse
from django.utils.translation import override
from django.utils.translation.template import templatize

from personalization import api, exceptions
from personalization.exceptions import BasketNotEligible, PersonalizationError
from personalization.learning.registry import PromotionRace
from personalization.models import Job
from personalization.ports.messages import explain
from personalization.pure.money import Amount
from shop.models import Category, Product
from tests.admin.builders import make_campaign, make_offer
from tests.shop.conftest import Browser

ROOT = Path(__file__).resolve().parents[1]
APPS = ("personalization", "shop")
FOLDER = "locale/zh_Hans/LC_MESSAGES"
SINGULAR = {"_", "gettext", "gettext_lazy", "gettext_noop"}
IN_TEMPLATE = re.compile(r"""(?<!\w)gettext(?:_noop)?\(\s*u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z.\d]*[a-z]|%[sd]|%%")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
LANGUAGE = {"accept-language": "zh-hans"}
GLOSSARY = {
    r"\b[Cc]hampions?\b": "冠军",
    r"\b[Hh]oldout\b": "留白组",
    r"\b[Ee]xposures?\b": "曝光",
    r"\b[Rr]edemptions?\b|\bredeem(ed)?\b": "核销",
    r"\b[Aa]ttractiveness\b": "吸引力",
    r"\b[Ff]orecasts?\b": "预测",
    r"\b[Cc]alibrat(ed|ion|ing)\b": "校准",
    r"\b[Dd]rift\b": "漂移",
    r"\b[Uu]plift\b": "增量",
}
"""The glossary's core terms as the sources have them, and the one Chinese word for each."""
OTHERWISE = {
    "Champions": "a segment of shoppers, no model",
    "Average in all; remind them before they drift.": "shoppers drift away",
    "This redemption is being checked by the shop. Order without the code, or try again later.": "said to a shopper",
}
"""Messages with such a word in another meaning, or for a reader who does not know it."""
STRAY = re.compile("主力|在位|在任(?!何)|保留组|购物者|msgid|[(]app ")
"""Second words for those terms that the catalogue once had, and what a translator's tool left in it."""


@dataclass(frozen=True)
class Entry:
    """One message of a catalogue."""

    context: str
    msgid: str
    plural: str
    msgstr: str
    python_format: bool


def read(app: str) -> list[Entry]:
    """Return the messages of a .po file, without its header."""
    entries = []
    for block in (ROOT / app / FOLDER / "django.po").read_text(encoding="utf-8").split("\n\n"):
        lines = block.splitlines()
        fields: dict[str, str] = {}
        name = ""
        for line in lines:
            if line.startswith("#"):
                continue
            keyword, _space, literal = line.partition(" ") if line.startswith("msg") else (name, " ", line)
            name = keyword
            fields[name] = fields.get(name, "") + ast.literal_eval(literal)
        if fields.get("msgid"):
            entries.append(
                Entry(
                    context=fields.get("msgctxt", ""),
                    msgid=fields["msgid"],
                    plural=fields.get("msgid_plural", ""),
                    msgstr=fields.get("msgstr", fields.get("msgstr[0]", "")),
                    python_format=any(re.search(r"[ ,]python-format", line) for line in lines if line.startswith("#,")),
                )
            )
    return entries


def compiled(app: str) -> Path:
    return ROOT / app / FOLDER / "django.mo"


def texts_in_code(app: str) -> Iterator[str]:
    """Return what the Python files of an app mark for translation (the singular, where there are two)."""
    for path in (ROOT / app).rglob("*.py"):
        if "migrations" in path.parts:
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
                first = call.args[0]
                if call.func.id in SINGULAR | {"ngettext"} and isinstance(first, ast.Constant):
                    yield str(first.value)


def texts_in_templates(app: str) -> Iterator[str]:
    for path in (ROOT / app).rglob("templates/**/*.html"):
        for literal in IN_TEMPLATE.findall(templatize(path.read_text(encoding="utf-8"))):
            yield ast.literal_eval(literal)


def visible(page: Any) -> str:
    """Return a page's text, attributes that are read out or shown included."""
    markup = page.content.decode()
    shown = re.findall(r'(?:placeholder|aria-label|title|alt)="([^"]*)"', markup)
    body = re.sub(r"<(script|style|template)\b.*?</\1>|<textarea\b.*?</textarea>", " ", markup, flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "\n", body) + "\n".join(shown)))


def left_in_english(page: Any) -> list[str]:
    """Return every translated sentence that a page still shows in English (single words may be data)."""
    text = visible(page)
    assert CHINESE.search(text)
    sentences = {entry.msgid for app in APPS for entry in read(app) if " " in entry.msgid and "%" not in entry.msgid}
    return sorted(sentence for sentence in sentences if sentence in text)


@pytest.mark.parametrize("app", APPS)
def test_every_message_is_translated(app: str) -> None:
    source = (ROOT / app / FOLDER / "django.po").read_text(encoding="utf-8")
    assert "fuzzy" not in source
    assert "\n#~" not in source
    entries = read(app)
    assert len(entries) > 200
    assert [entry.msgid for entry in entries if not entry.msgstr.strip()] == []


@pytest.mark.parametrize("app", APPS)
def test_every_text_of_the_sources_is_in_the_catalogue(app: str) -> None:
    known = {entry.msgid for entry in read(app)}
    assert sorted({*texts_in_code(app), *texts_in_templates(app)} - known) == []


@pytest.mark.parametrize("app", APPS)
def test_the_compiled_catalogue_is_the_written_one(app: str) -> None:
    """Hosts have no gettext tools: what the wheel carries must be current."""
    entries = read(app)
    data = compiled(app).read_bytes()
    assert struct.unpack("<I", data[8:12])[0] == len(entries) + 1  # the header counts
    with compiled(app).open("rb") as file:
        catalogue = gettext.GNUTranslations(file)
    for entry in entries:
        if entry.plural:
            assert {catalogue.ngettext(entry.msgid, entry.plural, count) for count in (0, 1, 2)} == {entry.msgstr}
        elif entry.context:
            assert catalogue.pgettext(entry.context, entry.msgid) == entry.msgstr
        else:
            assert catalogue.gettext(entry.msgid) == entry.msgstr


@pytest.mark.parametrize("app", APPS)
def test_placeholders_are_the_same(app: str) -> None:
    wrong = [
        entry.msgid
        for entry in read(app)
        if entry.python_format
        and set(PLACEHOLDER.findall(entry.msgid + entry.plural)) != set(PLACEHOLDER.findall(entry.msgstr))
    ]
    assert wrong == []


def astray(entries: list[Entry]) -> list[str]:
    """Return the messages that say one of the glossary's terms with another word."""
    return [
        entry.msgid
        for entry in entries
        if entry.msgid not in OTHERWISE
        if STRAY.search(entry.msgstr)
        or any(re.search(term, entry.msgid) and word not in entry.msgstr for term, word in GLOSSARY.items())
    ]


@pytest.mark.parametrize("app", APPS)
def test_a_term_is_one_word_throughout(app: str) -> None:
    assert astray(read(app)) == []


def test_a_second_word_for_a_term_is_found() -> None:
    """The control."""
    known = next(entry for entry in read("personalization") if entry.msgid == "Nobody reigns yet.")
    assert astray([known, replace(known, msgstr="目前还没有在任模型。")]) == ["Nobody reigns yet."]
    term = Entry("", "Promote to champion", "", "升为优胜模型", python_format=False)
    assert astray([term, replace(term, msgstr="晋升为冠军模型")]) == ["Promote to champion"]


def test_a_state_is_not_called_as_the_moment_of_its_beginning() -> None:
    """“Finished” heads a column of dates, and is a state: two words in Chinese."""
    with override("zh-hans"):
        labels = {
            f"{model.__name__}.{column.name}: {label}"
            for app in APPS
            for model in apps.get_app_config(app).get_models()
            for column in model._meta.fields
            for _value, label in column.flatchoices
        }
        assert "TuningTrial.state: 已完成" in labels
        assert Job._meta.get_field("finished_at").verbose_name == "完成时间"
    assert sorted(label for label in labels if label.endswith("时间")) == []


def test_every_refusal_can_be_said_in_chinese() -> None:
    """Messages of the ground floor, which knows no translation, are listed for it."""
    known = {entry.msgid for entry in read("personalization")}
    kinds = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {(kind.__doc__ or "").strip() for kind in [*kinds, PromotionRace]} - known == set()
    names = {kind.__name__ for kind in kinds}
    raised = {
        call.args[0].value
        for path in (ROOT / "personalization/pure").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in names
        if call.args and isinstance(call.args[0], ast.Constant)
    }
    assert raised
    assert raised - known == set()


def test_a_refusal_with_an_amount_is_said_in_the_readers_language() -> None:
    error = BasketNotEligible("Spend %(missing)s more to use this offer.", params={"missing": Amount(8_00, "EUR")})
    assert str(error) == error.message == "Spend EUR 8.00 more to use this offer."
    with override("zh-hans"):
        assert explain(error) == "再买 €8.00 即可使用此优惠。"
        assert explain(PersonalizationError("100 % of it")) == "100 % of it"
        assert str(error) == "Spend EUR 8.00 more to use this offer."


@pytest.fixture
def browser() -> Browser:
    return Browser()


@pytest.fixture
def tea(db: None) -> Product:
    shelf = Category.objects.create(name="Coffee & Tea", slug="coffee-tea")
    return Product.objects.create(
        category=shelf, title="Assam", slug="assam", price_minor=1000, cost_minor=400, stock=10
    )


def test_the_shop_speaks_chinese(browser: Browser, tea: Product) -> None:
    home = browser.get(reverse("shop:home"), headers=LANGUAGE)
    assert "可以记录您的浏览内容吗？" in visible(home)
    assert left_in_english(home) == []
    shelf = browser.get(tea.category.get_absolute_url(), headers=LANGUAGE)
    assert "共 1 件商品" in visible(shelf)
    page = browser.get(tea.get_absolute_url(), headers=LANGUAGE)
    assert "咖啡与茶" in visible(page)
    browser.fill(tea)
    pages = [browser.get(reverse(f"shop:{name}"), headers=LANGUAGE) for name in ("basket", "checkout", "privacy")]
    assert "金额明细" in visible(pages[0])
    for answer in (shelf, page, *pages):
        assert left_in_english(answer) == []


def test_a_refused_coupon_is_explained_in_chinese(browser: Browser, tea: Product) -> None:
    now = make_campaign().created_at
    terms = {"name": "Big", "kind": "coupon", "percent": 10, "threshold_minor": 1800, "slots": ["basket"]}
    campaign = make_campaign(starts_at=now, status="running")
    offer = make_offer(campaign, **terms)
    browser.fill(tea)
    issued = api.claim(offer.pk, shopper=browser.shopper())
    page = browser.post(reverse("shop:coupon-apply"), {"code": issued.code}, follow=True, headers=LANGUAGE)
    assert "再买 €8.00 即可使用此优惠。" in visible(page)
    page = browser.post(reverse("shop:coupon-apply"), {"code": "NOTHING"}, follow=True, headers=LANGUAGE)
    assert "此券码无法使用。" in visible(page)
    assert left_in_english(page) == []


def test_the_campaign_page_speaks_chinese(browser: Browser, db: None) -> None:
    browser.force_login(get_user_model().objects.create_superuser("root", "root@example.org", "pw"))
    campaign = make_campaign()
    make_offer(campaign)
    page = browser.get(reverse("admin:personalization_campaign_change", args=[campaign.pk]), headers=LANGUAGE)
    assert {"受众", "预算", "预测", "限时抢购", "会员专享", "满减", "首页顶部"} <= set(
        re.findall(r"\w+", visible(page))
    )
    assert left_in_english(page) == []
