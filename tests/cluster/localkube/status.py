"""The verb ``status``: the state of a cluster as text."""

import os
from pathlib import Path

from . import registry
from .console import seconds
from .kube import Api, ApiError
from .node import is_ready
from .running import KEEPER


def report(running):
    """Return the lines of ``status``, and whether the cluster is healthy."""
    cluster = running.cluster
    kind = {"node": "control plane and one node", "control-plane": "control plane only"}.get(running.size, "not started completely")
    lines = [f"cluster {cluster.name}: {kind}", f"  folder      {cluster.folder}", f"  API server  {cluster.server}"]
    healthy = bool(running.size)
    if running.size == "node":
        lines += [f"  pods        {cluster.pods}", f"  registry    http://{cluster.registry} (mirror of every registry)", f"  names       {cluster.node_address}:53"]
    lines += [f"  services    {cluster.services}", f"  this host   {cluster.host_address} (as pods and the API server see it)", ""]
    rows = [("COMPONENT", "PID", "SINCE", "MEMORY", "LOG")]
    for name, process in running.records.all():
        log = cluster.log(name) if name != KEEPER else "(keeps the namespaces open)"
        if process.alive:
            rows.append((name, str(process.pid), seconds(age(process)), f"{resident(process.pid) >> 20} MB", str(log)))
        else:
            healthy = False
            rows.append((name, str(process.pid), "DEAD", "", str(log)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    try:
        items = Api(cluster, timeout=5).get("/api/v1/nodes")["items"]
        lines += ["", f"  nodes: {summary(items)}"]
    except (OSError, ApiError) as error:
        healthy = False
        lines += ["", f"  the API server does not respond: {error}"]
    if running.size == "node":
        lines.append(f"  images: {', '.join(registry.stored(cluster))}")
    if not healthy:
        lines.append("  the cluster is not healthy: `python3 tests/cluster up` repairs it")
    return lines, healthy


def summary(items):
    """Return the nodes in one line: each by name, or only their number if there are more than three."""
    if len(items) > 3:
        return f"{len(items)}, of which {sum(map(is_ready, items))} ready"
    return ", ".join(f"{item['metadata']['name']} ({'ready' if is_ready(item) else 'not ready'})" for item in items) or "none"


def age(process):
    """Return the seconds since a process started."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, uptime - process.start / os.sysconf("SC_CLK_TCK"))


def resident(pid):
    """Return the resident memory of a process in bytes, or 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
