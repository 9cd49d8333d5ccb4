"""A process dies or freezes."""
