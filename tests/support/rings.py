"""The ring of a test's log, found by the log's name: tests give each log a name of its own."""

from disklog_mp._ring import file, finding, names
from disklog_mp._ring.file import RingFile


def ring_path(name: str, ring_dir: str | None = None) -> str:
    """The path of the log's ring; a path of nothing if it has none."""
    paths = names.rings_of(name, ring_dir)
    assert len(paths) <= 1, paths
    return paths[0] if paths else names.ring_path(name, bytes(16), ring_dir)


def has_ring(name: str, ring_dir: str | None = None) -> bool:
    """True if the log has a ring."""
    return bool(names.rings_of(name, ring_dir))


def attach_ring(name: str, ring_dir: str | None = None) -> RingFile:
    """The log's ring, attached to without a slot; the caller closes its descriptor."""
    return finding.find(name, ring_dir)


def remove_ring(name: str, ring_dir: str | None = None) -> str:
    """Remove the name of the log's ring, if it has one, and its socket, as logind does; return its path."""
    path = ring_path(name, ring_dir)
    file.unlink(path)
    return path
