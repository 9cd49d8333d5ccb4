"""Labels of producers: which texts can be one, and which a producer has that was given none.

How a producer gets the index of its label is in csrc/core/layout.h, LABELS.
"""

from __future__ import annotations

import os

from disklog_mp import _core

VARIABLE = "DISKLOG_MP_LABEL"
UNKNOWN = "?"  # begins what is shown for an index that the table does not have
INSTEAD = "_"  # of a character that a label cannot have


def check_label(label: object) -> str:
    """Return a label, "" for none.  Raises TypeError, ValueError that says what a label can be."""
    if not isinstance(label, str):
        raise TypeError(f"a label is a text, not {label!r}")
    if label and not is_label(label):
        raise ValueError(
            f"label={label!r} is not 1 to {_core.LABEL_LENGTH} bytes of printable characters without spaces"
        )
    return label


def is_label(text: str) -> bool:
    """True if a producer can have that label."""
    return (
        0 < len(text.encode("utf-8", "replace")) <= _core.LABEL_LENGTH
        and text.isprintable()
        and not any(map(str.isspace, text))
        and not text.startswith(UNKNOWN)
    )


def made_label(text: str) -> str:
    """Return the label that is nearest to a text, "" if there is none."""
    marks = (char if char.isprintable() and not char.isspace() else INSTEAD for char in text.strip())
    made = "".join(marks).lstrip(UNKNOWN).encode("utf-8", "replace")[: _core.LABEL_LENGTH]
    return made.decode("utf-8", "ignore")


def default_label(writer_namespace: int, own_namespace: int) -> str:
    """Return the label of a producer that was given none: the environment's, "" if it needs none.

    A pid means something only in its pid namespace.  So a producer in another one than the writer's takes the
    name of its host: in a container that is the container's, in a pod the pod's.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        return made_label(given)
    if writer_namespace in (0, own_namespace):  # 0: no writer yet, so it will be of our own namespace
        return ""
    return made_label(os.uname().nodename)


def wanted_label(ring: _core.Ring, slot: int) -> str:
    """Return the label that the producer in a slot wants, as it can be shown; it is not trusted."""
    return made_label(ring.label(slot)[0].decode("utf-8", "replace"))
