"""The banner of alerts that nobody has seen, for our pages of the admin."""

from __future__ import annotations

from typing import Any

from django import template

from personalization.campaigns import alerts

register = template.Library()
MOST = 5


@register.inclusion_tag("admin/personalization/includes/alerts.html", takes_context=True)
def unseen_alerts(context: dict[str, Any]) -> dict[str, Any]:
    """Show what is new to whoever may see alerts; nothing to others."""
    request = context.get("request")
    user = getattr(request, "user", None)
    if user is None or not user.has_perm("personalization.view_alert"):
        return {"alerts": []}
    newest = list(alerts.unseen()[: MOST + 1])
    return {"alerts": [(alert, alerts.text(alert)) for alert in newest[:MOST]], "more": len(newest) > MOST}
