"""Tests of the figures and the report."""

import pytest
from figures import KINDS, Samples, failures, growth, percentile, table


def report(**operator):
    samples = Samples()
    samples.phase = "alone"
    for kind in KINDS:
        samples.add(kind, 0.010)
    samples.phase = "beside"
    samples.add("admission", 0.015)
    samples.add("webhook", 0.010)
    samples.add("reconcile", 0.010)
    samples.add("api", 0.011)
    samples.add("watch", 0.011)
    return {"tenants": 1, "seconds": {"alone": 1, "beside": 2, "large": 0}, **samples.figures(),
            "operator": {"restarts": [], "out_of_memory": 0, "limit": 2**31, "limited": True, "peak": 2**27, "resident": 2**26, **operator},
            "attacks": {"loop": {"tries": 3, "refused": 2, "failed": 1}}}


@pytest.mark.parametrize("values, share, expected", [
    ([], 0.99, None), ([3], 0.99, 3), (range(1, 101), 0.99, 99), (range(1, 101), 0.5, 50), ([2, 1], 1.0, 2),
])
def test_percentiles(values, share, expected):
    assert percentile(list(values), share) == expected


@pytest.mark.parametrize("before, after, expected", [(10, 15, 50), (10, 5, -50), (None, 5, None), (0, 5, None), (5, None, None)])
def test_growth(before, after, expected):
    assert growth(before, after) == (expected if expected is None else pytest.approx(expected))


def test_measurements_between_the_phases_do_not_count():
    samples = Samples()
    samples.add("admission", 1.0)
    samples.add_problem("late")
    samples.phase = "beside"
    samples.add("admission", 2.0)
    figures = samples.figures()
    assert figures["alone"]["admission"]["count"] == 0 and figures["problems"]["alone"]["count"] == 0
    assert figures["beside"]["admission"] == {"count": 1, "median": 2000.0, "p99": 2000.0, "longest": 2000.0,
                                              "p99_of_halves": [None, 2000.0]}


def test_each_half_has_its_own_percentile():
    samples = Samples()
    samples.phase = "alone"
    for seconds in (0.001, 0.002, 0.004, 0.003):
        samples.add("webhook", seconds)
    assert samples.figures()["alone"]["webhook"]["p99_of_halves"] == [2.0, 4.0]


def test_table():
    text = table(report())
    assert "+50 %" in text and "128 MiB of 2048 MiB" in text and "not enforced" not in text
    assert "not enforced" in table(report(limited=False, peak=None))


def test_failures():
    assert failures(report()) == []
    [ended] = failures(report(restarts=[{"after": 7.0, "why": "was terminated by SIGKILL"}]))
    assert ended == "7 s after the start of the hostile tenant, the operator was terminated by SIGKILL"
    assert "3 processes were killed" in failures(report(out_of_memory=3))[0]
    assert "was not limited" in failures(report(limited=False))[0]
    idle = report()
    idle["attacks"]["loop"]["tries"] = 0
    assert failures(idle) == ["these attacks did not take place: loop"]
    refused = report()
    refused["problems"]["beside"]["count"] = 2
    assert "2 requests" in failures(refused)[0]


def test_failure_to_start_the_attacks():
    none = {**report(restarts=[{"after": 7.0, "why": "exited with code 1"}]), "attacks": None}
    assert "after 7 s: it exited with code 1" in table(none)
    assert failures(none)[-1].startswith("the hostile tenant could not start")
