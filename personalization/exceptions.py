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
        plain = {name: _plain(value) for name, value in self.params.items()}
        self.message = self.template % plain if plain else self.template
        self.reason = reason
        super().__init__(self.message)


def _plain(value: object) -> object:
    """Return several sentences as one text; everything else as it is."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


class UnknownSlot(PersonalizationError):
    """This slot is not declared in PERSONALIZATION["SLOTS"]."""

    code = "unknown_slot"


class UnknownOffer(PersonalizationError):
    """There is no such offer, or it is not open to this shopper."""

    code = "unknown_offer"


class InvalidEvent(PersonalizationError):
    """This event does not match its declared type."""

    code = "invalid_event"


class InvalidRecord(PersonalizationError):
    """What the shop's adapter hands over cannot be stored."""

    code = "invalid_record"


class ImportMoved(PersonalizationError):
    """Another import of this file is running. Wait for it, or stop it and run this one again."""

    code = "import_moved"


class MergeRefused(PersonalizationError):
    """These two cannot be merged: a visitor without an account goes into another shopper, once."""

    code = "merge_refused"


class MergeGone(PersonalizationError):
    """There is no such merge, or it was taken back already."""

    code = "merge_gone"


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


class RevisionOutdated(PersonalizationError):
    """Somebody else has changed this campaign since you opened it. Reload it and make your change again."""

    code = "revision_outdated"


class KeyReused(PersonalizationError):
    """This idempotency key stands for another request already. Take a new key for a new request."""

    code = "key_reused"


class FrozenField(PersonalizationError):
    """This cannot be changed in the campaign's present state."""

    code = "frozen_field"


class ApprovalRefused(PersonalizationError):
    """You cannot approve this campaign."""

    code = "approval_refused"


class InvalidTerms(PersonalizationError):
    """The offer's terms contradict each other."""

    code = "invalid_terms"


class InvalidAudience(PersonalizationError):
    """The audience rule cannot be read."""

    code = "invalid_audience"


class TooManyTries(PersonalizationError):
    """Too many tries. Wait a while, then try again."""

    code = "too_many_tries"


class QuoteChanged(PersonalizationError):
    """The price has changed since it was shown. Look at the new one and confirm again."""

    code = "quote_changed"


class UnderReview(PersonalizationError):
    """This redemption is being checked by the shop. Order without the code, or try again later."""

    code = "under_review"


class GiftCardRefused(PersonalizationError):
    """This gift card cannot be used."""

    code = "gift_card_refused"


class AllowanceUsedUp(PersonalizationError):
    """This is more goodwill than you may still give this month."""

    code = "allowance_used_up"


class InvalidTrigger(PersonalizationError):
    """The trigger's details cannot be read."""

    code = "invalid_trigger"


class ChannelFailed(PersonalizationError):
    """The message could not be handed over."""

    code = "channel_failed"


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
