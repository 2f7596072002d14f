"""The pages against the code: every setting, variable, command, event, name and error is there; every link leads."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from django.core.management import load_command_class
from django.urls import URLPattern

from personalization import api, exceptions
from personalization.conf import Conf
from personalization.features import audience_fields
from personalization.ports import adapters
from personalization.rest.base import STATUSES
from personalization.templatetags.personalization import register as tags
from personalization.tracking import schema
from personalization.urls import urlpatterns

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
READERS = {"env", "env_flag", "env_list"}
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.M)


def reference(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def quoted(names: set[str], page: str) -> set[str]:
    """Return the names that the page does not have as code: alone, or as a call or a command with its options."""
    return {name for name in names if not re.search(rf"`{re.escape(name)}[`( ]", page)}


def variables() -> set[str]:
    """Return the environment variables that the demo shop's settings read, as they are written there."""
    tree = ast.parse((ROOT / "shop" / "settings.py").read_text(encoding="utf-8"))
    return {
        str(call.args[0].value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in READERS
        and isinstance(call.args[0], ast.Constant)
    }


def commands() -> set[str]:
    return {
        path.stem
        for package in ("personalization", "worker", "shop")
        for path in (ROOT / package).glob("management/commands/[!_]*.py")
    }


def errors() -> set[type[exceptions.PersonalizationError]]:
    offered = {getattr(api, name) for name in api.__all__}
    return {
        item
        for item in offered
        if isinstance(item, type)
        and issubclass(item, exceptions.PersonalizationError)
        and item is not exceptions.PersonalizationError
    }


NAMES: dict[str, tuple[str, Callable[[], set[str]]]] = {
    "settings": ("settings", lambda: {field.name.upper() for field in fields(Conf)}),
    "environment": ("settings", variables),
    "commands": ("commands", commands),
    "events": ("events", lambda: set(schema.names())),
    "api": ("api", lambda: set(api.__all__)),
    "audiences": ("audiences", lambda: set(audience_fields.FIELDS)),
    "adapters": ("api", lambda: {"Catalog", "Orders", "Shoppers", "Consent"} & set(vars(adapters))),
}


@pytest.mark.parametrize("kind", NAMES)
def test_the_reference_leaves_nothing_out(kind: str) -> None:
    page, found = NAMES[kind]
    names = found()
    assert names, "nothing to look for: the search is broken"
    assert quoted(names, reference(page)) == set(), f"docs/reference/{page}.md lacks these"


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_that_is_left_out_is_noticed(kind: str) -> None:
    """The negative control: a page without its rows lacks every name."""
    page, found = NAMES[kind]
    emptied = reference(page).replace("`", "")
    assert quoted(found(), emptied) == found()


def test_the_settings_page_tells_the_defaults() -> None:
    page = reference("settings")
    wrong = {}
    for field in fields(Conf):
        row = re.search(rf"^\| `{field.name.upper()}` \| `([^`]*)` \|", page, re.M)
        default = getattr(Conf(), field.name)
        if row is None or ast.literal_eval(row[1]) != default:
            wrong[field.name.upper()] = default
    assert wrong == {}


def test_the_settings_page_has_the_workers_variables() -> None:
    read = {
        name
        for path in (ROOT / "worker").rglob("*.py")
        for name in re.findall(r"environ\.get\(\"(\w+)\"", path.read_text(encoding="utf-8"))
    }
    assert {"PERSONALIZATION_DEVICE", "PERSONALIZATION_PRECISION", "PERSONALIZATION_DETERMINISTIC"} <= read
    assert {name for name in read if f"`{name}`" not in reference("settings")} == set()


def test_the_settings_page_names_nothing_that_is_gone() -> None:
    rows = set(re.findall(r"^\| `([A-Z][A-Z_]+)` \|", reference("settings"), re.M))
    assert rows - {field.name.upper() for field in fields(Conf)} - variables() == set()


def test_the_events_page_tells_purpose_sender_and_properties() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` (\|.*)$", reference("events"), re.M))
    assert set(rows) == set(schema.names())
    for name in schema.names():
        declared = schema.get(name)
        assert declared is not None
        _start, sender, purpose, needs, properties, _end = (cell.strip() for cell in rows[name].split("|"))
        assert (sender, purpose) == ("page" if declared.public else "server", declared.purpose.value), name
        assert set(re.findall(r"`(\w+)`", needs)) == {*declared.needs, *declared.needs_any}, name
        told = dict(re.findall(r"`(\w+)` ([^,]+)", properties))
        for each in declared.properties:
            text = told.pop(each.name, "")
            assert text.startswith(each.kind.value), (name, each.name)
            assert ("required" in text) == each.required, (name, each.name)
            assert ("personal" in text) == each.personal, (name, each.name)
            assert each.unit in text, (name, each.name)
        assert set(told) <= {"value_minor"}, name


def test_the_api_page_tells_codes_and_statuses() -> None:
    page = reference("api")
    missing = {
        error.__name__
        for error in errors()
        if f"| `{error.__name__}` | `{error.code}` | {STATUSES.get(error, 400)} |" not in page
    }
    assert missing == set()


def test_the_api_page_has_every_address() -> None:
    page = reference("api")
    routes = [str(route.pattern).removeprefix("api/v1/") for route in urlpatterns if isinstance(route, URLPattern)]
    assert len(routes) == len(urlpatterns)
    assert [route for route in routes if not re.search(rf"`{re.escape(route)}`", page)] == []


def test_the_api_page_has_every_template_tag() -> None:
    page = reference("api")
    assert [name for name in tags.tags if f"{{% {name} " not in page] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as the usual renderers make them."""
    headings = _HEADING.findall(re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> list[str]:
    dead = []
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _hash, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    """The negative control."""
    (tmp_path / "there.md").write_text("# A heading\n")
    page = tmp_path / "page.md"
    page.write_text("[a](there.md) [b](gone.md) [c](there.md#a-heading) [d](there.md#gone) [e](https://example.com)")
    assert dead_links(page) == ["gone.md", "there.md#gone"]


def test_every_page_can_be_reached_from_the_index() -> None:
    index = DOCS / "index.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in _LINK.findall(index.read_text(encoding="utf-8"))}
    assert [page for page in sorted(DOCS.rglob("*.md")) if page.resolve() not in linked and page != index] == []


def test_the_readme_names_both_commands_and_its_picture_is_small() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n$ make demo\n" in readme
    assert "\n$ make test\n" in readme
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)
    assert pictures
    assert all((ROOT / picture).stat().st_size < 200_000 for picture in pictures)
    assert "simulated" in readme


def test_the_readme_tells_another_port_that_the_demo_takes() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r'make demo DEMO_FLAGS="(--[a-z-]+) (\d+)"', readme)
    assert found
    parser = load_command_class("shop", "demo").create_parser("manage.py", "demo")
    assert parser.parse_args([found[1], found[2]]).port == int(found[2])


@pytest.mark.parametrize(
    ("page", "button"),
    [
        ("tutorial", "New campaign"),
        ("how-to/campaigns", "New campaign"),
        ("how-to/campaigns", "New from a template"),
        ("how-to/campaigns", "Submit for review"),
        ("how-to/campaigns", "Back to draft"),
        ("how-to/campaigns", "Archive"),
        ("how-to/campaigns", "Revisions"),
    ],
)
def test_a_button_that_a_page_names_is_one_of_the_admins(page: str, button: str) -> None:
    assert button in (DOCS / f"{page}.md").read_text(encoding="utf-8")
    admin = ROOT / "personalization"
    written = [*(admin / "admin").glob("*.py"), *(admin / "templates/admin").rglob("*.html")]
    assert any(f'"{button}"' in path.read_text(encoding="utf-8") for path in written)


def test_every_make_target_is_listed() -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)) - {"help"}
    assert quoted(targets, reference("commands")) == set()


def test_every_option_of_a_command_is_described() -> None:
    page = reference("commands")
    options: set[str] = set()
    for package in ("personalization", "worker", "shop"):
        for path in (ROOT / package).glob("management/commands/[!_]*.py"):
            options |= set(re.findall(r"add_argument\(\s*\"(--[a-z-]+)\"", path.read_text(encoding="utf-8")))
    assert len(options) > 10
    assert sorted(option for option in options if option not in page) == []
