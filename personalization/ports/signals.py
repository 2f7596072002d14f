"""Signals that a host sends. A receiver that fails never harms the host: tracking logs and goes on.

Every signal takes ``request`` (or None) and keyword data; ``sender`` is the host's class or function.

==================  ==========================================================================
signal              keywords
==================  ==========================================================================
product_viewed      request, item_id, category (optional: offers for it then follow the last click)
category_viewed     request, category
search_performed    request, query, results (int)
basket_changed      request, item_id, quantity (new; 0 = removed), basket_total_minor, category
order_placed        request (may be None), order (:class:`personalization.types.OrderData`)
order_refunded      request (may be None), order_id, amount_minor
==================  ==========================================================================
"""

from django.dispatch import Signal

product_viewed = Signal()
category_viewed = Signal()
search_performed = Signal()
basket_changed = Signal()
order_placed = Signal()
order_refunded = Signal()
shoppers_merged = Signal()
"""Sent by the app itself inside the merge's transaction: visitor, account, moves
(:class:`personalization.tracking.merging.Moves`). Rooms move what they keep, and note it there."""
shoppers_unmerged = Signal()
"""Sent by the app itself when a merge is taken back, inside the transaction: visitor, account, merge, returns
(:class:`personalization.tracking.merging.Returns`). Rooms give back what the merge moved."""
consent_withdrawn = Signal()
"""Sent by the app itself inside the transaction that writes the withdrawal: shopper_id, purposes (a frozenset of
:class:`personalization.types.Purpose`). Rooms let go of what they derived under that consent."""
events_rewritten = Signal()
"""Sent by the app itself, inside the transaction, when stored events change afterwards (a merge, one taken back, a
session judged again, an erasure): shopper_ids (a collection; None: everybody), first_day and last_day (dates, UTC,
inclusive), expired (True where events only went since they are kept no longer: what they led to stands). What was
counted from those days is out of date."""
