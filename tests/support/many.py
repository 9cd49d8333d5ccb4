"""The workers of test_many_processes.py, in a module of their own so that spawned processes find them."""

import hashlib
import random
import struct
from multiprocessing.synchronize import Barrier

import disklog_mp

HEAD = struct.Struct("<HI")
BLOB = random.Random(7).randbytes(1 << 19)
END = b"the end"


def length_of(worker: int, sequence: int) -> int:
    """Most records below 1 KB, one in a thousand up to 300 KB; the same for whoever asks."""
    dice = random.Random(worker << 32 | sequence)
    return dice.randrange(300_000) if dice.random() < 0.001 else dice.randrange(1000)


def record_of(worker: int, sequence: int) -> bytes:
    """Return what that worker logs as its so-many-eth record."""
    length = length_of(worker, sequence)
    start = (worker * 7919 + sequence * 31) % (len(BLOB) - 300_000)
    return HEAD.pack(worker, sequence) + BLOB[start : start + length]


def produce(name: str, worker: int, count: int, start: Barrier) -> None:
    """Attach by name and log `count` records, now and then several at once."""
    log = disklog_mp.attach(name, timeout=60)
    start.wait()
    sequence = 0
    while sequence < count:
        if sequence % 100 == 99:
            group = [record_of(worker, i) for i in range(sequence, min(sequence + 5, count))]
            if sum(map(len, group)) < 200_000:
                log.log_many(group, tag=worker)
                sequence += len(group)
                continue
        log.log(record_of(worker, sequence), tag=worker)
        sequence += 1


def read_all(path: str, workers: int, count: int) -> tuple[int, str]:
    """Follow the log until its last record; return how many came and a digest of their order.

    Every record must be the next of its worker, with the bytes that one logs.
    """
    following = [0] * workers
    order = hashlib.sha256()
    number = 0
    position = -1
    for record in disklog_mp.Reader(path).follow(timeout=60):
        data = record.data
        if data == END:
            break
        worker, sequence = HEAD.unpack_from(data)
        assert record.number == number
        assert record.position > position
        assert sequence == following[worker], f"worker {worker}: {sequence} after {following[worker] - 1}"
        assert data == record_of(worker, sequence)
        assert record.tag == worker
        following[worker] += 1
        number += 1
        position = record.position
        order.update(struct.pack("<QHI", position, worker, sequence))
    assert following == [count] * workers
    return number, order.hexdigest()
