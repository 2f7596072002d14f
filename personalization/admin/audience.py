"""A friendly form over a campaign's audience rule, and the rule in words.

The rule is JSON: ``{"all": [{"field": "tier", "op": "in", "value": ["gold"]}, …]}``. The form asks the plain questions
it has a field for; every other part stands in the rule builder. A rule that does not begin with ``all`` it does not
edit at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.functional import lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from personalization import conf
from personalization.admin.audience_builder import RuleField, part_in_words
from personalization.admin.display import number
from personalization.admin.fields import WordsField
from personalization.exceptions import InvalidAudience
from personalization.features import audiences
from personalization.models import Campaign, Shopper
from personalization.ports.messages import explain

SAMPLE = 5
MORE = "audience_more"
QUESTIONS = {
    "audience_tier": ("tier", "in"),
    "audience_city": ("city", "in"),
    "audience_gender": ("gender", "in"),
    "audience_age_min": ("age", ">="),
    "audience_age_max": ("age", "<="),
    "audience_tenure_min": ("tenure_days", ">="),
    "audience_tenure_max": ("tenure_days", "<="),
    "audience_intent_min": ("intent_percent", ">="),
}
FIELDS = (*QUESTIONS, MORE)
_BY_CONDITION = {condition: name for name, condition in QUESTIONS.items()}


def is_editable(rule: Any) -> bool:
    """Return whether the form understands the rule's shape."""
    return not rule or (isinstance(rule, dict) and set(rule) == {"all"} and isinstance(rule["all"], list))


def split(rule: Any) -> tuple[dict[str, Any], list[Any]]:
    """Return the values of the form's fields, and the conditions it has no field for."""
    values: dict[str, Any] = {}
    others: list[Any] = []
    for condition in rule["all"] if rule and is_editable(rule) else []:
        name = _field_of(condition)
        if name and name not in values:
            values[name] = condition["value"]
        else:
            others.append(condition)
    return values, others


def _field_of(condition: Any) -> str | None:
    if not isinstance(condition, dict) or set(condition) != {"field", "op", "value"}:
        return None
    field, op, value = condition["field"], condition["op"], condition["value"]
    if not isinstance(field, str) or not isinstance(op, str):
        return None
    if op == "in":
        fits = isinstance(value, list) and all(isinstance(word, str) for word in value)
    else:
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return _BY_CONDITION.get((field, op)) if fits else None


def join(values: dict[str, Any], others: list[Any]) -> dict[str, Any]:
    """Return the rule for these field values and conditions; empty: everybody."""
    conditions: list[Any] = [
        {"field": field, "op": op, "value": values[name]}
        for name, (field, op) in QUESTIONS.items()
        if values.get(name) not in (None, "", [])
    ]
    conditions += others
    return {"all": conditions} if conditions else {}


def _intent_help() -> str:
    return _(
        "Shoppers whose predicted probability of buying anything within %(days)s days is at least this, by the scores "
        "that are live. Empty: all."
    ) % {"days": conf.get().intent_days}


class AudienceForm(forms.Form):
    """The conditions a marketer thinks in. All of them must hold; an empty one admits everybody."""

    audience_tier = WordsField(
        label=gettext_lazy("Loyalty tiers"), help_text=gettext_lazy("Any of these, with commas. Empty: all.")
    )
    audience_city = WordsField(
        label=gettext_lazy("Cities"), help_text=gettext_lazy("Any of these, with commas. Empty: all.")
    )
    audience_gender = WordsField(
        label=gettext_lazy("Genders"), help_text=gettext_lazy("As the shop records them. Empty: all.")
    )
    audience_age_min = forms.IntegerField(label=gettext_lazy("Age from"), required=False, min_value=0, max_value=150)
    audience_age_max = forms.IntegerField(label=gettext_lazy("Age to"), required=False, min_value=0, max_value=150)
    audience_tenure_min = forms.IntegerField(
        label=gettext_lazy("Customer for at least (days)"), required=False, min_value=0, max_value=100_000
    )
    audience_tenure_max = forms.IntegerField(
        label=gettext_lazy("Customer for at most (days)"), required=False, min_value=0, max_value=100_000
    )
    audience_intent_min = forms.IntegerField(
        label=gettext_lazy("Likely to buy soon, at least (percent)"),
        help_text=lazy(_intent_help, str)(),
        required=False, min_value=0, max_value=100,
    )  # fmt: skip

    audience_more = RuleField(
        label=gettext_lazy("Further rules"),
        help_text=gettext_lazy("Conditions over orders, interests and habits, joined with all, any or none."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rule = getattr(getattr(self, "instance", None), "audience", None)
        others = split(rule)[1]
        if others:
            self.initial.setdefault(MORE, {"all": others})

    def rule(self, others: list[Any]) -> dict[str, Any]:
        """Return the rule of the cleaned fields; errors of the rule are put beside the fields.

        ``others`` stand where the page had no builder.
        """
        if MORE in self.fields and self.add_prefix(MORE) in self.data:
            others = _parts(self.cleaned_data.get(MORE))
        for name in ("age", "tenure"):
            low, high = (self.cleaned_data.get(f"audience_{name}_{end}") for end in ("min", "max"))
            if low is not None and high is not None and low > high:
                self.add_error(f"audience_{name}_max", _("This is below the lower limit."))
        rule = join(self.cleaned_data, others)
        complaint = complaint_of(rule)
        if complaint:
            self._blame(complaint, others)
        return rule

    def _blame(self, complaint: str, others: list[Any]) -> None:
        """Put what is wrong with the rule at each field that alone is wrong, else at the one for further rules."""
        guilty: dict[str | None, str] = {
            name: said
            for name in QUESTIONS
            if name in self.fields and (said := complaint_of(join({name: self.cleaned_data.get(name)}, [])))
        }
        if not guilty:
            said = complaint_of({"all": others}) if others else complaint
            guilty[MORE if MORE in self.fields else None] = said or complaint
        for name, said in guilty.items():
            self.add_error(name, said)


def complaint_of(rule: Any) -> str:
    """Return what is wrong with a rule, in words; empty if it can be read."""
    try:
        audiences.parse(rule)
    except InvalidAudience as error:
        return explain(error)
    return ""


@dataclass(frozen=True)
class AudienceView:
    """Who a rule reaches now: ``count`` is None where the rule cannot be read; ``lacking`` says what it waits for."""

    count: int | None
    sample: list[Shopper]
    error: str = ""
    lacking: str = ""

    @property
    def sentence(self) -> str:
        if self.count is None:
            return self.error
        return ngettext("%(count)s shopper now", "%(count)s shoppers now", self.count) % {"count": number(self.count)}


def look(campaign: Campaign, *, with_sample: bool) -> AudienceView:
    """Count a campaign's audience and draw a small sample."""
    try:
        count = audiences.count(campaign)
        sample = list(audiences.sample(campaign, SAMPLE)) if with_sample else []
    except InvalidAudience as error:
        return AudienceView(None, [], explain(error))
    return AudienceView(count, sample, lacking=audiences.lacking(campaign))


def _parts(rule: Any) -> list[Any]:
    """Return what all must hold in a rule that was built or typed."""
    if not rule:
        return []
    return list(rule["all"]) if is_editable(rule) else [rule]


def in_words(rule: Any) -> list[str]:
    """Return the rule's conditions as sentences, whatever its shape."""
    if not rule:
        return [_("Everybody.")]
    if not is_editable(rule):
        return [part_in_words(rule)]
    return [part_in_words(part) for part in rule["all"]]
