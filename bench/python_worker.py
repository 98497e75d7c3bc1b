"""A worker of the benchmark for Python's locks. Requests and replies are lines of JSON."""
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


def use(request):
    """Acquire and release without contention for a slice of time."""
    lock = LOCKS[request["lock"]](request["dir"])
    with lock():
        pass
    uses, start = 0, time.perf_counter_ns()
    while time.perf_counter_ns() - start < request["slice"]:
        for _ in range(10):
            with lock():
                pass
        uses += 10
    return {"value": (time.perf_counter_ns() - start) / uses}


def spin(nanoseconds):
    until = time.time_ns() + nanoseconds
    while time.time_ns() < until:
        pass


def contest(request):
    """Compete for a lock file and log the times of request, acquisition and release."""
    lock = LOCKS[request["lock"]](request["dir"])
    log = array.array("q")
    time.sleep(max(0, request["start"] - time.time_ns()) / 1e9)
    while (requested := time.time_ns()) < request["end"]:
        with lock():
            acquired = time.time_ns()
            spin(request["hold"])
            log.extend((requested, acquired, time.time_ns()))
        spin(request["think"])
    with open(request["log"], "wb") as file:
        log.tofile(file)
    return {}


def versions(request):
    """Load all peers and return their versions."""
    found = {"Python": ".".join(map(str, sys.version_info[:3]))}
    for name, make in LOCKS.items():
        with contextlib.suppress(ImportError):
            make(".")
            found[name] = importlib.metadata.version(name)
    return {"versions": found}


WORK = {"use": use, "contest": contest, "versions": versions}

for line in sys.stdin:
    request = json.loads(line)
    try:
        reply = WORK[request["do"]](request)
    except ImportError as error:
        reply = {"absent": str(error)}
    except Exception as error:
        reply = {"err": repr(error)}
    print(json.dumps(reply), flush=True)
