"""Benchmark: latency of the queries for the facts about a scheduler with many workers, by the Rust client and by Python's client.

    tests/venv tests/scheduler/releases/RELEASE.txt   prints the folder of an environment; run the benchmark with its Python:
    python tests/scheduler/bench.py [WORKERS]

The workers only register and keep their connections open, as real workers do. Python's client makes the same three queries.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from distributed import Scheduler
from distributed.core import connect, rpc

ASK = Path(os.environ.get("ASK", Path(__file__).parent.parent.parent / "target" / "release" / "examples" / "ask"))
METRICS = {"task_counts": {"memory": 5}, "managed_bytes": 5000, "memory": 10**8, "cpu": 3.0, "event_loop_interval": 0.02,
           "bandwidth": {"total": 10**8, "workers": {}, "types": {}}, "spilled_bytes": {"memory": 0, "disk": 0},
           "digests_total_since_heartbeat": {"latency": 0.005, "tick-duration": 0.5}}


async def register(address, number):
    """Registers a worker with the scheduler, and returns the open connection."""
    comm = await connect(address)
    now = time.time()
    await comm.write({
        "op": "register-worker", "reply": False, "address": f"tcp://10.0.{number // 250}.{number % 250}:4000",
        "status": "running", "nthreads": 2, "name": f"group-worker-{number}", "now": now, "resources": {},
        "memory_limit": 10**9, "local_directory": "/tmp/x", "services": {}, "nanny": None, "pid": 1, "versions": {},
        "metrics": {**METRICS, "time": now}, "extra": {}, "stimulus_id": "bench", "server_id": f"Worker-{number}",
    })
    answer = await comm.read()
    assert answer["status"] == "OK", answer
    return comm


async def serve(count):
    """Runs a scheduler with ``count`` registered workers, and prints its address."""
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        comms = [await register(scheduler.address, number) for number in range(count)]
        print(scheduler.address, flush=True)
        await asyncio.Event().wait()
        del comms


async def python(address):
    """Makes the queries 200 times with Python's client. Returns the number of workers, and the median and p99 in milliseconds."""
    times = []
    async with rpc(address) as scheduler:
        for _ in range(200):
            start = time.perf_counter()
            workers = (await scheduler.identity())["workers"]
            await scheduler.adaptive_target()
            await scheduler.check_idle()
            times.append((time.perf_counter() - start) * 1000)
    times.sort()
    return {"workers": len(workers), "median": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}


def main():
    """Runs the scheduler in a child process, and prints the figures of both clients."""
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2])))
        return
    count = sys.argv[1] if len(sys.argv) > 1 else "200"
    command = [sys.executable, __file__, "serve", count]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            rust_figures = json.loads(subprocess.run([ASK, address, "time"], check=True, text=True, stdout=subprocess.PIPE).stdout)
            python_figures = asyncio.run(python(address))
        finally:
            process.kill()
    for name, figures in ("rust", rust_figures), ("python", python_figures):
        print(f"{name}: {figures['workers']} workers, median {figures['median']:.2f} ms, p99 {figures['p99']:.2f} ms")


if __name__ == "__main__":
    main()
