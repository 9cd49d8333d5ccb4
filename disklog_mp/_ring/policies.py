"""What log() does when the ring is full, as a bit each: so it stands beside the counts of drops in a ring."""

BITS = {"drop": 1, "raise": 2, "block": 4}


def names(bits: int) -> str:
    """Return the policies behind the bits: "drop", "raise, block"; "" if none is known."""
    return ", ".join(name for name, bit in BITS.items() if bits & bit)
