"""Sessions in other processes: what of a connection is pickled, and the connection made from it there."""

from __future__ import annotations

from typing import Any, TypeVar

from disklog_mp._session.connection import Connection
from disklog_mp._session.place import Place

Kind = TypeVar("Kind", bound=Connection)


def state_of(connection: Connection) -> tuple[Any, ...]:
    """Return what leads to the same log in another process, under the same policy."""
    place = connection.place
    where = (place.name, place.directory, place.ring_dir)
    return (*where, connection.on_full, connection.timeout, connection.label)


def connection_for(kind: type[Kind], state: tuple[Any, ...]) -> Kind:
    """Return a connection of that kind, which is not attached yet."""
    name, directory, ring_dir, on_full, timeout, label = state
    return kind(Place(name, directory, ring_dir), on_full=on_full, timeout=timeout, label=label)
