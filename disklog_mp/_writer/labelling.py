"""Answers producers which index their label has.  Why a label is an index: LABELS in csrc/core/layout.h.

A writer that is killed at any step leaves either no line, a line without an answer, or both: the next writer
finds the label in the table, or appends it, and answers.  A producer has one index all its life, because the
table on disk had it before it was told.
"""

from __future__ import annotations

from disklog_mp import _core
from disklog_mp._pages.writer import PageWriter
from disklog_mp._ring.labels import is_label
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.troubles import Troubles


class Labelling:
    """Looks for producers that wait for an answer."""

    def __init__(self, live: LiveRing, pages: PageWriter, troubles: Troubles) -> None:
        self._live = live
        self._pages = pages
        self._troubles = troubles
        self._is_full_said = False
        self.is_missed = False  # the table, at the last inspection
        self._is_lost = False  # the table, and it is to be written again

    def inspect(self, now: float) -> None:
        """Answer; write the table again if it was missing at the inspection before, too: see Post.inspect."""
        was_missed = self.is_missed
        folder = self._pages.folder
        try:
            self.is_missed = not folder.labels.is_in_place()
            self._is_lost = was_missed and self.is_missed and folder.directory.is_held()
        except OSError:  # there is no directory
            self._is_lost = False
        self.answer()

    def answer(self) -> None:
        """Answer all producers that wait; those that cannot be answered now are answered later."""
        self._live.labels_seen()  # before the look: a wish that comes now is seen in the next round
        waiting = self._live.ring.unlabelled()
        try:
            for slot in waiting:
                self._live.answer_label(slot, self._index_for(slot))
            if self._is_lost:
                self._pages.folder.labels.restore()
        except OSError as error:
            said = f"cannot write the table of labels: {error}; records carry no label, trying again"
            self._troubles.meet("labels", error, said)
        else:
            self._troubles.over("labels", "the table of labels is written")

    def _index_for(self, slot: int) -> int:
        text = self._live.ring.label(slot)[0].decode("utf-8", "replace")
        if not is_label(text):  # another process scribbled there
            return _core.NO_LABEL
        index = self._pages.folder.labels.index_of(text)
        if not index:
            if not self._is_full_said:
                most = f"all {_core.LABEL_MAX:,} labels are taken"
                self._troubles.say(f"{most}: records of {text!r}, and of further ones, carry none")
                self._is_full_said = True
            return _core.NO_LABEL
        if self._pages.page is not None:  # the next one allows them: the table is not empty
            self._pages.page.allow_labels()
        return index
