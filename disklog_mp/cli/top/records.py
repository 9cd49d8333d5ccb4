"""The records of one producer as they come."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer, RichLog, Static

from disklog_mp._os.background import Background
from disklog_mp._reader.reader import Reader
from disklog_mp.cli import _text
from disklog_mp.cli.records import _formats
from disklog_mp.cli.top import text
from disklog_mp.cli.top.gather import PATIENCE
from disklog_mp.cli.top.pages import Follower, records_of
from disklog_mp.cli.top.producers import Producer
from disklog_mp.errors import DiskLogError

LOOK = 0.25  # seconds between two looks
LOOKING = 0.1  # seconds that a look takes, at the most
MOST = 1000  # records of a look; further ones are passed over
KEPT = 5000  # lines
BACK = 100_000  # records before the end of the log, in which the first ones are looked for


class Records(Screen[None]):
    """Follows a producer; Escape goes back."""

    BINDINGS: ClassVar = [
        ("escape", "app.pop_screen", "back"),
        ("p", "pause", "pause"),
        ("q", "app.quit", "quit"),
    ]
    CSS = "#heading { height: 1; } RichLog { height: 1fr; }"

    def __init__(self, path: str, producer: Producer) -> None:
        super().__init__()
        self._path, self._producer = path, producer
        self._is_paused = False
        self._lines: deque[Text] = deque()  # read, and not shown yet
        self._follower: Follower | None = None
        self._show = _formats.choose("text", null=False, style=_formats.Style(), encoding="utf-8")
        self._reading: Background[None] = Background("disklog-top-records", self._read, at_most=1)

    def compose(self) -> ComposeResult:
        """A heading, the records, the keys."""
        label = f", {self._producer.label}" if self._producer.label else ""
        heading = _text.printable(f" process {self._producer.pid}{label}: {self._producer.command}")
        yield Static(Text(heading, "reverse", no_wrap=True), id="heading")
        yield RichLog(max_lines=KEPT, wrap=True, markup=False, highlight=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._tick()
        self.set_interval(LOOK, self._tick)

    def _tick(self) -> None:
        log = self.query_one(RichLog)
        while self._lines:
            log.write(self._lines.popleft())
        if not self._is_paused:
            self._reading.give(None)

    def _read(self, _: None) -> None:
        """In the background thread: the records that came."""
        lines: list[Text] = []
        try:
            if self._follower is None:
                self._follower = Follower(Reader(self._path, on_damage=lambda damage: None), BACK)
            found, passed = records_of(self._follower, self._producer.pid, MOST, LOOKING)
        except (DiskLogError, OSError) as problem:
            lines.append(Text(f"cannot be read: {_text.error_line(problem)}", "bold red"))
        else:
            for record in found:
                if record.pid == self._producer.pid and (record.label or "") == self._producer.label:
                    line = self._show(record).decode("utf-8", "replace").rstrip("\n")
                    lines.append(Text(line, text_style(record.tag)))
            if passed:
                lines.append(Text(f"... {passed:,} records of the log passed over", "yellow"))
        self._lines.extend(lines)

    def action_pause(self) -> None:
        """Stop, or go on where it stopped."""
        self._is_paused = not self._is_paused

    def on_unmount(self) -> None:
        """Let the thread end."""
        self._reading.close(PATIENCE)


def text_style(level: int) -> str:
    """The colour of a record of that level."""
    return "bold red" if level >= text.ERROR else "yellow" if level >= text.WARNING else ""
