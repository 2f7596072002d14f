"""The peer of the intake: one plain table with the unique key in it, and the view that fills it."""

from __future__ import annotations

from typing import Any

from django.db import connection, models
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class PlainEvent(models.Model):
    """The log as a developer would lay it out: the same columns and indexes, nothing cut into months."""

    source = models.CharField(max_length=80)
    event_id = models.CharField(max_length=100)
    type = models.CharField(max_length=40)
    shopper = models.ForeignKey("personalization.Shopper", on_delete=models.CASCADE, related_name="+", db_index=False)
    item_id = models.CharField(max_length=100, blank=True)
    category = models.CharField(max_length=100, blank=True)
    offer = models.ForeignKey("personalization.Offer", null=True, on_delete=models.SET_NULL, related_name="+")
    value_minor = models.BigIntegerField(null=True)
    properties = models.JSONField(default=dict)
    occurred_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    received_at = models.DateTimeField(auto_now_add=True)
    clock_corrected = models.BooleanField(default=False)
    is_bot = models.BooleanField(default=False)
    channel = models.CharField(max_length=20, blank=True, default="")
    schema_version = models.PositiveSmallIntegerField(default=1)

    class Meta:
        app_label = "benchmarks"
        constraints = [models.UniqueConstraint(fields=["source", "event_id"], name="plain_event_once")]
        indexes = [
            models.Index(fields=["shopper", "occurred_at"], name="plain_event_shopper_time"),
            models.Index(fields=["type", "occurred_at"], name="plain_event_type_time"),
        ]

    def __str__(self) -> str:
        return self.event_id


def create_table() -> None:
    with connection.schema_editor() as editor:
        editor.create_model(PlainEvent)


class PlainEventSerializer(serializers.Serializer[Any]):
    """The peer's idea of an event."""

    id = serializers.CharField(max_length=100)
    type = serializers.CharField(max_length=40)
    item_id = serializers.CharField(max_length=100, required=False, default="")
    category = serializers.CharField(max_length=100, required=False, default="")
    value_minor = serializers.IntegerField(required=False, default=None)
    occurred_at = serializers.DateTimeField()
    properties = serializers.DictField(required=False, default=dict)


class PlainEventsView(APIView):
    """The peer: what a DRF developer writes in ten minutes.

    It trusts its caller: the shopper's key comes with the request, nobody's consent is asked, no clock is corrected,
    no erased event is kept out, and one bad event refuses its whole batch.
    """

    authentication_classes: Any = []
    permission_classes: Any = []

    def post(self, request: Request) -> Response:
        body: Any = request.data
        checked = PlainEventSerializer(data=body["events"], many=True)
        checked.is_valid(raise_exception=True)
        shopper_id = int(request.query_params["shopper"])
        PlainEvent._default_manager.bulk_create(
            [
                PlainEvent(
                    source="peer",
                    event_id=row["id"],
                    type=row["type"],
                    shopper_id=shopper_id,
                    item_id=row["item_id"],
                    category=row["category"],
                    value_minor=row["value_minor"],
                    occurred_at=row["occurred_at"],
                    properties=row["properties"],
                )
                for row in checked.validated_data
            ],
            ignore_conflicts=True,
        )
        return Response({"accepted": len(checked.validated_data)})
