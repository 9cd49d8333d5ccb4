"""The clocks that ages are measured with."""

import time


def boot_time() -> float:
    """Return seconds since the machine was started, the time for which it was suspended included.

    No process and no time server sets this clock.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_at_boot() -> float:
    """Return when the machine was started, in seconds since the epoch, as the wall clock has it now.

    It changes with each step of the wall clock.
    """
    return time.time() - boot_time()
