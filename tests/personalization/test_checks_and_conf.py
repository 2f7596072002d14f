"""Misconfiguration is told before the first request, by number; settings are typed, lazy and never written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from math import nan
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage
from pytest_django import Settings

from personalization import checks, conf
from personalization.ports import adapters
from tests.personalization import host

Check = Callable[..., list[CheckMessage]]
GOOD: dict[str, Any] = {"CATALOG": "tests.personalization.host.Catalog"}


@pytest.fixture
def check(settings: Settings) -> Check:
    """Run the checks on these settings and return the messages."""

    def run(raw: Any = None, **changes: Any) -> list[CheckMessage]:
        settings.PERSONALIZATION = GOOD | changes if raw is None else raw
        return checks.check_settings(None)

    return run


def ids(found: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("personalization.") for message in found]


def test_good_settings_are_silent(check: Check) -> None:
    assert check(**host.PATHS, CONSENT="tests.personalization.host.Consent", EXPLORATION=1, MARGIN=0.0) == []


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ({"MONITORING": {"psi_hint": 0.2, "group": 50}}, []),
        ({"MONITORING": {"psi": 0.2}}, ["E011"]),
        ({"MONITORING": {"psi_hint": "much"}}, ["E011"]),
        ({"MONITORING": {"psi_hint": -1}}, ["E011"]),
        ({"METRICS_TOKEN": "0123456789" * 3}, []),
        ({"METRICS_TOKEN": "short"}, ["E012"]),
        ({"MONITOR_EVERY_HOURS": -1}, ["E004"]),
        ({"PROTECTED_USES": {"offers": ["gender"]}}, []),
        ({"PROTECTED_USES": {"price": ["gender"]}}, ["E013"]),
        ({"PROTECTED_USES": {"offers": "gender"}}, ["E013"]),
    ],
)
def test_monitoring_and_protection_are_checked(check: Check, given: dict[str, Any], number: list[str]) -> None:
    assert ids(check(**given)) == number


def test_the_demo_shop_is_well_configured() -> None:
    assert checks.check_settings(None) == []


@pytest.mark.parametrize("raw", [[], "x", 5, (("CATALOG", "x"),)])
def test_e001_not_a_dictionary(check: Check, raw: Any) -> None:
    assert ids(check(raw)) == ["E001"]


@pytest.mark.parametrize("name", ["CATALOGUE", "catalog", "", 5, None])
def test_e002_an_unknown_name(check: Check, name: Any) -> None:
    (found,) = check({**GOOD, name: "x"})
    assert found.id == "personalization.E002"
    assert "CATALOG" in str(found.hint)
    assert repr(name) in found.msg


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CATALOG", None),
        ("CATALOG", 5),
        ("CATALOG", host.Catalog),
        ("SLOTS", ["home_hero"]),
        ("SLOTS", None),
        ("SECRET_KEYS", "one"),
        ("SECRET_KEYS", ("one",)),
        ("COOKIE_AGE_DAYS", "180"),
        ("COOKIE_AGE_DAYS", 1.5),
        ("COOKIE_AGE_DAYS", True),
        ("EXPLORATION", "0.1"),
        ("EXPLORATION", True),
        ("EVENT_MAX_BATCH", None),
        ("WORDING_VERSION", 2),
    ],
)
def test_e003_a_wrong_type(check: Check, name: str, value: Any) -> None:
    found = [message for message in check(**{name: value}) if message.id == "personalization.E003"]
    assert len(found) == 1
    assert name in found[0].msg
    assert (repr(value) in str(found[0].hint)) == (name not in checks.SECRETS)


@pytest.mark.parametrize("name", checks.SECRETS)
def test_a_secret_of_a_wrong_type_is_not_repeated(check: Check, name: str) -> None:
    (found,) = [message for message in check(**{name: b"hunter2"}) if message.id == "personalization.E003"]
    assert "bytes" in str(found.hint)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [("EXPLORATION", -0.1), ("EXPLORATION", 1.01), ("HOLDOUT_PERCENT", 101), ("MARGIN", 30), ("MARGIN", nan)],
)
def test_e004_out_of_range(check: Check, name: str, value: float) -> None:
    assert ids(check(**{name: value})) == ["E004"]


@pytest.mark.parametrize("name", ["UNKNOWN_EVENTS", "UNKNOWN_PROPERTIES"])
@pytest.mark.parametrize("value", ["", "quarantine", "KEEP"])
def test_e005_what_to_do_with_what_nobody_declared(check: Check, name: str, value: str) -> None:
    assert ids(check(**{name: value})) == ["E005"]
    assert check(**{name: "keep"}) == check(**{name: "drop"}) == []


@pytest.mark.parametrize("name", ["CATALOG", "ORDERS", "SHOPPERS", "CONSENT"])
@pytest.mark.parametrize(
    "path", ["Nothing", "no.such.Module", "tests.personalization.host.Missing", ".Relative", "a..b"]
)
def test_e006_an_adapter_that_cannot_be_imported(check: Check, name: str, path: str) -> None:
    (found,) = check(**{name: path})
    assert found.id == "personalization.E006"
    assert path in found.msg
    assert found.hint


@pytest.mark.parametrize(
    ("name", "path", "missing"),
    [
        ("CATALOG", "tests.personalization.host.Orders", "products, get"),
        ("ORDERS", "tests.personalization.host.Catalog", "orders"),
        ("SHOPPERS", "tests.personalization.host.Catalog", "profile, profiles"),
        ("CONSENT", "tests.personalization.host.empty", "purposes"),
    ],
)
def test_e007_an_adapter_that_lacks_something(check: Check, name: str, path: str, missing: str) -> None:
    (found,) = check(**{name: path})
    assert found.id == "personalization.E007"
    assert missing in found.msg


@pytest.mark.parametrize("raw", [{}, {"CATALOG": ""}])
def test_w001_no_catalogue(check: Check, raw: dict[str, Any]) -> None:
    assert ids(check(raw)) == ["W001"]


def test_w002_no_middleware(check: Check, settings: Settings) -> None:
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if path != checks.MIDDLEWARE]
    (found,) = check()
    assert found.id == "personalization.W002"
    assert checks.MIDDLEWARE in str(found.hint)


def test_every_fault_is_told_at_once(check: Check) -> None:
    found = check({"TYPO": 1, "MARGIN": "much", "EXPLORATION": 2.0, "UNKNOWN_EVENTS": "?", "ORDERS": "no.Orders"})
    assert sorted(ids(found)) == ["E002", "E003", "E004", "E005", "E006", "W001"]


# --- conf -------------------------------------------------------------------------------------------------------------


def test_every_setting_is_documented_and_has_a_default() -> None:
    source = Path(conf.__file__).read_text()
    assert conf.known_names() == {item.name.upper() for item in fields(conf.Conf)}
    for name in ("exploration", "holdout_percent", "salt", "population", "event_max_bytes"):
        assert f"    {name}: " in source
    assert conf.Conf().slots == {}


def test_settings_are_read_late_and_forgotten_with_the_change(settings: Settings) -> None:
    settings.PERSONALIZATION = {"MARGIN": 0.5}
    first = conf.get()
    assert first.margin == 0.5
    assert conf.get() is first
    settings.PERSONALIZATION = {"MARGIN": 0.6}
    assert conf.get().margin == 0.6


@pytest.mark.parametrize("raw", [None, {}, {"UNKNOWN": 1}, {5: 1}])
def test_what_is_not_a_setting_is_left_to_the_checks(settings: Settings, raw: Any) -> None:
    settings.PERSONALIZATION = raw
    assert conf.get() == conf.Conf()


def test_settings_cannot_be_written() -> None:
    with pytest.raises(FrozenInstanceError):
        conf.get().margin = 1.0  # type: ignore[misc]


def test_where_models_are_kept(settings: Settings, tmp_path: Path) -> None:
    settings.PERSONALIZATION = {"ARTIFACTS": str(tmp_path / "models")}
    assert conf.artifacts_dir() == tmp_path / "models"
    settings.PERSONALIZATION = {}
    settings.BASE_DIR = tmp_path
    assert conf.artifacts_dir() == tmp_path / "var" / "artifacts"


# --- Adapters ---------------------------------------------------------------------------------------------------------


def test_adapters_are_made_once_and_again_after_a_change(settings: Settings) -> None:
    settings.PERSONALIZATION = {**host.PATHS, "CONSENT": "tests.personalization.host.Consent"}
    assert isinstance(adapters.catalog(), host.Catalog)
    assert isinstance(adapters.orders(), host.Orders)
    assert isinstance(adapters.shoppers(), host.Shoppers)
    assert isinstance(adapters.consent(), host.Consent)
    assert adapters.catalog() is adapters.catalog()
    settings.PERSONALIZATION = {}
    assert [load() for load in (adapters.catalog, adapters.orders, adapters.shoppers, adapters.consent)] == [None] * 4
