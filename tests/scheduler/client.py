"""Dask client that runs with the Python of one release: client.py ADDRESS [COUNT [BYTES]].

Computes COUNT results of BYTES bytes each, and keeps references to them. Reads commands from standard input, and answers each
with a line of JSON:

- ``ready``: true.
- ``where``: number of results on each worker, by its address.
- ``check``: whether all results are correct, and the number of task runs.
- ``work``: starts tasks that take a while.
- ``cancel``: cancels these tasks.
- ``info``: the workers as Python's client reports them.
"""

import json
import os
import sys
import tempfile
import time

from distributed import Client, Security


def security_of_address():
    """Security that takes certificates from the environment, for a TLS address; otherwise None."""
    return Security(require_encryption=True) if sys.argv[1].startswith("tls") else None


def task(number, size, folder):
    """Computes a result, and leaves a file in the folder for each run."""
    handle, _ = tempfile.mkstemp(prefix=f"{number}-", dir=folder)
    os.close(handle)
    return bytes([number % 256]) * size


def compared_facts(worker):
    """Facts about a worker that the tests compare. Other facts cannot be JSON: after a heartbeat, metrics may have tuples as keys."""
    managed_bytes = worker["metrics"].get("managed_bytes", 0)
    return {"name": str(worker["name"]), "status": worker["status"], "nthreads": worker["nthreads"], "managed_bytes": managed_bytes}


def main():
    """Answers commands until the end of standard input."""
    count, size = [*map(int, sys.argv[2:]), 0, 0][:2]
    with Client(sys.argv[1], security=security_of_address()) as client, tempfile.TemporaryDirectory() as folder:
        results = client.map(task, range(count), size=size, folder=folder, pure=False)
        if results:
            client.gather(client.map(len, results))
        work = []
        for command in sys.stdin:
            command = command.strip()
            answer = True
            if command == "where":
                answer = {address: len(keys) for address, keys in client.has_what().items()}
            elif command == "check":
                correct = client.gather(results) == [bytes([number % 256]) * size for number in range(count)]
                answer = {"right": correct, "runs": len(os.listdir(folder))}
            elif command == "work":
                work = client.map(lambda n: time.sleep(1), range(20), pure=False)
            elif command == "cancel":
                client.cancel(work)
                work = []
            elif command == "info":
                answer = {address: compared_facts(worker) for address, worker in client.sync(client.scheduler.identity)["workers"].items()}
            print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main()
