"""Numbers with their nouns, as findings and facts say them."""


def plural(number: int, noun: str) -> str:
    """Return `1 page`, `2,000 pages`, `2 processes`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"
