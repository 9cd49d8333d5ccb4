"""Values that break, or are not what they look like, as programs log them."""

import enum


class Broken:
    """Nothing can be had of it."""

    def __repr__(self) -> str:
        raise ZeroDivisionError

    __str__ = __repr__


class Meta(type):
    """Its classes have not even a name."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise ValueError


class Nameless(Broken, metaclass=Meta):
    """One of those."""


class Proxy:
    """Claims to be what it is not, as mocks and lazy objects do."""

    __class__ = str  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "a proxy"


class Colour(enum.IntEnum):
    """A number with a name."""

    RED = 1


class Text(str):
    """With an opinion of its own."""

    def __str__(self) -> str:
        return "another"
