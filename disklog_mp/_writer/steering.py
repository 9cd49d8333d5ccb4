"""Requests that steer the pages of a running log.

A request is done once or not at all.  What it is going to do, and its answer, are written into the log's file
in one step (`doing`, `done`): from then on it is begun, and then it is carried out.  A writer that dies
between the two leaves the plan to the next writer, which carries it out before it takes requests.  A plan
says by number which pages it is about, so that carrying it out twice does nothing the second time: the file
may lose it with its next write.

A plan that cannot be carried out is taken back, and the request fails with what the system said.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from disklog_mp._pages.moving import refuse_bad_target
from disklog_mp._pages.retention import KeptPage
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer.archiving import Archiving
from disklog_mp._writer.attendance import Attendance
from disklog_mp._writer.event_book import EventBook
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.log_file import LogFile
from disklog_mp._writer.page_keeper import PageKeeper
from disklog_mp._writer.requests import Kind, Request
from disklog_mp._writer.troubles import Troubles

FULL = (errno.ENOSPC, errno.EDQUOT)
MAKE_ROOM = ("roll", "prune")  # these have to work on a full disk; done twice, they do no harm

MOST_FAILED = 32  # requests
GOES_ON = {"goes_on": True}

Plan = dict[str, Any]


class Steering:
    """Plans what is asked, and carries it out."""

    def __init__(
        self,
        live: LiveRing,
        pages: PageWriter,
        log_file: LogFile,
        keeper: PageKeeper,
        *,
        attendance: Attendance,
        events: EventBook,
        troubles: Troubles,
        drain: Callable[[], bool],
    ) -> None:
        """`drain` writes a segment; False if there is none."""
        self._live = live
        self._pages = pages
        self._log_file = log_file
        self._keeper = keeper
        self._events = events
        self._troubles = troubles
        self._drain = drain
        self._attendance = attendance
        self.archiving = Archiving(pages, troubles, self._ring_bell, self._archived)
        self._failed: dict[str, OSError] = {}  # requests that ended so, and whose process does not know yet
        self._ways: dict[str, Callable[[Plan], object]] = {
            "roll": self._roll,
            "truncate": self._truncate,
            "prune": self._prune,
            "archive": self._archive,
        }

    def _ring_bell(self) -> None:
        self._live.ring.wake()

    def kinds(self) -> dict[str, Kind]:
        """Return the requests that are answered here."""
        return {
            "roll": Kind(self.roll),
            "truncate": Kind(self.truncate, needs_owner=True),
            "prune": Kind(self.prune, needs_owner=True),
            "archive": Kind(self.archive, needs_owner=True),
        }

    # -- requests ----------------------------------------------------------------------------------------

    def roll(self, request: Request) -> dict[str, Any]:
        """Seal the page being written, with all that was logged until now.

        The answer has its number; None: it was empty, and nothing was done.
        """
        self._write_what_was_logged()
        if self._pages.is_empty():
            return {"page": None}
        number = self._pages.page_number
        return self._do(_plan(request, page=number), {"page": number})

    def truncate(self, request: Request) -> dict[str, Any]:
        """Remove all that was logged until now; the answer says of which pages."""
        self._refuse_if_busy()
        self._write_what_was_logged()
        answer = _span(self._all_pages())
        return self._do(_plan(request, **answer), answer) if answer["pages"] else answer

    def prune(self, request: Request) -> dict[str, Any]:
        """Remove the oldest sealed pages, once: {"keep": {"pages", "bytes", "age"}, "dry_run"}."""
        keep = request.fields.get("keep")
        if not isinstance(keep, dict):
            raise TypeError("what is to be kept is a JSON object")
        limits = [_limit(keep, name) for name in ("pages", "bytes", "age")]
        self._refuse_if_busy()
        answer = _span(self._pages.retention.surplus(*limits))
        if request.fields.get("dry_run") or not answer["pages"]:
            return answer
        return self._do(_plan(request, **answer), answer)

    def archive(self, request: Request) -> dict[str, Any]:
        """Move all pages, sealed, into another directory: {"to"}.  It goes on while the log does: the same
        request is to be repeated until the answer does not say so.
        """
        if any(plan.get("id") == request.id for plan in self._log_file.identity.doing):
            return GOES_ON
        if (error := self._failed.pop(request.id, None)) is not None:
            raise error
        self._refuse_if_busy()
        to = request.fields.get("to")
        if not isinstance(to, str):
            raise TypeError("the directory to move pages to is a text")
        self._write_what_was_logged()
        pages = self._all_pages()
        refuse_bad_target(self._pages.folder.directory, to, [page.number for page in pages])
        answer = _span(pages)
        if not pages:
            return answer
        self._do(_plan(request, **answer, to=os.path.realpath(to)), answer)
        return GOES_ON

    def _refuse_if_busy(self) -> None:
        if self.archiving.is_busy():
            text = "pages of this log are being moved just now: try again later"
            raise OSError(errno.EBUSY, text, self._log_file.path)

    def _write_what_was_logged(self) -> None:
        """Write all that is in the ring now, as far as it is committed.  Raises OSError."""
        end = self._live.ring.frontier(self._pages.position)
        while self._pages.position < end and self._drain():
            pass

    def _all_pages(self) -> list[KeptPage]:
        """Return all pages that have records."""
        page, found = self._pages.page, list(self._pages.retention.pages)
        if page is not None and not page.is_empty():
            found.append(KeptPage(page.header.number, page.watermark, 0.0, page.records))
        return found

    # -- plans -------------------------------------------------------------------------------------------

    def _do(self, plan: Plan, answer: dict[str, Any]) -> dict[str, Any]:
        """Begin what is planned, carry it out, and return the answer.  Raises OSError."""
        identity = self._log_file.identity
        if plan["ask"] == "archive":
            identity = identity.with_archive(plan["first"], plan["last"], plan["to"])
        try:
            self._log_file.write(identity.with_plan(plan, answer))
        except OSError as error:
            if plan["ask"] not in MAKE_ROOM or error.errno not in FULL:
                raise
        self._carry_out(plan)
        return answer

    def _carry_out(self, plan: Plan) -> None:
        try:
            self._ways[plan["ask"]](plan)
        except OSError:
            self._over(plan, is_done=False)
            raise
        if plan["ask"] != "archive":  # its end comes later
            self._over(plan, is_done=True)

    def _over(self, plan: Plan, *, is_done: bool) -> None:
        """Forget a plan: it was carried out, or is taken back."""
        identity = self._log_file.identity.without_plan(plan["id"], is_done=is_done)
        if plan["ask"] == "archive" and not is_done:
            moved_to = min(plan["last"], self._pages.retention.first_page() - 1)
            identity = identity.with_archive(plan["first"], moved_to, plan["to"])
        if not is_done or plan["ask"] == "archive":
            with contextlib.suppress(OSError):
                self._log_file.write(identity)
        self._log_file.change(identity)  # with the next write

    def resume(self) -> None:
        """Carry out what the writer before this one had begun."""
        for plan in self._log_file.identity.doing:
            if _is_plan(plan) and plan["ask"] in self._ways:
                with contextlib.suppress(OSError):  # the asking process is told when it asks again
                    self._carry_out(plan)

    def _roll(self, plan: Plan) -> None:
        page = self._pages.page
        if page is not None and page.header.number == plan["page"]:
            self._keeper.roll("asked")

    def _truncate(self, plan: Plan) -> None:
        self._go_on_behind(plan["last"], "truncated")
        self._keeper.remove_up_to(plan["last"], "truncated")
        if self._events.totals.truncated_to < plan["last"]:
            told = {name: plan[name] for name in ("pages", "records", "bytes")}
            self._troubles.tell(
                "truncated", page=plan["first"], last_page=plan["last"], **told, by=plan["by"]
            )
        self._events.write()  # the asking process may look at once

    def _prune(self, plan: Plan) -> None:
        self._keeper.remove_up_to(plan["last"], "pruned")
        self._events.write()

    def _archive(self, plan: Plan) -> None:
        self._go_on_behind(plan["last"], "archived")
        self._events.write()  # the removals of earlier pages
        self.archiving.begin(plan)

    def _archived(self, plan: Plan, error: OSError | None) -> None:
        """All pages of a plan were moved, or the rest cannot be."""
        self._over(plan, is_done=error is None)
        self._keeper.publish()
        self._events.write()
        if error is not None:
            self._troubles.say(f"pages are not moved to {plan['to']}: {error}")
            self._failed[plan["id"]] = error
            for request in [*self._failed][:-MOST_FAILED]:
                del self._failed[request]

    def go_on(self, now: float) -> None:
        """Go on with what takes a while."""
        if self.archiving.is_busy():
            self._attendance.last_used = time.monotonic()
            self.archiving.go_on()

    def _go_on_behind(self, number: int, why: str) -> None:
        """Go on in a page behind that one, so that all up to it can go.  Raises OSError.

        The new page is on disk first: from then on it alone says where the log goes on.
        """
        pages = self._pages
        if pages.page is not None and pages.page.header.number <= number:
            self._keeper.roll(why)
        if pages.page is None and pages.page_number <= number:
            pages.open_page(0)
        if pages.page is not None:
            pages.page.file.sync()
        pages.folder.sync()


def _plan(request: Request, **fields: Any) -> Plan:
    told = request.fields.get("pid")
    pid = request.peer.pid or (told if isinstance(told, int) else 0)
    return {"id": request.id, "ask": request.ask, "by": pid, **fields}


def _is_plan(plan: Plan) -> bool:
    """True if the plan has what a plan has: a person may have edited the file."""
    kinds = {"id": str, "ask": str, "by": int}
    numbers = ("page",) if plan.get("ask") == "roll" else ("first", "last", "pages", "records", "bytes")
    kinds |= dict.fromkeys(numbers, int)
    kinds |= {"to": str} if plan.get("ask") == "archive" else {}
    return all(isinstance(plan.get(name), kind) for name, kind in kinds.items())


def _span(pages: Sequence[KeptPage]) -> dict[str, Any]:
    """Return how an answer speaks of pages."""
    return {
        "first": pages[0].number if pages else 0,
        "last": pages[-1].number if pages else 0,
        "pages": len(pages),
        "records": sum(page.records for page in pages),
        "bytes": sum(page.bytes for page in pages),
    }


def _limit(keep: dict[str, Any], name: str) -> float | None:
    value = keep.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
        raise TypeError(f"{name} is a number, not {value!r}")
    return value
