"""Update a ledger under a lock of another library, as the workers of the Go tests do.

Arguments: the library, the directory of the ledger, that of the lock file, the name of the lock,
the name of the account. The process writes one line when it is ready. A line on its standard
input, or the end of it, makes the process finish and write another line.
"""

import contextlib
import fcntl
import os
import random
import sys
import threading
import time

NUMBER_SIZE = 21
BEGUN_AT, DONE_AT = 0, NUMBER_SIZE

library, directory, locks, name, account_name = sys.argv[1:]
path = os.path.join(locks, name)


def exclusive_and_shared():
    """Return two functions that return context managers; the second may be None."""
    if library == "oslo.concurrency":
        from oslo_concurrency import lockutils
        return lambda: lockutils.lock(name, external=True, lock_path=locks, delay=0.002), None
    if library == "fasteners":
        import fasteners
        lock = fasteners.InterProcessReaderWriterLock(path)
        return (lambda: lock.write_lock(delay=0.001, max_delay=0.003),
                lambda: lock.read_lock(delay=0.001, max_delay=0.003))
    import filelock
    return lambda: filelock.FileLock(path).acquire(poll_interval=0.002), None


def read_number(fd, at):
    text = os.pread(fd, NUMBER_SIZE, at)
    return int(text) if text else 0


def write_number(fd, at, number):
    os.pwrite(fd, b"%20d\n" % number, at)


def not_alone():
    with open(os.path.join(directory, "overlaps"), "a") as overlaps:
        overlaps.write("x")


@contextlib.contextmanager
def witness(how):
    """Try the lock on the ledger itself and yield whether it was free."""
    try:
        fcntl.flock(ledger, how | fcntl.LOCK_NB)
    except OSError:
        not_alone()
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(ledger, fcntl.LOCK_UN)


def pause():
    time.sleep(random.random() * 0.0002)


def write():
    with exclusive(), witness(fcntl.LOCK_EX) as alone:
        if not alone:
            return
        before = read_number(ledger, 0)
        pause()
        done = read_number(account, DONE_AT)
        write_number(account, BEGUN_AT, done + 1)
        write_number(ledger, 0, before + 1)
        write_number(account, DONE_AT, done + 1)


def read():
    with shared(), witness(fcntl.LOCK_SH):
        before = read_number(ledger, 0)
        pause()
        if read_number(ledger, 0) != before:
            not_alone()


stop = threading.Event()
exclusive, shared = exclusive_and_shared()
ledger = os.open(os.path.join(directory, "ledger"), os.O_RDWR | os.O_CREAT, 0o600)
account = os.open(os.path.join(directory, "account-" + account_name), os.O_RDWR | os.O_CREAT, 0o600)
os.makedirs(locks, exist_ok=True)
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
print("{}", flush=True)
while not stop.is_set():
    if shared and random.random() < 0.5:
        read()
    else:
        write()
    time.sleep(random.random() * 0.001)
print("{}", flush=True)
