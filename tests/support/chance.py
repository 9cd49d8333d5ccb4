"""What chance decides in the tests: fixed before a landing, so that a failure is due to the change.

DISKLOG_TEST_SEED=today, or a number, and DISKLOG_TEST_TIMES (how many times more of it) are for `make
nightly`.
"""

import os
import time

from hypothesis import settings

_given = os.environ.get("DISKLOG_TEST_SEED", "1")
SEED = int(time.time()) // 86400 if _given == "today" else int(_given)
TIMES = int(os.environ.get("DISKLOG_TEST_TIMES", "1"))

settings.register_profile("landing", derandomize=True, max_examples=40)
settings.register_profile("nightly", max_examples=100 * TIMES, print_blob=True)
settings.load_profile("nightly" if "DISKLOG_TEST_SEED" in os.environ else "landing")
