"""Follow a log while another process writes it; stop, and go on later where it stopped.
In a temporary directory, or in the one that is given.
"""

import multiprocessing
import os
import sys
import tempfile
import time

import disklog_mp


def produce(name: str) -> None:
    """Log a record now and then."""
    log = disklog_mp.attach(name)
    for number in range(20):
        log.log(b"record %d" % number)
        time.sleep(0.01)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        directory = sys.argv[1] if len(sys.argv) > 1 else temporary
        name = f"follow-{os.getpid()}"
        with disklog_mp.open(name, directory, page_records=8, linger=0) as log:
            producer = multiprocessing.get_context("spawn").Process(target=produce, args=(name,))
            producer.start()
            reader = disklog_mp.Reader(directory)
            for record in reader.follow(reader.end()):
                print(record.pid, record.data, (time.time_ns() - record.timestamp) // 1000, "us later")
                if record.number == 9:
                    break
            producer.join()
            log.log(b"the end")
            log.sync()
        print("that process is gone, and the writer leaves")
        _, cursor = reader.read(max_records=10)  # the records seen
        print("the place to go on from is", cursor)
        print("from there:", [record.data.decode() for record in reader.follow(str(cursor), timeout=0)])
