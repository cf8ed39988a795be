"""Tests of the Rust client with real schedulers, workers and clients of several releases."""

import os
import signal
import time

import pytest
from dask_processes import Dask, Refused
from support.tls import Authority
from support.waiting import until

#: Newest release whose schedulers report neither the bytes that a worker manages nor the time since which they are idle.
LIMITED_FACTS = "2022.8.1"


def test_facts_match_those_of_pythons_client(dask, release):
    dask.worker("one", "7")
    client = dask.client(20, 1000)
    time.sleep(1)  # workers send a heartbeat every half second

    facts = dask.ask("facts")
    expected = client.send("info")
    assert sorted(worker["address"] for worker in facts["workers"]) == sorted(expected)
    for worker in facts["workers"]:
        python_worker = expected[worker["address"]]
        assert worker["name"] == python_worker["name"]
        assert (worker["status"], worker["nthreads"]) == (python_worker["status"], python_worker["nthreads"]) == ("running", 1)
        assert worker["managed_bytes"] == python_worker["managed_bytes"]
        assert worker["last_seen"] == pytest.approx(time.time() * 1000, abs=10_000)
    if release > LIMITED_FACTS:
        assert sum(worker["managed_bytes"] for worker in facts["workers"]) >= 20_000
    assert sorted(dask.ask("workers-to-close")) == ["7", "one"]


def test_desired_workers_and_idle_time(dask, release):
    dask.worker("one")
    client = dask.client()
    client.send("work")

    def is_busy():
        facts = dask.ask("facts")
        return facts["desired_workers"] >= 2 and facts["workers"][0]["processing"] >= 1 and facts

    assert until(is_busy, "the scheduler to request more workers")["idle_since"] is None
    assert dask.ask("adaptive-target") > 2
    client.send("cancel")
    if release > LIMITED_FACTS:
        idle = until(lambda: dask.ask("check-idle"), "the scheduler to be idle")
        assert idle == pytest.approx(time.time() * 1000, abs=10_000)
        assert dask.ask("facts")["idle_since"] == idle
    else:
        assert dask.ask("check-idle") is None


def check_retirement_with_data(dask):
    """Retires and then kills two of four workers that have results. No result is lost or recomputed."""
    dask.worker("a", "b", "c", "d")
    client = dask.client(200, 2000)
    before = dask.by_name()
    assert all(client.send("where")[before[name]["address"]] for name in "abcd")

    retired = dask.ask("retire", before["a"]["address"], before["c"]["address"])
    assert {worker["name"] for worker in retired} == {"a", "c"}
    assert {name: worker["status"] for name, worker in dask.by_name().items()} == {"b": "running", "d": "running"}
    # A repeated request has no effect.
    assert dask.ask("retire", before["a"]["address"]) == []
    dask.end("a")
    dask.end("c")
    assert client.send("check") == {"right": True, "runs": 200}


def test_retirement_moves_data(dask):
    check_retirement_with_data(dask)


def test_retirement_moves_data_with_tls(dask_with_tls):
    check_retirement_with_data(dask_with_tls)


def test_successive_retirements_lose_no_data(dask):
    dask.worker("a", "b", "c", "d")
    client = dask.client(800, 50_000)
    addresses = {name: worker["address"] for name, worker in dask.by_name().items()}
    # Results that moved from the first worker to the next must move again with that one, although the first process still has them.
    for name in "abc":
        assert [worker["name"] for worker in dask.ask("retire", addresses[name])] == [name]
    for name in "abc":
        dask.end(name)
    assert client.send("check") == {"right": True, "runs": 800}


def test_last_workers_with_data_are_not_retired(dask):
    dask.worker("a", "b")
    client = dask.client(20, 1000)
    addresses = [worker["address"] for worker in dask.workers()]
    assert dask.ask("retire", *addresses) == []
    # The scheduler sets both workers back to running.
    until(lambda: {worker["status"] for worker in dask.workers()} == {"running"}, "the workers to run again")
    assert client.send("check") == {"right": True, "runs": 20}


def test_a_retired_worker_exits_unless_it_must_stay(dask):
    dask.worker("a", "b", "c")
    addresses = {name: worker["address"] for name, worker in dask.by_name().items()}
    assert dask.ask("retire", "tcp://127.0.0.1:1") == []
    assert dask.ask("retire-names", "name=a", "name=nobody") == [{"address": addresses["a"], "name": "a"}]
    until(lambda: dask.processes["a"].poll() is not None, "the worker to exit")
    # A replacement with the same name registers as a new worker, and can be retired.
    dask.worker("a")
    again = dask.by_name()["a"]["address"]
    assert dask.ask("retire-names", "name=a") == [{"address": again, "name": "a"}]
    assert dask.ask("retire-stay", addresses["b"]) == [{"address": addresses["b"], "name": "b"}]
    assert dask.by_name()["b"]["status"] == "closing_gracefully"
    answers = dask.ask("addresses-to-close", "retire-close", addresses["c"])
    assert answers[1] == [{"address": addresses["c"], "name": "c"}]


