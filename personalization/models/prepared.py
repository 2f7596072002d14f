"""Queries and insertions that are composed once a process and then run with other values each time.

Django builds the SQL of a query anew at every call; for a join of several wide tables that takes longer than the
database needs to answer. The money's path asks and writes the same few things thousands of times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Generic, TypeVar, cast

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models, router

Row = TypeVar("Row", bound=models.Model)


class _Part:
    """One table's share of a joined row: which columns make which model, and where the instance is attached."""

    def __init__(self, info: Mapping[str, Any], select: Sequence[Any]) -> None:
        self.model: type[models.Model] = info["model"]
        chosen: Sequence[int] = info["select_fields"]
        self.columns = slice(chosen[0], chosen[-1] + 1)
        self.names = [expression.target.attname for expression, *_ in select[self.columns]]
        self.key = self.names.index(cast("models.Field[Any, Any]", self.model._meta.pk).attname)
        self.attach: Callable[[models.Model, models.Model | None], None] | None = info.get("local_setter")
        self.joined = [_Part(each, select) for each in info.get("related_klass_infos", ())]

    def instance(self, alias: str, row: Sequence[Any]) -> models.Model | None:
        """Return the model of this share and all that hangs on it; None where an outer join found nothing."""
        values = row[self.columns]
        if values[self.key] is None:
            return None
        found = self.model.from_db(alias, self.names, values)
        for part in self.joined:
            assert part.attach is not None
            part.attach(found, part.instance(alias, row))
        return found


@dataclass(frozen=True, slots=True)
class _Plan:
    """What of a compiled query does not depend on the key."""

    sql: str
    root: _Part
    converters: list[tuple[int, list[Callable[..., Any]], Any]]


class Prepared(Generic[Row]):
    """``queryset()`` filtered to one ``key``: what ``queryset().filter(**{field: key}).first()`` returns, sooner.

    The queryset is built when it is first asked, so that models may be defined after it; it must hold no parameters of
    its own and no ordering. ``select_related`` is followed.
    """

    def __init__(self, queryset: Callable[[], models.QuerySet[Row]], field: str = "pk") -> None:
        self._queryset = queryset
        self._field = field
        self._plans: dict[str, _Plan] = {}

    def get(self, key: Any) -> Row | None:
        """Return the row with this key (a value that the field accepts), or None."""
        alias = self._built.db
        connection = connections[alias]
        value = self._key_field.get_db_prep_value(key, connection)
        plan = self._plans.get(alias) or self._compile(alias, key, value)
        with connection.cursor() as cursor:
            cursor.execute(plan.sql, [value])
            row = cursor.fetchone()
        if row is None:
            return None
        values = list(row)
        for place, converters, expression in plan.converters:
            for convert in converters:
                values[place] = convert(values[place], expression, connection)
        return cast("Row | None", plan.root.instance(alias, values))

    @cached_property
    def _built(self) -> models.QuerySet[Row]:
        return self._queryset()

    @cached_property
    def _key_field(self) -> models.Field[Any, Any]:
        meta = self._built.model._meta
        field = meta.pk if self._field == "pk" else meta.get_field(self._field)
        assert isinstance(field, models.Field)
        return field

    def _compile(self, alias: str, key: Any, value: Any) -> _Plan:
        query = self._built.filter(**{self._field: key}).order_by().query
        compiler = query.get_compiler(using=alias)
        sql, params = compiler.as_sql()
        if list(params) != [value]:
            raise ImproperlyConfigured(
                f"A prepared query takes its key alone, and this one has {len(params)} parameters."
            )
        select = compiler.select or []
        every = [expression for expression, *_ in select[: compiler.col_count]]
        converters = [
            (place, list(chain), expression) for place, (chain, expression) in compiler.get_converters(every).items()
        ]
        plan = self._plans[alias] = _Plan(sql, _Part(compiler.klass_info or {}, select), converters)
        return plan


def insert(instance: models.Model) -> None:
    """Write a new row, as ``save(force_insert=True)`` does, but with a statement composed once for its table.

    For tables of the app that no signal of a model listens to. A key that the database gives is set on the instance.
    """
    meta = instance._meta
    alias = router.db_for_write(type(instance))
    connection = connections[alias]
    fields = [field for field in meta.local_concrete_fields if not isinstance(field, models.AutoField)]
    key = meta.pk
    given = key is not None and key in fields
    values = [field.get_db_prep_save(field.pre_save(instance, True), connection) for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(_insertion(type(instance), alias), values)
        if not given:
            instance.pk = cursor.fetchone()[0]
    instance._state.adding, instance._state.db = False, alias


@lru_cache(maxsize=64)
def _insertion(model: type[models.Model], alias: str) -> str:
    quote = connections[alias].ops.quote_name
    fields = [field for field in model._meta.local_concrete_fields if not isinstance(field, models.AutoField)]
    key = model._meta.pk
    names = ", ".join(quote(str(field.column)) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    told = f" RETURNING {quote(str(key.column))}" if key is not None and key not in fields else ""
    return f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({marks}){told}"  # noqa: S608
