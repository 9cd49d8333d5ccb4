"""One deadline for a record: finding the log and waiting for room are the same wait."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from disklog_mp._core import FULL
from disklog_mp._loggers.delivery import Delivery
from disklog_mp._session import policy
from disklog_mp.errors import RingFullError


@pytest.mark.parametrize(("missing", "left_out"), [("stderr", 0.0), ("wait:10s", 10.0)])
def test_what_a_record_waited_for_the_log_counts(missing: str, left_out: float) -> None:
    """But not what missing="wait:" allows it beyond the timeout."""
    told: list[float] = []
    found: Any = SimpleNamespace(log_for=lambda pid, data, tag, waited: told.append(waited) or 0)

    class Late(Delivery):
        def _find(self) -> Any:
            time.sleep(0.05)
            return found

    Late("late", None, on_full="block", timeout=1.0, missing=missing, is_set_up=False).enqueue(b"x", 0, 7)

    assert told[0] >= 0.05 if not left_out else told == [0.0]


def test_no_time_is_left_for_room_when_the_log_took_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt is made all the same."""
    attempts: list[int] = []
    connection: Any = SimpleNamespace(
        on_full="block", timeout=1.0, needs_attention=False, count=lambda *counts: None
    )
    entry = policy.Entry(lambda: attempts.append(1) or FULL, lambda: 5, 1)

    def refuse(connection: Any, entry: policy.Entry, waited: float) -> Any:
        return RingFullError(5, 0, waited)
        yield

    monkeypatch.setattr(policy, "_refusal", refuse)
    with pytest.raises(RingFullError):
        next(policy.log_or_refuse(connection, entry, waited=1.0))

    assert attempts == [1]