def test_default_http_routes_give_facts_only(dask):
    dask.worker("one")
    over_http, facts = dask.ask("facts", address=dask.http), dask.ask("facts")
    for each in over_http, facts:
        for worker in each["workers"]:
            del worker["last_seen"], worker["managed_bytes"]
        del each["idle_since"]
    assert over_http == facts
    with pytest.raises(Refused, match="does not know /api/v1/adaptive_target.*not among its HTTP routes"):
        dask.ask("adaptive-target", address=dask.http)
    with pytest.raises(Refused, match="does not know /api/v1/retire_workers"):
        dask.ask("retire", facts["workers"][0]["address"], address=dask.http)


def test_http_api_gives_facts_and_retires_workers(dask_with_api, release):
    dask = dask_with_api
    dask.worker("a", "b", "c")
    client = dask.client(60, 1000)
    addresses = {name: worker["address"] for name, worker in dask.by_name().items()}
    workers = dask.ask("get-workers", address=dask.http)
    assert {worker["name"]: worker["address"] for worker in workers} == addresses
    assert dask.ask("adaptive-target", address=dask.http) >= 1
    if release > LIMITED_FACTS:
        until(lambda: dask.ask("check-idle", address=dask.http), "the scheduler to be idle")
    else:
        with pytest.raises(Refused, match="does not know /api/v1/check_idle"):
            dask.ask("check-idle", address=dask.http)
    # While the last heartbeat lists tasks, newer releases cannot serialize these facts as JSON.
    facts = until(lambda: dask.ask("facts", address=dask.http), "facts over HTTP")
    assert {worker["address"] for worker in facts["workers"]} == set(addresses.values())
    # They cannot serialize the answer either if the worker's last heartbeat lists results in transfer. The worker is retired
    # anyway.
    try:
        retired = dask.ask("retire", addresses["b"], "tcp://127.0.0.1:1", address=dask.http)
        assert retired == [{"address": addresses["b"], "name": "b"}]
    except Refused as refused:
        assert "/api/v1/retire_workers with HTTP status 500" in str(refused)
        assert release > LIMITED_FACTS
    assert {worker["name"] for worker in dask.ask("get-workers", address=dask.http)} == {"a", "c"}
    dask.end("b")
    assert client.send("check") == {"right": True, "runs": 60}


def test_wrong_ports_and_schemes_are_reported(dask, authority):
    with pytest.raises(Refused, match="tls://.* does not offer TLS: write tcp:// instead"):
        dask.ask("facts", address=dask.address.replace("tcp", "tls"), variables=authority.variables())
    with pytest.raises(Refused, match="did not finish Dask's handshake within 2s|ended the connection during Dask's handshake"):
        dask.ask("facts", address=dask.http.replace("http", "tcp"), timeout=2)
    dask.worker("one")
    with pytest.raises(Refused, match="is not a Dask scheduler"):
        dask.ask("facts", address=dask.workers()[0]["address"])


def test_tls_requires_mutual_trust(dask_with_tls, tmp_path):
    dask = dask_with_tls
    assert dask.address.startswith("tls://")
    dask.worker("one")
    assert dask.workers()[0]["address"].startswith("tls://")
    with pytest.raises(Refused, match="wants TLS|ended the connection during Dask's handshake"):
        dask.ask("facts", address=dask.address.replace("tls", "tcp"))
    foreign_variables = Authority(tmp_path / "stranger").variables()
    with pytest.raises(Refused, match="the scheduler's certificate is not accepted: (UnknownIssuer|BadSignature)"):
        dask.ask("facts", variables=foreign_variables)
    # The client trusts the scheduler, but the scheduler does not trust the client.
    half_trusted = {**foreign_variables, **{name: path for name, path in dask.tls.variables().items() if name.endswith("CA_FILE")}}
    with pytest.raises(Refused, match="the scheduler refuses ours with the alert"):
        dask.ask("facts", variables=half_trusted)


def test_temporary_security_of_dask_is_accepted(dask):
    """Dask's temporary security is a single self-signed certificate."""
    address, variables = dask.temporary_scheduler()
    assert dask.ask("facts", address=address, variables=variables)["workers"] == []


def test_a_paused_scheduler_causes_a_timeout(dask):
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


def test_the_client_negotiates_no_compression(interpreter, tmp_path):
    with Dask(interpreter, tmp_path, DASK_DISTRIBUTED__COMM__COMPRESSION="zlib") as dask:
        dask.worker("one")
        assert [worker["name"] for worker in dask.workers()] == ["one"]


def test_all_of_many_workers_are_returned(dask):
    """Newer releases of Python's client return five workers by default."""
    names = [f"w{number}" for number in range(8)]
    dask.worker(*names)
    assert sorted(dask.by_name()) == names
    assert len(dask.ask("workers-to-close")) == 8
