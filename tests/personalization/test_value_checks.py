"""Settings of the right type that cannot be meant are told by the checks, each with what is expected."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.utils.translation import gettext_lazy
from pytest_django import Settings

from personalization import checks, conf, value_checks
from tests.personalization import host
from tests.personalization.test_checks_and_conf import GOOD, ids

KEY = "a-key-of-more-than-24-characters"


def told(settings: Settings, **changes: Any) -> list[CheckMessage]:
    settings.PERSONALIZATION = GOOD | changes
    return checks.check_settings(None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CURRENCY", "usd"),
        ("CURRENCY", "XXZ"),
        ("CURRENCY", ""),
        ("QUIET_HOURS", [25, 8]),
        ("QUIET_HOURS", [21]),
        ("QUIET_HOURS", [21.5, 8]),
        ("QUIET_HOURS", [True, 8]),
        ("QUIET_HOURS", ["21", "8"]),
        ("COUNTRY", "Atlantis"),
        ("COUNTRY", "ZZ"),
        ("PUBLIC_URL", "shop.example"),
        ("PUBLIC_URL", "//shop.example"),
        ("PUBLIC_URL", "https://"),
        ("PUBLIC_URL", "https://shop.example/?a=1"),
        ("PUBLIC_URL", "https://[shop"),
        ("PUBLIC_URL", "ftp://shop.example"),
        ("WEBHOOK_URL", "http://x"),
        ("WEBHOOK_URL", "x"),
        ("ROUNDING", {"usd": 5}),
        ("ROUNDING", {"USD": "x"}),
        ("ROUNDING", {"USD": 0}),
        ("ROUNDING", {"USD": True}),
        ("COOKIE_NAME", "a b"),
        ("COOKIE_NAME", ""),
        ("COOKIE_NAME", "a;b"),
        ("SLOTS", {1: "One"}),
        ("SLOTS", {"one": 2}),
        ("SLOTS", {"x" * 61: "Long"}),
        ("POPULATION", "x" * 300),
        ("POPULATION", ""),
        ("POPULATION", " "),
        ("WORDING_VERSION", "x" * 41),
        ("CHANNELS", {"": "tests.concurrency.sender.FileChannel"}),
        ("CHANNELS", {"sms": 5}),
        ("PERSONAL_ATTRIBUTES", ["name", 5]),
        ("PROTECTED_ATTRIBUTES", [""]),
    ],
)
def test_e016_a_value_that_cannot_be_meant(settings: Settings, name: str, value: Any) -> None:
    (found,) = told(settings, **{name: value})
    assert found.id == "personalization.E016"
    assert name in found.msg
    assert value_checks.VALUES[name].words in found.msg


@pytest.mark.parametrize(
    "good",
    [
        {"CURRENCY": "JPY"},
        {"QUIET_HOURS": []},
        {"QUIET_HOURS": [0, 24]},
        {"COUNTRY": "de"},  # as triggers take it
        {"COUNTRY": "US"},
        {"PUBLIC_URL": "http://127.0.0.1:8000"},
        {"PUBLIC_URL": "https://shop.example/"},
        {"WEBHOOK_URL": "https://hooks.example/in?token=5"},
        {"ROUNDING": {"CHF": 5}},
        {"COOKIE_NAME": "__Host-pz"},
        {"SLOTS": {"home_hero": "Top of the home page", "basket": gettext_lazy("Basket")}},
        {"CHANNELS": {"file": "tests.concurrency.sender.FileChannel"}},
        {"SECRET_KEYS": [KEY]},
        {"POINT_VALUE_MINOR": 0.25},
    ],
)
def test_what_can_be_meant_is_silent(settings: Settings, good: dict[str, Any]) -> None:
    assert told(settings, **good) == []


def test_defaults_are_good(settings: Settings) -> None:
    defaults = {item.name.upper(): getattr(conf.Conf(), item.name) for item in fields(conf.Conf)}
    assert told(settings, **{**defaults, **host.PATHS}) == []


def test_a_webhook_may_be_open_in_development_alone(settings: Settings) -> None:
    """As the channel itself has it."""
    settings.DEBUG = True
    assert told(settings, WEBHOOK_URL="http://127.0.0.1:9000/hook") == []


def test_an_address_that_may_hold_a_password_is_not_repeated(settings: Settings) -> None:
    (found,) = told(settings, WEBHOOK_URL="http://me:hunter2@hooks.example")
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("path", "number"),
    [("no.such.Class", "E006"), ("tests.personalization.host.Catalog", "E007")],
)
def test_a_channel_is_looked_for_like_an_adapter(settings: Settings, path: str, number: str) -> None:
    (found,) = told(settings, CHANNELS={"sms": path})
    assert ids([found]) == [number]
    assert "['CHANNELS']['sms']" in found.msg


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        (["abc"], ["E017"]),
        (["", KEY], ["E017"]),
        ([5], ["E017"]),
        ([KEY, "an-old-short-key"], ["W006"]),  # it opens what is not encrypted anew yet
        ([KEY, KEY[::-1]], []),
    ],
)
def test_keys_that_could_be_guessed(settings: Settings, keys: list[Any], numbers: list[str]) -> None:
    found = told(settings, SECRET_KEYS=keys)
    assert ids(found) == numbers
    assert not any(str(key) in str(message) for key in keys if key for message in found)


def test_every_number_has_its_range(settings: Settings) -> None:
    numbers = {
        item.name.upper()
        for item in fields(conf.Conf)
        if isinstance(getattr(conf.Conf(), item.name), int | float)
        and not isinstance(getattr(conf.Conf(), item.name), bool)
    }
    assert numbers == set(checks.RANGES)
    for name in numbers:
        assert ids(told(settings, **{name: -1})) == ["E004"], name


def test_e009_e014_and_e015_are_three_errors(settings: Settings) -> None:
    wrong = {"CONSENT_COOKIE": {"format": "?"}, "PERSONAL_ATTRIBUTES": ["birthday"], "RETENTION_DAYS": {"*": -1}}
    assert sorted(ids(told(settings, **wrong))) == ["E009", "E014", "E015"]
