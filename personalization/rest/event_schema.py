"""The registry of event types in OpenAPI's words: one schema a type, told apart by ``type``, the host's own included.

Made when the document is made: by then every app has registered what it declares.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.plumbing import ResolvedComponent

from personalization import conf
from personalization.models import Channel
from personalization.tracking import schema
from personalization.tracking.checking import MAX_AMOUNT_MINOR
from personalization.tracking.declarations import EventType, Kind, Property

JSON_KINDS: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: {"type": "string"},
    Kind.WHOLE: {"type": "integer", "minimum": -MAX_AMOUNT_MINOR, "maximum": MAX_AMOUNT_MINOR},
    Kind.NUMBER: {"type": "number", "minimum": -MAX_AMOUNT_MINOR, "maximum": MAX_AMOUNT_MINOR},
    Kind.FLAG: {"type": "boolean"},
    Kind.MOMENT: {"type": "string", "format": "date-time"},
    Kind.LIST: {"type": "array", "items": {}},
    Kind.OBJECT: {"type": "object", "additionalProperties": True},
}
CHANNEL = {
    "type": "string",
    "enum": Channel.values,
    "description": "Where it happened; the request's, if the event says none.",
}
FIELDS: dict[str, dict[str, Any]] = {
    "item_id": {"type": "string", "maxLength": 100},
    "category": {"type": "string", "maxLength": 100},
    "offer_id": {"type": "integer", "minimum": 1, "maximum": MAX_AMOUNT_MINOR},
    "value_minor": {"type": "integer", "minimum": -MAX_AMOUNT_MINOR, "maximum": MAX_AMOUNT_MINOR},
}


def of_property(declared: Property) -> dict[str, Any]:
    """Return one property as a JSON schema."""
    described = dict(JSON_KINDS[declared.kind])
    if declared.kind == Kind.TEXT:
        described["maxLength"] = declared.max_length
    if declared.choices:
        described["enum"] = list(declared.choices)
    if declared.least is not None:
        described["minimum"] = declared.least
    if declared.most is not None:
        described["maximum"] = declared.most
    said = [declared.description, f"Unit: {declared.unit}." if declared.unit else ""]
    said += [
        "Personal." if declared.personal else "",
        f"Kept for {declared.purpose.value}." if declared.purpose else "",
    ]
    text = " ".join(part for part in said if part)
    return described | ({"description": text} if text else {})


def of_type(event_type: EventType) -> dict[str, Any]:
    """Return one event of this type as a JSON schema."""
    properties = {each.name: of_property(each) for each in event_type.properties}
    required = [each.name for each in event_type.properties if each.required]
    inner: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": conf.get().unknown_properties != "reject",
    }
    if required:
        inner["required"] = required
    said = f"Version {event_type.version}, kept for {event_type.purpose.value}. {event_type.description}"
    described: dict[str, Any] = {
        "type": "object",
        "properties": {
            "id": {
                "type": "string",
                "minLength": 1,
                "maxLength": 100,
                "description": "Unique for the sender; a repeated id is stored once.",
            },
            "type": {"type": "string", "enum": [event_type.name]},
            **FIELDS,
            "occurred_at": {"type": "string", "format": "date-time", "description": "Left out: now."},
            "channel": CHANNEL,
            "properties": inner,
        },
        "required": ["id", "type", *event_type.needs, *(["properties"] if required else [])],
        "additionalProperties": False,
        "description": said.strip(),
    }
    if event_type.needs_any:
        described["anyOf"] = [{"required": [name]} for name in event_type.needs_any]
    return described


def component_name(event_type: EventType) -> str:
    """Return the schema's name in the document: ``basket_changed`` is ``BasketChangedEvent``."""
    return "".join(part.capitalize() for part in event_type.name.split("_")) + "Event"


class EventsRequestExtension(OpenApiSerializerExtension):
    """Puts the registry in place of the plain list of events."""

    target_class = "personalization.rest.events.EventsRequestSerializer"

    def map_serializer(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        """Return the body's schema, having registered one component for each type that a client may send."""
        described: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        mapping: dict[str, str] = {}
        for name in schema.names():
            event_type = schema.get(name)
            if event_type is None or not event_type.public:
                continue
            component = ResolvedComponent(
                name=component_name(event_type),
                type=ResolvedComponent.SCHEMA,
                schema=of_type(event_type),
                object=event_type.name,
            )
            auto_schema.registry.register_on_missing(component)
            mapping[name] = component.ref["$ref"]
        described["properties"]["events"] = {
            "type": "array",
            "minItems": 1,
            "maxItems": conf.get().event_max_batch,
            "items": {
                "oneOf": [{"$ref": reference} for reference in mapping.values()],
                "discriminator": {"propertyName": "type", "mapping": mapping},
            },
        }
        return described
