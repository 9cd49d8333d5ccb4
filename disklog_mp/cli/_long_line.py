"""A line of any length, of which a bounded part is held."""

from __future__ import annotations

from disklog_mp._loggers import cutting as _cutting

# Bytes of a line that are held to be cut by its parts; of a longer one, its beginning.
LONGEST_HELD = 64 << 20


class LongLine:
    """A line while it is read: its end may never come, so what is held of it is bounded."""

    def __init__(self, limit: int, longest: int = LONGEST_HELD) -> None:
        self._limit = limit
        self._longest = longest
        self._held = bytearray()
        self.length = 0

    def add(self, part: bytes) -> None:
        """Go on with the line."""
        self.length += len(part)
        self._held += part[: max(0, self._longest - len(self._held))]

    def take(self) -> bytes:
        """Return the line, cut if not all of it is held, and begin another."""
        held, length = bytes(self._held), self.length
        self._held.clear()
        self.length = 0
        return held if length == len(held) else _cutting.cut_text(held, self._limit, length)

    def split(self, chunk: bytes, end: bytes = b"\n") -> list[bytes]:
        """Go on with what was read; return the lines that are complete by it."""
        *lines, last = chunk.split(end)
        if lines:
            self.add(lines[0])
            lines[0] = self.take()
        self.add(last)
        return lines
