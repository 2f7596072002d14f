"""What an error of the app says to a person, in the language of the request: hosts and edges call ``explain``.

Money and errors know no Django (``pure``, ``exceptions``), so their sentences are listed here for ``makemessages``;
``tests/test_translations.py`` holds the list complete.
"""

from __future__ import annotations

from django.utils.translation import gettext, gettext_noop

from personalization.exceptions import PersonalizationError
from personalization.ports.money import money_of
from personalization.pure.money import Amount

SENTENCES = (
    gettext_noop("Something about this request cannot be done."),
    gettext_noop('This slot is not declared in PERSONALIZATION["SLOTS"].'),
    gettext_noop("There is no such offer, or it is not open to this shopper."),
    gettext_noop("There is no such offer among those that you were shown."),
    gettext_noop("This event does not match its declared type."),
    gettext_noop("What the shop's adapter hands over cannot be stored."),
    gettext_noop("These two cannot be merged: a visitor without an account goes into another shopper, once."),
    gettext_noop("There is no such merge, or it was taken back already."),
    gettext_noop("The shopper has not agreed to this purpose."),
    gettext_noop("This code cannot be used."),
    gettext_noop("The basket does not meet the offer's terms yet."),
    gettext_noop("This offer cannot be claimed any more."),
    gettext_noop("The reservation has been released or has expired. Apply the code again."),
    gettext_noop("This refund is larger than what is left of the redemption."),
    gettext_noop("The campaign cannot change to this state from the one it is in."),
    gettext_noop("Somebody else has changed this campaign since you opened it. Reload it and make your change again."),
    gettext_noop("This idempotency key stands for another request already. Take a new key for a new request."),
    gettext_noop("This cannot be changed in the campaign's present state."),
    gettext_noop("You cannot approve this campaign."),
    gettext_noop("The offer's terms contradict each other."),
    gettext_noop("The audience rule cannot be read."),
    gettext_noop("The trigger's details cannot be read."),
    gettext_noop("The message could not be handed over."),
    gettext_noop("There is not enough data to train on yet."),
    gettext_noop("Another worker has taken this job over, or it was cancelled; nothing of this run is kept."),
    gettext_noop("The model file does not match the checksum in the database. Train again, or restore the file."),
    gettext_noop("The data set cannot be imported."),
    gettext_noop("Another import of this file is running. Wait for it, or stop it and run this one again."),
    gettext_noop("Too many tries. Wait a while, then try again."),
    gettext_noop("The price has changed since it was shown. Look at the new one and confirm again."),
    gettext_noop("This redemption is being checked by the shop. Order without the code, or try again later."),
    gettext_noop("This gift card cannot be used."),
    gettext_noop("This is more goodwill than you may still give this month."),
    gettext_noop("Another version became champion at the same moment. Reload and decide again."),
    gettext_noop("These settings are not in force (any more): there is nothing to withdraw."),
    gettext_noop("The model of these scores was rolled back while they were computed. Score again."),
    gettext_noop("Newer scores went live while these were computed: these are dropped, and nothing needs to be done."),
    gettext_noop("No earlier champion is left to roll back to."),
    gettext_noop("This version was never champion. Promote it instead."),
    gettext_noop("This version reigns already: nothing was changed."),
    gettext_noop("This offer is in another currency."),
    gettext_noop("This offer carries no discount."),
    gettext_noop("No product in the basket belongs to this offer."),
    gettext_noop("This basket is too small for the discount to be worth a cent."),
    gettext_noop("Spend %(missing)s more to use this offer."),
    gettext_noop("The basket does not hold all products of this bundle."),
    gettext_noop("Put %(count)s pieces of this offer into the basket."),
    gettext_noop("This basket is delivered for nothing already."),
    gettext_noop("Another offer of the same group is applied instead."),
    gettext_noop("The offer that is applied cannot be combined with others."),
    gettext_noop("This offer cannot be combined with the offers that are applied."),
    gettext_noop("No more offers fit into one order."),
    gettext_noop("You save more without this offer, or it would take nothing more off."),
)


def explain(error: PersonalizationError) -> str:
    """Return what went wrong, in the language that is active."""
    text = gettext(error.template)
    params = {name: money_of(value) if isinstance(value, Amount) else value for name, value in error.params.items()}
    return text % params if params else text
