"""Tests of the attacks without an operator."""

import importlib.util
import socket
import threading
from argparse import ArgumentTypeError
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace

import attacks
import pytest
from attacks import ATTACKS, prepare
from hostile import NAMESPACES, ROUNDS, Counts, Hostile

HERE = Path(__file__).parent


class Recorder(Hostile):
    """A tenant that records its requests and does not send them."""

    def __init__(self, folder):
        self.sent = []
        self.namespaces = {name: f"hostile-{name}" for name in NAMESPACES}
        self.over, self.numbers = threading.Event(), count()
        # No attack waits.
        self.over.set()
        self.policy, self.slow = b"\0asm\x0d\0\x01\0", "rounds-1"
        self.scheduler = SimpleNamespace(port=4321, new_tries=lambda: 2)
        self.registry = SimpleNamespace(address="registry:5000", new_tries=lambda: 1)
        self.server = SimpleNamespace(url="http://server", list=self.list, resource=lambda name: SimpleNamespace(path=lambda within: f"/{within}/{name}"))
        listener = socket.create_server(("127.0.0.1", 0))
        (folder / "endless-loop.wasm").write_bytes(self.policy)
        self.target = {"components": folder, "many": 3, "webhook": listener.getsockname()}
        listener.close()

    def list(self, resource, namespace):
        names = [f"{prefix}-x" for prefix in ("registry", "compiler", "component")]
        return [{"metadata": {"name": name}} for name in [*names, *(f"nested-{number}-default" for number in range(attacks.NESTED))]]

    def send(self, method, url, body=None, headers=None):
        self.sent.append((method, url, len(body or b"")))

    def await_pods(self, within, count):
        pass

    def await_policies(self, within, prefix, count):
        pass


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_stay_within_the_size_limit_of_requests(name, tmp_path):
    hostile = Recorder(tmp_path)
    prepare(hostile, [name])
    outcomes = list(islice(ATTACKS[name].act(hostile), 50))
    assert outcomes and set(outcomes) <= {None, "failed"}
    # The API server accepts 3 MiB.
    assert all(size < 3 << 20 for _, _, size in hostile.sent), hostile.sent


def test_shared_preparation_runs_once_and_policies_are_first(tmp_path):
    hostile = Recorder(tmp_path)
    prepare(hostile, list(reversed(ATTACKS)))
    plugins = [url for method, url, _ in hostile.sent if method == "POST" and url.endswith("hostile-policies/daskplugins")]
    assert len(plugins) == attacks.CHAIN + 6 + 1
    first = next(url for method, url, _ in hostile.sent if "daskplugins" in url)
    assert first.endswith("hostile-policies/daskplugins")


def test_slow_policies_use_nearly_the_maximum_duration(tmp_path, monkeypatch):
    hostile = Recorder(tmp_path)
    now = [0.0]
    monkeypatch.setattr(attacks.time, "monotonic", lambda: now[0])

    def send(method, url, body=None, headers=None):
        # Each of the two calls takes a nanosecond per round.
        now[0] += 0.1 + (2e-9 * ROUNDS if f"rounds-{ROUNDS}" in str(body) else 0)

    hostile.send = send
    attacks.slow_policies(hostile)
    rounds = int(hostile.slow.removeprefix("rounds-"))
    assert rounds == pytest.approx(attacks.SLOWNESS * 1e9, rel=0.01)


def test_counts():
    counts = Counts(["a", "b"])
    counts.add("a")
    counts.add("a", "refused")
    counts.add("a", "failed")
    assert counts.found == {"a": {"tries": 3, "refused": 1, "failed": 1}, "b": {"tries": 0, "refused": 0, "failed": 0}}


def test_all_attacks_are_documented():
    page = (HERE.parents[2] / "docs" / "development.md").read_text()
    table = page.split("## A hostile tenant\n")[1].split("```")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert [name for row in rows for name in row.replace("`", "").replace(" ", "").split(",")] == list(ATTACKS)


def test_attacks_can_be_selected():
    spec = importlib.util.spec_from_file_location("hostile_main", HERE / "__main__.py")
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    assert main.parse([]).attacks == list(ATTACKS)
    chosen = main.parse(["--attacks", "drip,heavy-plugins", "--seconds", "5"])
    assert (chosen.attacks, chosen.seconds, chosen.many) == (["heavy-plugins", "drip"], 5, 500)
    assert main.parse(["--attacks", "drip,heavy-plugins", "--large", "0"]).attacks == ["drip"]
    with pytest.raises(ArgumentTypeError, match="unknown attack dripping; known attacks are admission"):
        main.chosen("drip,dripping")
