"""What was measured, as numbers, JSON and a table."""

import math
import threading

#: What is measured of a well-behaved tenant.
KINDS = {
    "admission": "admission (a dry run of an update)",
    "reconcile": "reconcile (from an update to its pods)",
    "api": "the API server alone (a ConfigMap)",
}
#: Without the hostile tenant, and with it.
PHASES = ("alone", "beside")


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
            alone, beside = (found[phase] for phase in PHASES)
            grown = {kind: growth(alone[kind]["p99"], beside[kind]["p99"]) for kind in KINDS}
            problems = {phase: {"count": len(texts), "first": texts[:5]} for phase, texts in self.problems.items()}
        return {**found, "growth": grown, "problems": problems}


def summary(seconds):
    """Count, median, 99th percentile and the longest of some times, in milliseconds."""
    milliseconds = [1e3 * value for value in seconds]
    return {"count": len(seconds), "median": percentile(milliseconds, 0.5), "p99": percentile(milliseconds, 0.99),
            "longest": max(milliseconds, default=None)}


def table(report):
    """The same for people."""
    def ms(value):
        return "       —" if value is None else f"{value:8.1f}"

    lines = [f"{report['tenants']} tenants, alone for {report['seconds']['alone']:g} s, beside a hostile one for {report['seconds']['beside']:g} s",
             f"  {'p99 (median) in ms':42} {'alone':>19} {'beside':>19} {'growth':>8}"]
    for kind, name in KINDS.items():
        cells = [f"{ms(report[phase][kind]['p99'])} ({ms(report[phase][kind]['median'])})" for phase in PHASES]
        grown = report["growth"][kind]
        lines.append(f"  {name:42} {cells[0]:>19} {cells[1]:>19} {'—' if grown is None else f'{grown:+.0f} %':>8}")
    for phase in PHASES:
        problems = report["problems"][phase]
        lines.append(f"  {'refused or never done, ' + phase:42} {problems['count']:19}")
        lines += [f"    {text}" for text in problems["first"]]
    operator = report["operator"]
    mib = {name: "—" if operator[name] is None else f"{operator[name] / 2**20:.0f} MiB" for name in ("limit", "peak", "resident")}
    kept = "" if operator["limited"] else " (not enforced: there is no control group)"
    lines += [f"  {'restarts':42} {len(operator['restarts']):19}",
              *(f"    after {restart['after']:g} s: it {restart['why']}" for restart in operator["restarts"]),
              f"  {'ended for want of memory':42} {operator['out_of_memory']:19}",
              f"  {'memory at the most, of its group':42} {mib['peak']:>19} of {mib['limit']}{kept}",
              f"  {'memory at the most, resident':42} {mib['resident']:>19}",
              f"  {'attacks':42} {'tries':>9} {'refused':>9} {'failed':>9}"]
    lines += [f"    {name:40} {counts['tries']:9} {counts['refused']:9} {counts['failed']:9}"
              for name, counts in (report["attacks"] or {}).items()]
    return "\n".join(lines)


def failures(report):
    """What must not be, as sentences."""
    operator, beside, attacks = report["operator"], report["problems"]["beside"]["count"], report["attacks"]
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
    if not all(report["beside"][kind]["count"] for kind in KINDS):
        found.append("nothing was measured beside the hostile tenant")
    idle = [name for name, counts in attacks.items() if not counts["tries"]]
    if idle:
        found.append(f"these attacks did not take place: {', '.join(sorted(idle))}")
    return found
