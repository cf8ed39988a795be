"""How fast the webhook answers: requests at a steady rate, straight to its port, each with a manifest of 5 kB.

    tests/venv tests/webhook/requirements.txt  # prints the environment whose Python this needs
    python tests/webhook/bench.py --rate 1000 --seconds 10
"""

import argparse
import asyncio
import json
import ssl
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.cluster import ROOT, kubernetes  # noqa: E402
from support.hook import Hook  # noqa: E402
from support.kubectl import Kubectl  # noqa: E402
from support.manifests import cluster  # noqa: E402

RANGE, HOST = "198.19.80.0/20", "198.19.95.253"
SIZE = 5_000


def review(operation="CREATE"):
    """The body of a request."""
    manifest = cluster("bench", 10)
    environment = manifest["spec"]["worker"]["spec"]["containers"][0].setdefault("env", [])
    while len(json.dumps(manifest)) < SIZE:
        environment.append({"name": f"VARIABLE_{len(environment)}", "value": "x" * 40})
    manifest["metadata"] = {"name": "bench", "namespace": "default", "uid": "00000000-0000-0000-0000-000000000001"}
    group = {"group": "kubernetes.dask.org", "version": "v1"}
    request = {"uid": "u", "operation": operation, "name": "bench", "namespace": "default", "userInfo": {"username": "bench"},
               "kind": {**group, "kind": "DaskCluster"}, "resource": {**group, "resource": "daskclusters"}, "object": manifest,
               "oldObject": None, "dryRun": False}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


async def client(port, step, body, interval, end, times):
    """One connection that sends a request each ``interval`` seconds; late ones count from when they were due."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
    head = f"POST /{step}?timeout=10s HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    message = head.encode() + body
    due = time.perf_counter()
    while due < end:
        await asyncio.sleep(max(0, due - time.perf_counter()))
        writer.write(message)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length"))
        text = await reader.readexactly(length)
        assert b" 200 " in answer.split(b"\r\n")[0] and b'"allowed":true' in text, text
        times.append(time.perf_counter() - due)
        due += interval
    writer.close()


async def measure(port, step, rate, seconds, connections):
    """The times of all answers."""
    times = []
    end = time.perf_counter() + seconds
    body = review()
    await asyncio.gather(*(client(port, step, body, connections / rate, end, times) for _ in range(connections)))
    return sorted(times), len(body)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=1000, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    with kubernetes("hookbench", RANGE, node=False) as environment, tempfile.TemporaryDirectory() as folder:
        admin = Kubectl(environment)
        admin("apply", "--server-side", "--filename", ROOT / "crds")
        with Hook(admin, HOST, folder, "bench") as hook:
            for step in ("mutate", "validate"):
                asyncio.run(measure(hook.port, step, arguments.rate, 1, arguments.connections))
                times, size = asyncio.run(measure(hook.port, step, arguments.rate, arguments.seconds, arguments.connections))
                at = {part: 1000 * times[int(len(times) * part / 100)] for part in (50, 99)}
                print(f"{step}: {len(times) / arguments.seconds:.0f} requests a second of {size} bytes, p50 {at[50]:.2f} ms, p99 {at[99]:.2f} ms")


if __name__ == "__main__":
    main()
