"""Measurements as numbers, JSON and a table."""

import math
import threading

#: Titles of the operations that are measured for a well-behaved tenant.
KINDS = {
    "webhook": "the webhook alone (a review of an update)",
    "admission": "admission (a dry run of an update)",
    "reconcile": "reconcile (from an update to its pods)",
    "api": "the API server alone (a ConfigMap)",
    "watch": "the API server alone (until a watch shows it)",
}
#: Phases of the measurement: without the hostile tenant, with it, and with it and its large objects, which cost the API server most.
PHASES = ("alone", "beside", "large")


def percentile(values, share):
    """Return the smallest value that at least ``share`` of all values do not exceed, or None without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def growth(before, after):
    """Return the growth in percent, or None if a value is missing or the first is 0."""
    return (after / before - 1) * 100 if before and after is not None else None


class Samples:
    """Durations and problems of the current phase. Safe for use by many threads."""

    def __init__(self):
        self.lock = threading.Lock()
        #: Current phase; None if measurements do not count.
        self.phase = None
        self.seconds = {phase: {kind: [] for kind in KINDS} for phase in PHASES}
        self.problems = {phase: [] for phase in PHASES}

    def add(self, kind, seconds):
        """Add the duration of an operation."""
        with self.lock:
            if self.phase:
                self.seconds[self.phase][kind].append(seconds)

    def add_problem(self, text):
        """Add a message about a request that was refused or had no effect in time."""
        with self.lock:
            if self.phase:
                self.problems[self.phase].append(text)

    def figures(self):
        """Return all measurements as numbers, with durations in milliseconds."""
        with self.lock:
            found = {phase: {kind: summary(values) for kind, values in kinds.items()} for phase, kinds in self.seconds.items()}
            grown = {phase: {kind: growth(found["alone"][kind]["p99"], found[phase][kind]["p99"]) for kind in KINDS} for phase in PHASES[1:]}
            problems = {phase: {"count": len(texts), "first": texts[:5]} for phase, texts in self.problems.items()}
        return {**found, "growth": grown, "problems": problems}


def summary(seconds):
    """Return the count, median, 99th percentile and maximum of durations, and the 99th percentile of each half, in milliseconds.

    A growth that is not larger than the difference between the halves is not significant.
    """
    milliseconds = [1e3 * value for value in seconds]
    half = len(milliseconds) // 2
    return {"count": len(seconds), "median": percentile(milliseconds, 0.5), "p99": percentile(milliseconds, 0.99),
            "longest": max(milliseconds, default=None),
            "p99_of_halves": [percentile(milliseconds[:half], 0.99), percentile(milliseconds[half:], 0.99)]}


def table(report):
    """Return the report as a table for display."""
    def ms(value):
        return "       —" if value is None else f"{value:8.1f}"

    def percent(value):
        return "—" if value is None else f"{value:+.0f} %"

    seconds = report["seconds"]
    lines = [f"{report['tenants']} tenants, measured alone for {seconds['alone']:g} s, with a hostile one for {seconds['beside']:g} s, and with its large "
             f"objects for {seconds['large']:g} s",
             f"  {'p99 (median) in ms':45} {'alone':>19} {'in halves':>17} {'beside':>19} {'growth':>8} {'large objects':>19} {'growth':>8}"]
    for kind, name in KINDS.items():
        cells = [f"{ms(report[phase][kind]['p99'])} ({ms(report[phase][kind]['median'])})" for phase in PHASES]
        grown = [percent(report["growth"][phase][kind]) for phase in PHASES[1:]]
        halves = "".join(map(ms, report["alone"][kind]["p99_of_halves"]))
        lines.append(f"  {name:45} {cells[0]:>19} {halves:>17} {cells[1]:>19} {grown[0]:>8} {cells[2]:>19} {grown[1]:>8}")
    for phase in PHASES:
        problems = report["problems"][phase]
        lines.append(f"  {'refused or without effect, ' + phase:45} {problems['count']:19}")
        lines += [f"    {text}" for text in problems["first"]]
    operator = report["operator"]
    mib = {name: "—" if operator[name] is None else f"{operator[name] / 2**20:.0f} MiB" for name in ("limit", "peak", "resident")}
    enforced = "" if operator["limited"] else " (not enforced: there is no control group)"
    lines += [f"  {'restarts':45} {len(operator['restarts']):19}",
              *(f"    after {restart['after']:g} s: it {restart['why']}" for restart in operator["restarts"]),
              f"  {'killed for lack of memory':45} {operator['out_of_memory']:19}",
              f"  {'peak memory of the control group':45} {mib['peak']:>19} of {mib['limit']}{enforced}",
              f"  {'peak resident memory':45} {mib['resident']:>19}",
              f"  {'attacks':45} {'tries':>9} {'refused':>9} {'failed':>9}"]
    lines += [f"    {name:40} {counts['tries']:9} {counts['refused']:9} {counts['failed']:9}"
              for name, counts in (report["attacks"] or {}).items()]
    return "\n".join(lines)


def failures(report):
    """Return a message for each failure in the report."""
    operator, attacks = report["operator"], report["attacks"]
    beside = sum(report["problems"][phase]["count"] for phase in PHASES[1:])
    found = [f"{restart['after']:g} s after the start of the hostile tenant, the operator {restart['why']}" for restart in operator["restarts"]]
    if operator["out_of_memory"]:
        found.append(f"{operator['out_of_memory']} processes were killed because the operator's group was out of memory; in a pod, the "
                     "kernel may kill all processes of the container with one of them")
    if not operator["limited"]:
        found.append("the operator's memory was not limited, so these figures do not show whether it stays within its limit: run this as root on a "
                     "machine with writable control groups")
    if beside:
        found.append(f"{beside} requests of well-behaved tenants were refused or had no effect")
    if attacks is None:
        return [*found, "the hostile tenant could not start: its last output is above"]
    if not all(report[phase][kind]["count"] for phase in PHASES for kind in KINDS if report["seconds"][phase]):
        found.append("an operation was not measured in a phase")
    idle = [name for name, counts in attacks.items() if not counts["tries"]]
    if idle:
        found.append(f"these attacks did not take place: {', '.join(sorted(idle))}")
    return found
