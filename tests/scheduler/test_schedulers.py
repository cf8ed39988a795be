"""The Rust client against real schedulers, workers and clients of several releases."""

import os
import signal
import time

import pytest
from dask_processes import Dask, Refused
from support.tls import Authority
from support.waiting import until

#: Releases before this one say neither what a worker holds nor since when they are idle.
SAYS_LITTLE = "2022.8.1"


def test_facts_are_those_of_pythons_client(dask, release):
    dask.worker("one", "7")
    client = dask.client(20, 1000)
    time.sleep(1)  # heartbeats are made each half a second

    facts = dask.ask("facts")
    expected = client.say("info")
    assert sorted(worker["address"] for worker in facts["workers"]) == sorted(expected)
    for worker in facts["workers"]:
        theirs = expected[worker["address"]]
        assert worker["name"] == theirs["name"]
        assert (worker["status"], worker["nthreads"]) == (theirs["status"], theirs["nthreads"]) == ("running", 1)
        assert worker["managed_bytes"] == theirs["managed_bytes"]
        assert worker["last_seen"] == pytest.approx(time.time() * 1000, abs=10_000)
    if release > SAYS_LITTLE:
        assert sum(worker["managed_bytes"] for worker in facts["workers"]) >= 20_000
    assert sorted(dask.ask("workers-to-close")) == ["7", "one"]


def test_desired_workers_and_idle(dask, release):
    dask.worker("one")
    client = dask.client()
    client.say("work")

    def busy():
        facts = dask.ask("facts")
        return facts["desired_workers"] >= 2 and facts["workers"][0]["processing"] >= 1 and facts

    assert until(busy, "more workers to be wanted")["idle_since"] is None
    assert dask.ask("adaptive-target") > 2
    client.say("cancel")
    if release > SAYS_LITTLE:
        idle = until(lambda: dask.ask("check-idle"), "the scheduler to be idle")
        assert idle == pytest.approx(time.time() * 1000, abs=10_000)
        assert dask.ask("facts")["idle_since"] == idle
    else:
        assert dask.ask("check-idle") is None


def retire_with_data(dask):
    """Four workers hold results; two are retired, and killed. No result is lost, none is computed again."""
    dask.worker("a", "b", "c", "d")
    client = dask.client(200, 2000)
    before = dask.by_name()
    assert all(client.say("where")[before[name]["address"]] for name in "abcd")

    retired = dask.ask("retire", before["a"]["address"], before["c"]["address"])
    assert {worker["name"] for worker in retired} == {"a", "c"}
    assert {name: worker["status"] for name, worker in dask.by_name().items()} == {"b": "running", "d": "running"}
    # To ask again is safe.
    assert dask.ask("retire", before["a"]["address"]) == []
    dask.end("a")
    dask.end("c")
    assert client.say("check") == {"right": True, "runs": 200}


def test_retire_moves_data(dask):
    retire_with_data(dask)


def test_retire_moves_data_with_tls(dask_with_tls):
    retire_with_data(dask_with_tls)


def test_workers_retired_one_after_another_lose_nothing(dask):
    dask.worker("a", "b", "c", "d")
    client = dask.client(800, 50_000)
    addresses = {name: worker["address"] for name, worker in dask.by_name().items()}
    # What the first hands on to the next must move again with that one, though the first process still has it.
    for name in "abc":
        assert [worker["name"] for worker in dask.ask("retire", addresses[name])] == [name]
    for name in "abc":
        dask.end(name)
    assert client.say("check") == {"right": True, "runs": 800}


def test_last_workers_with_data_are_not_retired(dask):
    dask.worker("a", "b")
    client = dask.client(20, 1000)
    addresses = [worker["address"] for worker in dask.workers()]
    assert dask.ask("retire", *addresses) == []
    # They go on working, as soon as they have been told.
    until(lambda: {worker["status"] for worker in dask.workers()} == {"running"}, "the workers to run again")
    assert client.say("check") == {"right": True, "runs": 20}


def test_what_becomes_of_retired_workers(dask):
    dask.worker("a", "b", "c")
    addresses = {name: worker["address"] for name, worker in dask.by_name().items()}
    assert dask.ask("retire", "tcp://127.0.0.1:1") == []
    assert dask.ask("retire-names", "name=a", "name=nobody") == [{"address": addresses["a"], "name": "a"}]
    until(lambda: dask.processes["a"].poll() is not None, "the worker to exit")
    # A process that is started in its place registers anew, and is retired as any other.
    dask.worker("a")
    again = dask.by_name()["a"]["address"]
    assert dask.ask("retire-names", "name=a") == [{"address": again, "name": "a"}]
    assert dask.ask("retire-stay", addresses["b"]) == [{"address": addresses["b"], "name": "b"}]
    assert dask.by_name()["b"]["status"] == "closing_gracefully"
    answers = dask.ask("addresses-to-close", "retire-close", addresses["c"])
    assert answers[1] == [{"address": addresses["c"], "name": "c"}]


