"""Pages, thin: read the request, call a verb, answer. Verbs live in ``shop.checkout``, ``shop.coupons``."""
