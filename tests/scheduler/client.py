"""A client of the release that runs it: client.py ADDRESS [COUNT [BYTES]].

Has COUNT results computed, each of BYTES bytes, and holds them. Answers words of its standard input, each with a line of JSON:
``ready``; ``where``: how many results each worker has; ``check``: whether all results are right, and how often a task
ran; ``work``: starts tasks that take a while; ``done``: waits for them; ``info``: the workers, as Python's client tells.
"""

import json
import os
import sys
import tempfile
import time

from distributed import Client, Security


def security():
    """What the variables say, if anything."""
    return Security(require_encryption=True) if sys.argv[1].startswith("tls") else None


def task(number, size, folder):
    """A result; leaves a file each time that it is computed."""
    handle, _ = tempfile.mkstemp(prefix=f"{number}-", dir=folder)
    os.close(handle)
    return bytes([number % 256]) * size


def what_matters(worker):
    """What of a worker is compared. The rest is no JSON: after a heartbeat its metrics may have tuples for keys."""
    held = worker["metrics"].get("managed_bytes", 0)
    return {"name": str(worker["name"]), "status": worker["status"], "nthreads": worker["nthreads"], "managed_bytes": held}


def main():
    """Answer until the input ends."""
    count, size = [*map(int, sys.argv[2:]), 0, 0][:2]
    with Client(sys.argv[1], security=security()) as client, tempfile.TemporaryDirectory() as folder:
        results = client.map(task, range(count), size=size, folder=folder, pure=False)
        if results:
            client.gather(client.map(len, results))
        work = []
        for word in sys.stdin:
            word = word.strip()
            answer = True
            if word == "where":
                answer = {address: len(keys) for address, keys in client.has_what().items()}
            elif word == "check":
                right = client.gather(results) == [bytes([number % 256]) * size for number in range(count)]
                answer = {"right": right, "runs": len(os.listdir(folder))}
            elif word == "work":
                work = client.map(lambda n: time.sleep(1), range(20), pure=False)
            elif word == "cancel":
                client.cancel(work)
                work = []
            elif word == "info":
                answer = {address: what_matters(worker) for address, worker in client.sync(client.scheduler.identity)["workers"].items()}
            print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main()
