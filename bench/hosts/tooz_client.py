"""A client of Python's tooz. A line of standard input is a request, a line of the output a reply."""
import os
import sys

from tooz import coordination


def serve(url):
    coordinator = coordination.get_coordinator(url, b"bench-%d" % os.getpid())
    coordinator.start(start_heart=True)
    print("ok", flush=True)
    lock = None
    while True:
        request, _, name = sys.stdin.readline().strip().partition(" ")
        if request == "acquire":
            lock = coordinator.get_lock(name.encode())
            if not lock.acquire():
                raise SystemExit("not acquired")
        elif request == "release":
            lock.release()
        elif request == "close":
            coordinator.stop()
            return
        else:
            os._exit(1)  # the parent has died: so does this process, with what it holds
        print("ok", flush=True)


serve(sys.argv[1])
