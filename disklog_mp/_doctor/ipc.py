"""logind's RemoveIPC: at the last logout of a user it removes the user's shared memory, rings included."""

from __future__ import annotations

import configparser
import os
import pwd
from collections.abc import Iterator

from disklog_mp._doctor.findings import Finding, Told
from disklog_mp._doctor.subject import Subject
from disklog_mp._ring.names import SHM

LOGIND = "/run/systemd/users"  # is there where logind runs
LINGER = "/var/lib/systemd/linger"
# systemd looks for logind.conf and logind.conf.d in these, in this order.
PLACES = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
OF_SYSTEM = 999  # the last uid of system users, whose shared memory stays
FALSE = {"no", "n", "false", "f", "off", "0"}


def look_at_ipc(subject: Subject) -> Iterator[Told]:
    """RemoveIPC= of logind, for the owner of the log's ring."""
    uid = os.geteuid() if subject.file is None else os.fstat(subject.file.fd).st_uid
    if subject.ring_dir != SHM or uid <= OF_SYSTEM or not os.path.isdir(LOGIND):
        return
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    if removes_ipc() and not os.path.exists(os.path.join(LINGER, user)):
        yield Finding(
            f"logind removes the rings of {user} from {SHM} at the last logout (RemoveIPC=yes)",
            f"`loginctl enable-linger {user}`, or RemoveIPC=no in /etc/systemd/logind.conf.d/disklog.conf "
            "and `systemctl restart systemd-logind`, or run the service as a system user",
        )


def removes_ipc() -> bool:
    """True if RemoveIPC= is in force, as it is by default."""
    value = "yes"
    for path in _files():
        parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
        try:
            parser.read(path, encoding="utf-8")
            value = parser.get("Login", "RemoveIPC", fallback=value) or "yes"
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # logind ignores it, too
    return value.strip().lower() not in FALSE


def _files() -> list[str]:
    """Return the files that count: one logind.conf, then the drop-ins by name, of each the first place's."""
    main = [path for place in PLACES if os.path.isfile(path := f"{place}/logind.conf")]
    drops: dict[str, str] = {}
    for place in reversed(PLACES):
        folder = f"{place}/logind.conf.d"
        names = os.listdir(folder) if os.path.isdir(folder) else []
        drops.update({name: f"{folder}/{name}" for name in names if name.endswith(".conf")})
    return [*main[:1], *(drops[name] for name in sorted(drops))]
