"""How long a file may be (RLIMIT_FSIZE), here and in another process."""

import resource
import sys

from disklog_mp._os.files import OS_PAGE


def longest_file() -> int:
    """Return how many bytes a file of this process may have (RLIMIT_FSIZE), in whole pages of the system."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit // OS_PAGE * OS_PAGE


def longest_file_of(pid: int = 0) -> int:
    """Return how many bytes a file may have that a writer started by that process makes (0: by this one).

    Raises OSError if that cannot be seen.
    """
    limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
