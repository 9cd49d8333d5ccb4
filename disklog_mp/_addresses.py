"""Addresses to listen at, as they are spelled: 127.0.0.1:9464, [::1]:9464, localhost:9464.

Names of hosts are no such addresses: a writer must not wait for a name server.
"""

import re
from typing import Any, NamedTuple

ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")
LOCALHOST = "localhost"
ANY_HOST = re.compile(r":?[0-9]{1,5}")


class Address(NamedTuple):
    """The number of a host, or localhost, and a port; port 0: one that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: Any, what: str) -> Address:
    """Return the address.  Raises ValueError for what is none, TypeError for other types."""
    if not isinstance(value, str):
        raise TypeError(f'{what} is an address such as "127.0.0.1:9464", not {value!r}')
    text = value.strip()
    match = ADDRESS.fullmatch(text)
    if match is None and ANY_HOST.fullmatch(text):
        port = text.removeprefix(":")
        raise ValueError(
            f"{what}={value!r} needs a host: 127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} for all"
        )
    if match is None or int(match[3]) > 65535 or not _is_host(match[1] or match[2]):
        raise ValueError(f"{what}={value!r} is not an address: write 127.0.0.1:9464 or [::1]:9464")
    return Address(match[1] or match[2], int(match[3]))


def _is_host(text: str) -> bool:
    from ipaddress import ip_address  # not at the top: few logs need it

    try:
        return text == LOCALHOST or bool(ip_address(text))
    except ValueError:
        return False
