"""The writer's address is kept in place, but not in a directory that is being removed."""

from typing import Any
from unittest.mock import Mock

import pytest

from disklog_mp._writer.post import Post


@pytest.fixture
def log_file() -> Any:
    """The log's file, in place."""
    return Mock(**{"is_in_place.return_value": True, "is_held.return_value": True})


@pytest.fixture
def post(log_file: Any) -> Post:
    """A post that listens."""
    requests = Mock(**{"is_listening.return_value": True})
    return Post(requests, log_file, Mock(), Mock(), is_wanted=lambda: True)


def test_a_removed_file_is_made_at_the_second_inspection(post: Post, log_file: Any) -> None:
    """At the first one another process may be removing the whole directory."""
    log_file.is_in_place.return_value = False

    post.inspect(1.0)
    assert post.is_missed
    assert not log_file.write_if_missing.called
    post.inspect(2.0)
    assert log_file.write_if_missing.called
    assert not post.is_missed


def test_nothing_is_made_without_the_lock_file(post: Post, log_file: Any) -> None:
    """The directory is going away."""
    log_file.is_in_place.return_value = log_file.is_held.return_value = False

    for now in (1.0, 2.0, 3.0):
        post.inspect(now)
    assert not log_file.write_if_missing.called
