"""The live view in a terminal: it shows what a Gatherer finds, and takes keys."""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.widgets import DataTable, Footer, Input, Sparkline, Static

from disklog_mp._os.background import Background
from disklog_mp.cli.top import text, view
from disklog_mp.cli.top.gather import PATIENCE, Gatherer
from disklog_mp.cli.top.producers import ORDERS, Key, Producer, ordered
from disklog_mp.cli.top.records import Records
from disklog_mp.cli.top.watched import Watched

GLANCES = 20  # looks at the positions in an interval
SHORTEST_GLANCE = 0.02  # seconds between two of them
POINTS = 120  # of the curves: five seconds each
ROWS = 500  # of producers
PICTURE = (110, 34)  # columns and lines
PICTURE_LOOKS = (5, 40)  # before a picture is drawn: at the least; as many as fit into
PICTURE_SECONDS = 10.0
ACTIONS = ("pause", "sort", "filter", "follow", "next_log", "no_filter")
FIXED_COLUMNS = 62  # of the producers' table, beside the command


class TopApp(App[int]):
    """Shows one log in full, and a line for each where there are several."""

    CSS_PATH = "top.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS: ClassVar = [(0, "-tiny"), (40, "-narrow"), (130, "-wide")]
    VERTICAL_BREAKPOINTS: ClassVar = [(0, "-low"), (20, "-high")]
    BINDINGS: ClassVar = [
        ("q", "quit", "quit"),
        ("p", "pause", "pause"),
        ("s", "sort", "sort"),
        ("slash", "filter", "filter"),
        ("f", "follow", "follow"),
        ("n", "next_log", "next log"),
        ("escape", "no_filter", "all"),
    ]

    def __init__(self, gatherer: Gatherer, interval: float) -> None:
        super().__init__()
        self._gatherer, self._interval = gatherer, interval
        self._path = ""  # of the log that is shown in full
        self._is_paused = False
        self._order, self._wanted = "rate", ""
        self._shown: list[Producer] = []
        self._reading: Background[None] = Background("disklog-top", self._read, at_most=1)

    def compose(self) -> ComposeResult:
        """The widgets, top down."""
        yield Static(id="tiny")
        yield Static(id="title")
        yield DataTable(id="logs", cursor_type="row")
        with Vertical(id="body"):
            with Vertical(id="facts"):
                yield Static(id="records")
                yield Sparkline([], id="record-curve")
                yield Static(id="bytes")
                yield Sparkline([], id="byte-curve")
                yield Static(id="details")
                yield Static(id="problems")
            yield DataTable(id="producers", cursor_type="row")
            yield Static(id="events")
        yield Input(placeholder="pid, label or command", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one("#tiny", Static).update("too narrow: 40 columns are needed")
        self.query_one("#filter").display = False
        self.query_one("#logs", DataTable).add_columns(*view.LOG_HEADS)
        self.query_one("#producers", DataTable).add_columns(*text.HEADS)
        self.query_one("#producers").focus()
        self._tick()
        self.set_interval(self._interval, self._tick)
        self.set_interval(max(SHORTEST_GLANCE, self._interval / GLANCES), self._gatherer.glance)

    def on_unmount(self) -> None:
        """Let the thread end."""
        self._reading.close(PATIENCE)

    def _read(self, _: None) -> None:
        """In the background thread: a disk that hangs does not stop the view."""
        self._gatherer.read()

    def _tick(self) -> None:
        self._gatherer.look()
        self._reading.give(None)
        if not self._is_paused:
            self._show()

    # -- showing -------------------------------------------------------------------------------------------

    def _current(self) -> Watched | None:
        logs = self._gatherer.logs
        found = next((log for log in logs if log.path == self._path), logs[0] if logs else None)
        self._path = found.path if found else ""
        return found

    def _show(self) -> None:
        """Show the figures as they are now."""
        log = self._current()
        self._show_logs()
        self.query_one("#body").display = log is not None
        title = self.query_one("#title", Static)
        if log is None:
            title.update("no log is open on this machine: waiting for one")
            return
        now = time.monotonic()
        title.update(view.title(log, time.strftime("%H:%M:%S"), self._is_paused))
        self.query_one("#records", Static).update(view.speed(log, "records"))
        self.query_one("#bytes", Static).update(view.speed(log, "bytes"))
        self.query_one("#record-curve", Sparkline).data = log.records.points(POINTS)
        self.query_one("#byte-curve", Sparkline).data = log.bytes.points(POINTS)
        self.query_one("#details", Static).update(view.facts(log))
        problems = self.query_one("#problems", Static)
        wrong = view.problems(log, now)
        problems.display = bool(wrong.plain)
        problems.update(wrong)
        self._show_producers(log)
        events = self.query_one("#events", Static)
        room = max(1, events.size.height - 1)
        events.update(view.events(log, room))

    def _show_logs(self) -> None:
        """A line for each log, where there are several."""
        table = self.query_one("#logs", DataTable)
        logs = self._gatherer.logs
        table.display = len(logs) > 1
        if not table.display:
            return
        now = time.monotonic()
        for place, log in enumerate(logs):  # in place, so that the cursor stays
            row = view.log_row(log, now)
            if place == table.row_count:
                table.add_row(*row, key=log.path)
            else:
                for column, cell in enumerate(row):
                    table.update_cell_at((place, column), cell, update_width=True)

    def _show_producers(self, log: Watched) -> None:
        table = self.query_one("#producers", DataTable)
        before = self._chosen()
        self._shown = ordered(log.producers, self._order, self._wanted)[:ROWS]
        table.clear()
        for each in self._shown:
            table.add_row(*view.producer(each, self.size.width - FIXED_COLUMNS))
        keys = [each.key for each in self._shown]
        table.move_cursor(row=keys.index(before) if before in keys else 0)
        wanted = f", with {self._wanted!r}" if self._wanted else ""
        hidden = len(log.producers) - len(self._shown)
        rest = f", {hidden:,} not shown" if hidden else ""
        table.border_title = f"{len(log.producers):,} producers by {self._order}{wanted}{rest}"

    def _chosen(self) -> Key | None:
        """The producer that the cursor is on."""
        row = self.query_one("#producers", DataTable).cursor_row
        return self._shown[row].key if 0 <= row < len(self._shown) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """Only the keys of the screen that is shown."""
        return action not in ACTIONS or not isinstance(self.screen, Records)

    # -- keys ----------------------------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Keep what is shown as it is, or go on; figures are gathered all the same."""
        self._is_paused = not self._is_paused
        self._show()

    def action_sort(self) -> None:
        """Sort the producers by the next column."""
        orders = list(ORDERS)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._show()

    def action_filter(self) -> None:
        """Ask for the text that producers must have."""
        asked = self.query_one("#filter", Input)
        asked.display = True
        asked.focus()

    def action_no_filter(self) -> None:
        """Show all producers."""
        self.query_one("#filter", Input).value = ""
        self._end_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while the text is written."""
        self._wanted = event.value
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go back to the table."""
        self._end_filter()

    def _end_filter(self) -> None:
        self.query_one("#filter").display = False
        self.query_one("#producers").focus()

    def action_follow(self) -> None:
        """Show the records of the producer that the cursor is on, as they come."""
        log, chosen = self._current(), self._chosen()
        if log is not None and chosen is not None:
            producer = next(each for each in self._shown if each.key == chosen)
            self.push_screen(Records(log.path, producer))

    def action_next_log(self) -> None:
        """Show the next log in full."""
        paths = [log.path for log in self._gatherer.logs]
        if paths:
            place = (paths.index(self._path) + 1) % len(paths)
            self.query_one("#logs", DataTable).move_cursor(row=place)
            self._choose(paths[place])

    def _choose(self, path: str) -> None:
        self._path = path
        self._show()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the log that the cursor is moved to."""
        table, path = event.data_table, event.row_key.value
        if table.id == "logs" and table.has_focus and path not in (None, self._path):
            self._choose(path)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter: follow a producer."""
        if event.data_table.id == "producers":
            self.action_follow()

    # -- a picture -----------------------------------------------------------------------------------------

    def draw(self, path: str) -> int:
        """Write a picture of the view after some looks, without a terminal."""

        async def auto_pilot(pilot: Any) -> None:
            least, most = (looks * self._interval for looks in PICTURE_LOOKS)
            await pilot.pause(max(least, min(most, PICTURE_SECONDS)))
            self._show()
            await pilot.pause()
            file.write(self.export_screenshot(title="disklog-mp top", simplify=True))
            self.exit(0)

        half = f"{path}.half"
        with open(half, "w", encoding="utf-8") as file:
            self.run(headless=True, size=PICTURE, auto_pilot=auto_pilot)
        if self.return_code:
            os.unlink(half)
        else:
            os.replace(half, path)
        return self.return_code or 0
