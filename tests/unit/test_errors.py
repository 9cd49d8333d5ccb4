"""The errors: their attributes, their way to another process, their tree, what they say."""

import inspect
import pickle

import pytest

from disklog_mp import errors
from disklog_mp.errors import ConfigMismatchError, RingFullError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.DiskLogError) and kind is not errors.DiskLogError
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_carries_its_values_and_pickles(kind: type[errors.DiskLogError]) -> None:
    """Attributes, message and type survive the way to another process."""
    values: dict[str, object] = {
        name: {int: place + 3, float: place + 0.5, tuple[str, ...]: ("<one>", "<two>")}.get(
            parameter.annotation, f"<{name}>"
        )
        for place, (name, parameter) in enumerate(inspect.signature(kind).parameters.items())
    }
    error = kind(*values.values())
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is kind
    assert values == {name: getattr(copy, name) for name in values} == vars(copy)
    assert str(error) == str(copy)
    for value in values.values():
        for part in value if isinstance(value, tuple) else (value,):
            assert str(part) in str(error)


def test_the_tree_has_one_root() -> None:
    """Every error is a DiskLogError, none is an OSError, and the tree in the docstring names all."""
    for kind in KINDS:
        assert not issubclass(kind, OSError)
        assert kind.__name__ in (errors.__doc__ or "")


def test_an_error_takes_its_values() -> None:
    """Too few values, and attributes that do not exist, raise what Python raises for them."""
    with pytest.raises(TypeError, match="'path' and 'pid'"):
        errors.WriterActiveError("app")  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="nothing"):
        _ = errors.LogNotFoundError("app").nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("option", "current", "given", "said"),
    [
        ("mode", 0o640, 0o660, "running with mode=0o640, not 0o660: "),
        ("ring_bytes", 16 << 20, 1 << 30, "running with ring_bytes=16 MiB, not 1 GiB: "),
        ("page_bytes", 4096, 1536, "running with page_bytes=4 KiB, not 1.5 KiB: "),
        ("keep_bytes", None, 1000, "running with keep_bytes=None, not 1000 B: "),
        ("keep_age", 86400.0, 0.25, "running with keep_age=86400 s, not 0.25 s: "),
        ("sync", "1s", "always", "running with sync='1s', not 'always': "),
        ("page_at", None, "00:00", "running with page_at=None, not '00:00': "),
        ("page_records", 10, 20, "running with page_records=10, not 20: "),
        ("path", "/var/log/app", "/tmp/app", "running with path='/var/log/app', not '/tmp/app': "),
    ],
)
def test_a_mismatch_shows_values_as_they_are_written(
    option: str, current: object, given: object, said: str
) -> None:
    """A mode is in octal, sizes and durations have their units."""
    assert said in str(ConfigMismatchError(option, current, given))


def test_a_full_ring_says_why_it_is_full() -> None:
    """A slow writer and one that is dead call for different steps."""
    slow, dead = RingFullError(1000, 2048, 5.0), RingFullError(1000, 2048, 5.0, 17591)

    assert str(slow) == (
        "no room for a record of 1000 B (2 KiB free in the ring) after 5.000 s: "
        "the writer or its disk is too slow, or ring_bytes is too small"
    )
    assert "after 5.000 s: the writer (process 17591) is dead and was not replaced: " in str(dead)
