"""The conditions of `Store.load` as SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from exec_service.stores import Not, Within
from exec_service.stores.codec import Column, column, pack
from exec_service.stores.sqlite_schema import Table

#: Longer lists go through a temporary table: a statement holds a limited number of parameters.
MAX_INLINE: Final = 500

_WANTED: Final = "CREATE TEMP TABLE IF NOT EXISTS wanted (list INTEGER, value, UNIQUE (list, value))"


@dataclass(slots=True)
class Query:
    """A statement with its parameters, and the long lists that it refers to by their position."""

    sql: str
    parameters: list[Column] = field(default_factory=list)
    lists: list[Sequence[Column]] = field(default_factory=list)

    def run(self, connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
        """The rows."""
        if not self.lists:
            return connection.execute(self.sql, self.parameters).fetchall()
        connection.execute("BEGIN")
        try:
            connection.execute(_WANTED)
            rows = ((number, value) for number, values in enumerate(self.lists) for value in values)
            connection.executemany("INSERT OR IGNORE INTO temp.wanted VALUES (?, ?)", rows)
            return connection.execute(self.sql, self.parameters).fetchall()
        finally:
            connection.execute("ROLLBACK")  # nothing of it is to stay


def build(
    table: Table, where: Mapping[str, Any] | None, order_by: str | None, descending: bool, limit: int | None
) -> Query:
    """The query for `where`. :raises ValueError: a field or value that cannot be selected by, or a negative limit."""
    query = _where(Query(table.select), table, where, order_by)
    direction = "DESC" if descending else "ASC"
    if order_by is not None:
        query.sql += f" ORDER BY {table.column(order_by)} {direction}, rowid {direction}"
    if limit is not None:
        if limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
        query.sql += " LIMIT ?"
        query.parameters.append(limit)
    return query


def count(table: Table, where: Mapping[str, Any] | None) -> Query:
    """The query for how many there are. :raises ValueError: a field or value that cannot be selected by."""
    return _where(Query(table.count), table, where)


def _where(query: Query, table: Table, where: Mapping[str, Any] | None, order_by: str | None = None) -> Query:
    where = where or {}
    # Within bounds and in that order, a part is wanted of what may be much: the field's own index finds it without
    # sorting all. SQLite would rather take that of another condition, unless its column is part of an expression.
    plus = "+" if order_by is not None and isinstance(where.get(order_by), Within) else ""
    conditions = []
    for name, value in where.items():
        column = table.column(name)
        conditions.append(_condition(query, column if name in (order_by, "_id") else plus + column, value, name))
    if conditions:
        query.sql += " WHERE " + " AND ".join(conditions)
    return query


def _condition(query: Query, name: str, value: object, field_name: str) -> str:
    if isinstance(value, Not):
        # In SQL a comparison with an absent value is neither true nor false; here absence is not `value`.
        return f"({_condition(query, name, value.value, field_name)}) IS NOT TRUE"
    if isinstance(value, Within):
        return _bounds(query, name, value, field_name)
    if isinstance(value, list | tuple | set | frozenset):
        wanted = {_value(item, field_name) for item in value}
        condition = _membership(query, name, [item for item in wanted if item is not None])
        return f"({condition} OR {name} IS NULL)" if None in wanted else condition
    found = _value(value, field_name)
    if found is None:
        return f"{name} IS NULL"
    query.parameters.append(found)
    return f"{name} = ?"


def _bounds(query: Query, name: str, within: Within, field_name: str) -> str:
    found = [f"{name} IS NOT NULL"]
    for sign, bound in ((">=", within.at_least), ("<", within.below)):
        if bound is not None:
            query.parameters.append(_value(bound, field_name))
            found.append(f"{name} {sign} ?")
    return f"({' AND '.join(found)})"


def _membership(query: Query, name: str, values: Sequence[Column]) -> str:
    if len(values) > MAX_INLINE:
        query.parameters.append(len(query.lists))
        query.lists.append(values)
        return f"{name} IN (SELECT value FROM temp.wanted WHERE list = ?)"  # noqa: S608  # a column of our own
    query.parameters.extend(values)
    return f"{name} IN ({', '.join('?' for _ in values)})"


def _value(value: object, name: str) -> Column:
    return column(pack(value, name), name)
