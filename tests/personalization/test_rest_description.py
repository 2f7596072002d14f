"""The OpenAPI description: every operation is told whole, and every example is what its schema says."""

from __future__ import annotations

from io import StringIO
from typing import Any

import jsonschema
import pytest
import yaml
from django.core.management import call_command

from personalization.exceptions import PersonalizationError
from personalization.rest.base import STATUSES

METHODS = {"get", "post", "patch", "put", "delete"}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    out, told = StringIO(), StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out, stderr=told)
    assert told.getvalue() == ""
    found: dict[str, Any] = yaml.safe_load(out.getvalue())
    return found


def operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for path, item in described["paths"].items()
        if path.startswith("/personalization/")
        for method, operation in item.items()
        if method in METHODS
    }


def contents(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the JSON of an operation's request and answers, by where it stands."""
    found = {"request": operation.get("requestBody", {})} | operation["responses"]
    return {place: part["content"]["application/json"] for place, part in found.items() if part.get("content")}


def test_every_operation_says_what_it_does_and_how_it_refuses(described: dict[str, Any]) -> None:
    found = operations(described)
    assert len(found) >= 24
    for name, operation in found.items():
        assert operation["tags"] == [name.partition("_")[0]], name
        assert operation["description"].endswith("."), name
        parts = contents(operation)
        assert "examples" in parts.get("request", {"examples": ""}), name
        refusals = [code for code in operation["responses"] if code.startswith("4")]
        assert refusals or name in {"gift_cards_list", "products_list"}, name
        for code in refusals:
            assert operation["responses"][code]["description"], (name, code)
            assert parts[code]["examples"], (name, code)
    for parameter in (each for one in found.values() for each in one.get("parameters", [])):
        assert parameter["in"] == "path" or parameter.get("description"), parameter


def test_every_refusal_has_the_code_and_the_status_of_its_error(described: dict[str, Any]) -> None:
    known = {error.code: STATUSES.get(error, 400) for error in PersonalizationError.__subclasses__()}
    seen = set()
    for name, operation in operations(described).items():
        for status, part in operation["responses"].items():
            for example in part.get("content", {}).get("application/json", {}).get("examples", {}).values():
                code = example["value"].get("code", "") if status.startswith("4") else ""
                if code in known:
                    seen.add(code)
                    assert known[code] == int(status), (name, code)
    assert {"key_reused", "coupon_refused", "too_many_tries", "gift_card_refused", "revision_outdated"} <= seen


def test_every_example_is_what_its_schema_says(described: dict[str, Any]) -> None:
    count = 0
    for name, operation in operations(described).items():
        for place, content in contents(operation).items():
            schema = _json_schema({**content["schema"], "components": described["components"]})
            for example in content.get("examples", {}).values():
                problems = [
                    error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(example["value"])
                ]
                unknown = set(example["value"]) - _properties(content["schema"], described)
                assert (problems, unknown) == ([], set()), (name, place)
                count += 1
    assert count > 60


def _json_schema(described: Any) -> Any:
    """Return the description with what OpenAPI 3.0 calls nullable in JSON Schema's words."""
    if isinstance(described, list):
        return [_json_schema(part) for part in described]
    if not isinstance(described, dict):
        return described
    plain = {name: _json_schema(part) for name, part in described.items()}
    return {**plain, "type": [plain["type"], "null"]} if plain.pop("nullable", False) is True else plain


def _properties(schema: dict[str, Any], described: dict[str, Any]) -> set[str]:
    name = schema["$ref"].rpartition("/")[2]
    return set(described["components"]["schemas"][name]["properties"])


def test_an_example_that_lies_is_noticed(described: dict[str, Any]) -> None:
    """The negative control."""
    content = contents(operations(described)["coupons_reserve"])["request"]
    schema = {**content["schema"], "components": described["components"]}
    wrong = {**next(iter(content["examples"].values()))["value"], "idempotency_key": 7}
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(wrong))
