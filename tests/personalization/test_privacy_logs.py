"""What looks like personal data is taken out of the log before any handler of the host sees it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.privacy import logs
from personalization.pure.redaction import HIDDEN, redact


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("mail to ada.lovelace+x@mail.example.org failed", f"mail to {HIDDEN} failed"),
        ("Key (kind, value)=(guest, Ada) already exists.", f"Key (kind, value)=({HIDDEN}) already exists."),
        ("Failing row contains (7, Ada, 1815-12-10).", f"Failing row contains ({HIDDEN})."),
        ("call +49 (30) 123 456-78 back", f"call {HIDDEN} back"),
        ("from 192.168.10.7, twice", f"from {HIDDEN}, twice"),
        ("code ABCD-EFGH-JKLM-NPQR is used up", f"code {HIDDEN} is used up"),
        ("token gAAAAAB" + "x" * 80 + "==", f"token {HIDDEN}"),
    ],
)  # fmt: skip
def test_what_is_personal_is_hidden(text: str, left: str) -> None:
    assert redact(text) == left


@pytest.mark.parametrize(
    "text",
    ["job 17 failed after 3 tries", "campaign 4 cannot run: dates", "version 1.2.3.dev4", "2026-11-27 10:00:00"],
)
def test_what_an_operator_needs_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=300))
def test_any_text_can_be_redacted_twice(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a host's handler at the root writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def test_every_logger_of_the_app_is_covered(written: io.StringIO) -> None:
    logs.install()
    logging.getLogger("personalization.made.after.the.start").error("mail %s bounced", "ada@example.org")
    try:
        raise ValueError("no such address: ada@example.org")
    except ValueError:
        logging.getLogger("worker.runner").exception("job %s failed", 7)
    text = written.getvalue()
    assert "ada@example.org" not in text
    assert f"mail {HIDDEN} bounced" in text
    assert f"ValueError: no such address: {HIDDEN}" in text
    assert "job 7 failed" in text


def test_without_the_filter_it_would_be_written(written: io.StringIO) -> None:
    """The control: another logger's line comes through as it is."""
    logging.getLogger("somebody.else").error("mail %s bounced", "ada@example.org")
    assert "ada@example.org" in written.getvalue()


def test_installed_twice_it_works_once() -> None:
    logs.install()
    before = len(logging.getLogger("personalization").handlers)
    logs.install()
    assert len(logging.getLogger("personalization").handlers) == before


def test_a_badly_formatted_line_passes() -> None:
    record = logging.LogRecord("personalization.x", logging.ERROR, "", 0, "%d of %d", ("a",), None)
    assert logs.PersonalDataFilter().filter(record)
