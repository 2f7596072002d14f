"""Somebody guesses codes: every wrong one gets the same answer after the same time, and soon none at all.

The timing test plays a classifier: it learns from half of the samples how long which kind of refusal takes, and is
judged on the other half by how well it ranks them (AUC; .5 is a guess).
"""

from __future__ import annotations

import logging
import random
import sys
import time
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone
from django.views.debug import ExceptionReporter

from personalization.campaigns import batches, codes, coupons, secrecy
from personalization.campaigns.secrecy import even_time
from personalization.exceptions import CouponRefused, TooManyTries
from personalization.models import Coupon, Shopper
from personalization.tracking import limits, secrets
from tests.personalization.builders import Browser, make_basket, make_offer, make_request, make_shopper
from tests.personalization.conftest import Configure
from tests.support.scale import rounds

pytestmark = pytest.mark.django_db
KINDS = ("unknown", "expired", "used", "voided", "foreign")
BASKET = {"currency": "EUR", "lines": [{"item_id": "p-0", "quantity": 1, "unit_price_minor": 10_000}]}


def wrong_codes() -> dict[str, str]:
    """Return one code of each wrong kind, all issued for the same offer but the unknown one."""
    offer = make_offer()
    found = {"unknown": codes.generate()}
    changes: dict[str, dict[str, Any]] = {
        "expired": {"shopper": None, "expires_at": timezone.now() - timedelta(days=1)},
        "used": {"shopper": None, "used_count": 1},
        "voided": {"shopper": None, "voided_at": timezone.now()},
        "foreign": {},
    }
    for kind, changed in changes.items():
        issued = coupons.claim(offer.pk, shopper=make_shopper())
        Coupon.objects.filter(pk=issued.coupon_id).update(**changed)
        found[kind] = issued.code
    return found


@pytest.fixture
def unlimited(configure: Configure) -> None:
    configure(CATALOG="", RATE_LIMITS={scope: [] for scope in limits.BUILT_IN})


def test_every_wrong_code_gets_the_same_answer(unlimited: None) -> None:
    visitor = Browser()
    answers = {
        (answer.status_code, answer.content)
        for code in wrong_codes().values()
        for answer in [visitor.call("api-preview", {"code": code, "basket": BASKET})]
    }
    assert len(answers) == 1
    assert next(iter(answers))[0] == 400


def seconds(look: Callable[[str], None], code: str) -> float:
    began = time.perf_counter()
    with pytest.raises(CouponRefused):
        look(code)
    return time.perf_counter() - began


def interleaved(look: Callable[[str], None], times: int) -> dict[str, list[float]]:
    """Return kind → seconds of each refusal, the kinds in random order."""
    known, taken = wrong_codes(), {kind: [0.0] * 0 for kind in KINDS}
    order = list(KINDS) * times
    random.Random(7).shuffle(order)
    for kind in order:
        taken[kind].append(seconds(look, known[kind]))
    return taken


