"""A ring in memory and a producer of it."""

import pytest
from support.memory_ring import Raw, make_producer, make_ring

from disklog_mp._core import Ring


@pytest.fixture
def ring() -> Ring:
    """A ring of the smallest capacity."""
    return make_ring()


@pytest.fixture
def producer(ring: Ring) -> Raw:
    """A producer in a slot of that ring."""
    return make_producer(ring)
