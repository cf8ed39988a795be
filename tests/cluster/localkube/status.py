"""What runs, said for a person."""

import os
from pathlib import Path

from . import registry
from .console import seconds
from .kube import Api, ApiError
from .node import is_ready
from .running import KEEPER


def report(running):
    """The lines of ``status``, and whether everything is as it should be."""
    cluster = running.cluster
    kind = {"node": "control plane and one node", "control-plane": "control plane only"}.get(running.size, "not started completely")
    lines = [f"cluster {cluster.name}: {kind}", f"  folder      {cluster.folder}", f"  API server  {cluster.server}"]
    healthy = bool(running.size)
    if running.size == "node":
        lines += [f"  pods        {cluster.pods}", f"  registry    http://{cluster.registry} (mirror of every registry)", f"  names       {cluster.node_address}:53"]
    lines += [f"  services    {cluster.services}", f"  this host   {cluster.host_address} (as pods and the API server see it)", ""]
    rows = [("COMPONENT", "PID", "SINCE", "MEMORY", "LOG")]
    for name, process in running.records.all():
        log = cluster.log(name) if name != KEEPER else "(holds the namespaces)"
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
        lines += ["", f"  the API server does not answer: {error}"]
    if running.size == "node":
        lines.append(f"  images: {', '.join(registry.stored(cluster))}")
    if not healthy:
        lines.append("  something is wrong: `python3 tests/cluster up` repairs it")
    return lines, healthy


def summary(items):
    """Nodes in a line: each by name, or their number when there are many."""
    if len(items) > 3:
        return f"{len(items)}, of which {sum(map(is_ready, items))} ready"
    return ", ".join(f"{item['metadata']['name']} ({'ready' if is_ready(item) else 'not ready'})" for item in items) or "none"


def age(process):
    """Seconds since a process started."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, uptime - process.start / os.sysconf("SC_CLK_TCK"))


def resident(pid):
    """Bytes of memory that a process has now."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
