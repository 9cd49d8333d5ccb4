"""Log a few records, show them page by page, and read them all again when there is no writer any more.
In a temporary directory, or in the one that is given.
"""

import os
import sys
import tempfile

import disklog_mp

with tempfile.TemporaryDirectory() as temporary:
    directory = sys.argv[1] if len(sys.argv) > 1 else temporary

    # Joins the log's writer, or starts one; with linger=0 the writer ends when no process is attached.
    with disklog_mp.open(f"hello-{os.getpid()}", directory, page_records=2, linger=0) as log:
        for number in range(5):
            position = log.log(b"record %d" % number, tag=number)  # committed: no crash takes it back
            print("logged at position", position)
        log.log_many([b"both of these", b"or none"])
        log.sync()  # durable: not even a power failure does

        page = log.get_page(2)
        print(page, [record.data for record in page])

    for record in disklog_mp.Reader(directory):  # no writer, no session
        print(record.number, record.pid, record.timestamp, record.tag, record.data)