def auc(some: list[float], others: list[float], bins: int = 12) -> float:
    """Return how well a classifier trained on every second sample tells the rest apart; .5 is a guess.

    It learns, for each span of time, the share of samples that are of the first kind: no shape is assumed.
    """
    train = sorted([(value, 1) for value in some[::2]] + [(value, 0) for value in others[::2]])
    width = max(len(train) // bins, 1)
    spans = [train[start : start + width] for start in range(0, len(train), width)]
    edges = [span[-1][0] for span in spans[:-1]]
    shares = [(sum(kind for _value, kind in span) + 1) / (len(span) + 2) for span in spans]

    def scored(value: float) -> float:
        return shares[sum(value > edge for edge in edges)]

    ours, theirs = [scored(value) for value in some[1::2]], [scored(value) for value in others[1::2]]
    wins = sum((one > other) + (one == other) / 2 for one in ours for other in theirs)
    return wins / (len(ours) * len(theirs))


def worst_auc(taken: dict[str, list[float]]) -> float:
    """Return the best that the classifier does at telling unknown codes from any other kind, or from all others."""
    pairs = [auc(taken["unknown"], taken[kind]) for kind in KINDS[1:]]
    most = len(taken["unknown"])
    rest = [taken[kind][n] for n in range(most) for kind in KINDS[1:]][: most * 4]
    return max([*pairs, auc(taken["unknown"], rest)])


def looking(shopper: Shopper) -> Callable[[str], None]:
    def look(code: str) -> None:
        coupons.usable_coupon(shopper=shopper, code=code)

    return look


def test_time_does_not_tell_which_codes_exist(configure: Configure, unlimited: None) -> None:
    """10,000 interleaved samples in ``make soak``; with few samples chance alone reaches further.

    A busy machine disturbs the clock now and then: what time really tells, it tells every time.
    """
    configure(REFUSAL_FLOOR_MS=20)
    times = rounds(80, 2000)
    held_back = even_time()(looking(make_shopper()))
    bar = 0.55 if times >= 2000 else 0.75
    assert any(worst_auc(interleaved(held_back, times)) < bar for _attempt in range(3))


def test_without_the_floor_time_tells(configure: Configure, unlimited: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: an unknown code is refused sooner, since no coupon is judged.

    Judging takes two milliseconds longer here, so that a busy machine cannot hide the difference.
    """
    configure(REFUSAL_FLOOR_MS=0)
    judge = coupons.unusable_reason

    def slowly(coupon: Coupon | None, shopper: Shopper | None, now: datetime) -> str:
        if coupon is not None:
            time.sleep(0.002)
        return judge(coupon, shopper, now)

    monkeypatch.setattr(coupons, "unusable_reason", slowly)
    open_look = even_time()(looking(make_shopper()))
    assert any(worst_auc(interleaved(open_look, rounds(100, 2000))) > 0.65 for _attempt in range(3))


def test_a_refusal_waits_for_a_multiple_of_the_floor(configure: Configure) -> None:
    configure(REFUSAL_FLOOR_MS=30)

    def refused_after(work: float) -> float:
        def look(code: str) -> None:
            time.sleep(work)
            raise CouponRefused

        return seconds(even_time()(look), "")

    assert refused_after(0.0) >= 0.030
    assert refused_after(0.035) >= 0.060


def test_what_the_lookup_found_is_gone_before_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """To free a coupon and its campaign takes 18 µs, which told unknown codes from others (AUC .74)."""
    happened: list[str] = []
    monkeypatch.setattr(secrecy, "_wait", lambda began, floor: happened.append("wait"))

    class Found:
        pass

    def look(code: str) -> None:
        found = Found()
        weakref.finalize(found, happened.append, "gone")
        raise CouponRefused

    with pytest.raises(CouponRefused):
        even_time()(look)("")
    assert happened == ["gone", "wait"]


def test_a_right_code_does_not_wait(configure: Configure) -> None:
    configure(REFUSAL_FLOOR_MS=2000)
    began = time.perf_counter()
    with even_time():
        pass
    assert time.perf_counter() - began < 1


def test_guessing_ends_at_the_limit_however_the_guesser_hides() -> None:
    """New cookies and forged headers for each guess: the network address remains."""
    passed = 0
    for number in range(700):
        request = make_request(visitor=f"visitor-{number}")
        request.META["REMOTE_ADDR"] = "198.51.100.7"
        request.META["HTTP_X_FORWARDED_FOR"] = f"203.0.113.{number % 250}"
        try:
            limits.attempt("code", request=request)
        except TooManyTries:
            continue
        passed += 1
    assert passed <= 2 * 600  # the test may run across the end of a window
    assert passed < 700


def test_no_log_record_and_no_error_report_holds_a_code(
    unlimited: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    visitor = Browser(raise_request_exception=False)
    known = wrong_codes()
    for code in known.values():
        visitor.call("api-preview", {"code": code, "basket": BASKET})
        visitor.call("api-reserve", {"code": code, "basket": BASKET, "idempotency_key": code[:5]})
    assert not [code for code in known.values() if code in caplog.text]


def reported(function: str, crash: Callable[[], object]) -> str:
    """Return what Django's error report shows of a function's frame when it crashes."""
    try:
        crash()
    except OSError:
        frames = ExceptionReporter(make_request(), *sys.exc_info()).get_traceback_frames()
    shown = [str(frame["vars"]) for frame in frames if frame["function"] == function]
    assert shown
    return " ".join(shown)


def fail(*args: object, **kwargs: object) -> str:
    raise OSError("no disk")


def test_a_crash_while_codes_are_made_reports_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's error report shows the variables of every frame, unless they are declared sensitive."""
    batch = batches.create_batch(make_offer(), 5)
    monkeypatch.setattr(codes, "generate", lambda: "GENERATED-CODE")
    monkeypatch.setattr(secrets, "encrypt", fail)
    crash = partial(batches._draw, batch, 5, 0)
    assert "GENERATED" not in reported("_draw", crash)
    assert "GENERATED" not in reported("seal", crash)
    assert "GENERATED" in reported("_draw", partial(batches._draw.__wrapped__, batch, 5, 0))  # type: ignore[attr-defined]


def test_a_code_with_a_meaning_is_in_no_report_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coupons, "issue", fail)
    assert "SECRETSALE" not in reported(
        "add_vanity", lambda: batches.add_vanity(make_offer(), "SECRETSALE", max_uses=1)
    )


def test_the_basket_of_the_tests_is_worth_a_discount() -> None:
    """The other side of the refusals: the same request with a good code is answered with a discount."""
    offer = make_offer()
    code = coupons.claim(offer.pk, shopper=make_shopper()).code
    Coupon.objects.update(shopper=None)
    assert coupons.preview(shopper=None, basket=make_basket(10_000), code=code).discount.amount_minor == 1000
