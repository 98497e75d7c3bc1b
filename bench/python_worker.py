"""A worker of the benchmark for Python's locks: orders come in and answers go out as lines of JSON."""
import array
import contextlib
import importlib.metadata
import json
import os
import sys
import time


def use_fasteners(directory):
    import fasteners
    path = os.path.join(directory, "bench")
    return lambda: fasteners.InterProcessLock(path)


def use_oslo(directory):
    from oslo_concurrency import lockutils
    return lambda: lockutils.lock("bench", external=True, lock_path=directory)


def use_filelock(directory):
    import filelock
    path = os.path.join(directory, "bench")
    return lambda: filelock.FileLock(path)


LOCKS = {"fasteners": use_fasteners, "oslo.concurrency": use_oslo, "filelock": use_filelock}


def use(order):
    """Acquires and releases alone for a slice of time."""
    lock = LOCKS[order["lock"]](order["dir"])
    with lock():
        pass
    uses, start = 0, time.perf_counter_ns()
    while time.perf_counter_ns() - start < order["slice"]:
        for _ in range(10):
            with lock():
                pass
        uses += 10
    return {"value": (time.perf_counter_ns() - start) / uses}


def spin(nanoseconds):
    until = time.time_ns() + nanoseconds
    while time.time_ns() < until:
        pass


def rush(order):
    """Competes for a lock file and logs asked, acquired and released for each use."""
    lock = LOCKS[order["lock"]](order["dir"])
    log = array.array("q")
    time.sleep(max(0, order["start"] - time.time_ns()) / 1e9)
    while (asked := time.time_ns()) < order["end"]:
        with lock():
            acquired = time.time_ns()
            spin(order["hold"])
            log.extend((asked, acquired, time.time_ns()))
        spin(order["think"])
    with open(order["log"], "wb") as file:
        log.tofile(file)
    return {}


def versions(order):
    """Loads everything there is and tells the versions."""
    found = {"Python": ".".join(map(str, sys.version_info[:3]))}
    for name, make in LOCKS.items():
        with contextlib.suppress(ImportError):
            make(".")
            found[name] = importlib.metadata.version(name)
    return {"versions": found}


WORK = {"use": use, "rush": rush, "versions": versions}

for line in sys.stdin:
    order = json.loads(line)
    try:
        answer = WORK[order["do"]](order)
    except ImportError as error:
        answer = {"absent": str(error)}
    except Exception as error:
        answer = {"err": repr(error)}
    print(json.dumps(answer), flush=True)
