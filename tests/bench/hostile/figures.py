"""What was measured, as numbers, JSON and a table."""

import math
import threading

#: What is measured of a well-behaved tenant.
KINDS = {
    "webhook": "the webhook alone (a review of an update)",
    "admission": "admission (a dry run of an update)",
    "reconcile": "reconcile (from an update to its pods)",
    "api": "the API server alone (a ConfigMap)",
    "watch": "the API server alone (until a watch shows it)",
}
#: Without the hostile tenant, with it, and when it sends large objects, too, which cost the API server most.
PHASES = ("alone", "beside", "large")


def percentile(values, share):
    """The value that a share of all values does not exceed; None where there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def growth(before, after):
    """How much more it is now, in percent; None where one of both is not known."""
    return (after / before - 1) * 100 if before and after is not None else None


class Samples:
    """Times of the phase that is on, and what did not come to an end in it. Many threads add to it."""

    def __init__(self):
        self.lock = threading.Lock()
        #: None: what is measured now does not count.
        self.phase = None
        self.seconds = {phase: {kind: [] for kind in KINDS} for phase in PHASES}
        self.problems = {phase: [] for phase in PHASES}

    def add(self, kind, seconds):
        """A time."""
        with self.lock:
            if self.phase:
                self.seconds[self.phase][kind].append(seconds)

    def problem(self, text):
        """Something that was refused, or that never happened."""
        with self.lock:
            if self.phase:
                self.problems[self.phase].append(text)

    def figures(self):
        """All of it as numbers; times in milliseconds."""
        with self.lock:
            found = {phase: {kind: summary(values) for kind, values in kinds.items()} for phase, kinds in self.seconds.items()}
            grown = {phase: {kind: growth(found["alone"][kind]["p99"], found[phase][kind]["p99"]) for kind in KINDS} for phase in PHASES[1:]}
            problems = {phase: {"count": len(texts), "first": texts[:5]} for phase, texts in self.problems.items()}
        return {**found, "growth": grown, "problems": problems}


def summary(seconds):
    """Count, median, 99th percentile and the longest of some times, in milliseconds; and the 99th percentile of the first half and
    of the second: what differs by as much says nothing."""
    milliseconds = [1e3 * value for value in seconds]
    half = len(milliseconds) // 2
    return {"count": len(seconds), "median": percentile(milliseconds, 0.5), "p99": percentile(milliseconds, 0.99),
            "longest": max(milliseconds, default=None),
            "p99_of_halves": [percentile(milliseconds[:half], 0.99), percentile(milliseconds[half:], 0.99)]}


def table(report):
    """The same for people."""
    def ms(value):
        return "       —" if value is None else f"{value:8.1f}"

    def percent(value):
        return "—" if value is None else f"{value:+.0f} %"

    seconds = report["seconds"]
    lines = [f"{report['tenants']} tenants, alone for {seconds['alone']:g} s, beside a hostile one for {seconds['beside']:g} s, and while that sends large "
             f"objects, too, for {seconds['large']:g} s",
             f"  {'p99 (median) in ms':45} {'alone':>19} {'in halves':>17} {'beside':>19} {'growth':>8} {'large objects':>19} {'growth':>8}"]
    for kind, name in KINDS.items():
        cells = [f"{ms(report[phase][kind]['p99'])} ({ms(report[phase][kind]['median'])})" for phase in PHASES]
        grown = [percent(report["growth"][phase][kind]) for phase in PHASES[1:]]
        halves = "".join(map(ms, report["alone"][kind]["p99_of_halves"]))
        lines.append(f"  {name:45} {cells[0]:>19} {halves:>17} {cells[1]:>19} {grown[0]:>8} {cells[2]:>19} {grown[1]:>8}")
    for phase in PHASES:
        problems = report["problems"][phase]
        lines.append(f"  {'refused or never done, ' + phase:45} {problems['count']:19}")
        lines += [f"    {text}" for text in problems["first"]]
    operator = report["operator"]
    mib = {name: "—" if operator[name] is None else f"{operator[name] / 2**20:.0f} MiB" for name in ("limit", "peak", "resident")}
    kept = "" if operator["limited"] else " (not enforced: there is no control group)"
    lines += [f"  {'restarts':45} {len(operator['restarts']):19}",
              *(f"    after {restart['after']:g} s: it {restart['why']}" for restart in operator["restarts"]),
              f"  {'ended for want of memory':45} {operator['out_of_memory']:19}",
              f"  {'memory at the most, of its group':45} {mib['peak']:>19} of {mib['limit']}{kept}",
              f"  {'memory at the most, resident':45} {mib['resident']:>19}",
              f"  {'attacks':45} {'tries':>9} {'refused':>9} {'failed':>9}"]
    lines += [f"    {name:40} {counts['tries']:9} {counts['refused']:9} {counts['failed']:9}"
              for name, counts in (report["attacks"] or {}).items()]
    return "\n".join(lines)


def failures(report):
    """What must not be, as sentences."""
    operator, attacks = report["operator"], report["attacks"]
    beside = sum(report["problems"][phase]["count"] for phase in PHASES[1:])
    found = [f"{restart['after']:g} s after the hostile tenant began, the operator {restart['why']}" for restart in operator["restarts"]]
    if operator["out_of_memory"]:
        found.append(f"{operator['out_of_memory']} processes were ended because the operator's group had no memory left; a kubelet's "
                     "control group may end all of it with one of them")
    if not operator["limited"]:
        found.append("the operator's memory was not limited, so these figures do not say whether it keeps its limit: run this as root where "
                     "control groups can be made")
    if beside:
        found.append(f"{beside} requests of well-behaved tenants were refused, or nothing came of them")
    if attacks is None:
        return [*found, "the hostile tenant could not begin: its last words are above"]
    if not all(report[phase][kind]["count"] for phase in PHASES for kind in KINDS if report["seconds"][phase]):
        found.append("nothing was measured beside the hostile tenant")
    idle = [name for name, counts in attacks.items() if not counts["tries"]]
    if idle:
        found.append(f"these attacks did not take place: {', '.join(sorted(idle))}")
    return found
