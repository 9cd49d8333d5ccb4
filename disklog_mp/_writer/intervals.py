"""How often the writer does what, and how long it waits: one name for each interval, in seconds.

A number that was tuned names the row of `make bench` that shows what it buys.
"""

# untuned: short for a user, long for the machine; a quiet log is looked at once in 60 s (see pace.py).
HOUSEKEEPING = 0.05  # between two rounds of housekeeping; also the shortest sleep on the bell
PRODUCERS_CHECK = 0.1  # between two checks for producers that left or died
PRODUCERS_CHECK_EACH = 0.0005  # more for each attached producer, whose check takes some 10 us (bench: tail)
INSPECTION = 1.0  # between two checks of what other processes may have done to directory and ring
INSPECTION_EACH = 0.002  # more for each attached producer (bench: tail)
UNWATCHED_CHECK = 10.0  # between checks of producers for which we hold no pidfd
RETRY = 1.0  # between two attempts at what the disk or the directory refused
BACK_OFF = (0.02, 1.0)  # the first pause, and the longest, after a write that failed; each doubles the last
LONGEST_PAUSE = 0.1  # a longer back-off is slept in parts, with housekeeping between them
SYNC_GATHERING = 100e-6  # for other callers of sync() to ask, too: one sync serves all of them (bench: sync)
STARTER_GRACE = 1.0  # for the process that started this writer to attach
IN_FLIGHT = 0.02  # for records that are being copied into a ring that is given up to be complete
