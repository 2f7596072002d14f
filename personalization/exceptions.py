"""Errors of the app. A class's docstring is its message; ``code`` is stable for API clients; edges translate.

Ground floor: imports nothing of the project. ``str(error)`` is English; ``ports.messages.explain`` says it in the
reader's language.
"""

from __future__ import annotations

from collections.abc import Mapping


class PersonalizationError(Exception):
    """Something about this request cannot be done."""

    code = "error"

    def __init__(self, message: str = "", *, reason: str = "", params: Mapping[str, object] | None = None) -> None:
        # What is translated is the template; names and numbers are put in afterwards.
        self.template = message or (self.__doc__ or "").strip()
        self.params = dict(params or {})
        self.message = self.template % self.params if self.params else self.template
        self.reason = reason
        super().__init__(self.message)


class UnknownSlot(PersonalizationError):
    """This slot is not declared in PERSONALIZATION["SLOTS"]."""

    code = "unknown_slot"


class UnknownOffer(PersonalizationError):
    """There is no such offer, or it is not open to this shopper."""

    code = "unknown_offer"


class InvalidEvent(PersonalizationError):
    """This event does not match its declared type."""

    code = "invalid_event"


class ConsentMissing(PersonalizationError):
    """The shopper has not agreed to this purpose."""

    code = "consent_missing"


class CouponRefused(PersonalizationError):
    """This code cannot be used."""

    # One message for unknown, expired, used and foreign codes: the difference would tell which codes exist.
    # ``reason`` carries the difference to staff and tests; no edge shows it to a shopper.
    code = "coupon_refused"


class BasketNotEligible(PersonalizationError):
    """The basket does not meet the offer's terms yet."""

    code = "basket_not_eligible"


class ClaimRefused(PersonalizationError):
    """This offer cannot be claimed any more."""

    code = "claim_refused"


class ReservationGone(PersonalizationError):
    """The reservation has been released or has expired. Apply the code again."""

    code = "reservation_gone"


class RefundRefused(PersonalizationError):
    """This refund is larger than what is left of the redemption."""

    code = "refund_refused"


class InvalidTransition(PersonalizationError):
    """The campaign cannot change to this state from the one it is in."""

    code = "invalid_transition"


class InvalidTerms(PersonalizationError):
    """The offer's terms contradict each other."""

    code = "invalid_terms"


class InvalidAudience(PersonalizationError):
    """The audience rule cannot be read."""

    code = "invalid_audience"


class NotEnoughData(PersonalizationError):
    """There is not enough data to train on yet."""

    code = "not_enough_data"


class LeaseLost(PersonalizationError):
    """Another worker has taken this job over, or it was cancelled; nothing of this run is kept."""

    code = "lease_lost"


class ArtifactCorrupt(PersonalizationError):
    """The model file does not match the checksum in the database. Train again, or restore the file."""

    code = "artifact_corrupt"


class DatasetError(PersonalizationError):
    """The data set cannot be imported."""

    code = "dataset_error"