def test_http_by_default(dask):
    dask.worker("one")
    over_http, facts = dask.ask("facts", address=dask.http), dask.ask("facts")
    for one in over_http, facts:
        for worker in one["workers"]:
            del worker["last_seen"], worker["managed_bytes"]
        del one["idle_since"]
    assert over_http == facts
    with pytest.raises(Refused, match="does not know /api/v1/adaptive_target.*not among its HTTP routes"):
        dask.ask("adaptive-target", address=dask.http)
    with pytest.raises(Refused, match="does not know /api/v1/retire_workers"):
        dask.ask("retire", facts["workers"][0]["address"], address=dask.http)


def test_http_api(dask_with_api, release):
    dask = dask_with_api
    dask.worker("a", "b", "c")
    client = dask.client(60, 1000)
    addresses = {name: worker["address"] for name, worker in dask.by_name().items()}
    workers = dask.ask("get-workers", address=dask.http)
    assert {worker["name"]: worker["address"] for worker in workers} == addresses
    assert dask.ask("adaptive-target", address=dask.http) >= 1
    if release > SAYS_LITTLE:
        until(lambda: dask.ask("check-idle", address=dask.http), "the scheduler to be idle")
    else:
        with pytest.raises(Refused, match="does not know /api/v1/check_idle"):
            dask.ask("check-idle", address=dask.http)
    # While a heartbeat tells of tasks, newer releases can't write these facts as JSON.
    facts = until(lambda: dask.ask("facts", address=dask.http), "facts over HTTP")
    assert {worker["address"] for worker in facts["workers"]} == set(addresses.values())
    # Nor can they write the answer, if the worker's last heartbeat told of results on the move; it is retired all the same.
    try:
        retired = dask.ask("retire", addresses["b"], "tcp://127.0.0.1:1", address=dask.http)
        assert retired == [{"address": addresses["b"], "name": "b"}]
    except Refused as refused:
        assert "/api/v1/retire_workers with HTTP status 500" in str(refused)
        assert release > SAYS_LITTLE
    assert {worker["name"] for worker in dask.ask("get-workers", address=dask.http)} == {"a", "c"}
    dask.end("b")
    assert client.say("check") == {"right": True, "runs": 60}


def test_wrong_ports_and_schemes(dask, authority):
    with pytest.raises(Refused, match="tls://.* does not offer TLS: write tcp:// instead"):
        dask.ask("facts", address=dask.address.replace("tcp", "tls"), variables=authority.variables())
    with pytest.raises(Refused, match="did not finish Dask's handshake within 2s|ended the connection during Dask's handshake"):
        dask.ask("facts", address=dask.http.replace("http", "tcp"), timeout=2)
    dask.worker("one")
    with pytest.raises(Refused, match="is not a Dask scheduler"):
        dask.ask("facts", address=dask.workers()[0]["address"])


def test_tls(dask_with_tls, tmp_path):
    dask = dask_with_tls
    assert dask.address.startswith("tls://")
    dask.worker("one")
    assert dask.workers()[0]["address"].startswith("tls://")
    with pytest.raises(Refused, match="wants TLS|ended the connection during Dask's handshake"):
        dask.ask("facts", address=dask.address.replace("tls", "tcp"))
    stranger = Authority(tmp_path / "stranger").variables()
    with pytest.raises(Refused, match="the scheduler's certificate is not accepted: (UnknownIssuer|BadSignature)"):
        dask.ask("facts", variables=stranger)
    # We accept the scheduler, but not it us.
    ours = {**stranger, **{name: path for name, path in dask.tls.variables().items() if name.endswith("CA_FILE")}}
    with pytest.raises(Refused, match="the scheduler refuses ours with the alert"):
        dask.ask("facts", variables=ours)


def test_temporary_security_of_dask(dask):
    """Dask's own way to have TLS at once: one certificate that is its own authority."""
    address, variables = dask.temporary_scheduler()
    assert dask.ask("facts", address=address, variables=variables)["workers"] == []


def test_scheduler_that_stops_answering(dask):
    process = dask.processes["scheduler"]
    assert dask.workers() == []
    os.kill(process.pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(Refused, match="did not finish .* within 1s"):
            dask.ask("facts", timeout=1)
        assert time.monotonic() - start < 60
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert dask.workers() == []


def test_compression_is_not_agreed_on(interpreter, tmp_path):
    with Dask(interpreter, tmp_path, DASK_DISTRIBUTED__COMM__COMPRESSION="zlib") as dask:
        dask.worker("one")
        assert [worker["name"] for worker in dask.workers()] == ["one"]


def test_many_workers_are_all_told(dask):
    """Newer releases of Python's client tell about five workers unless asked for more."""
    names = [f"w{number}" for number in range(8)]
    dask.worker(*names)
    assert sorted(dask.by_name()) == names
    assert len(dask.ask("workers-to-close")) == 8
