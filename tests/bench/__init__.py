"""How fast disklog-mp is, beside its peers in the same run: `python -m bench`, see __main__.py."""
