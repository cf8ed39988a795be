"""Tests of features that the page does not cover: other kinds of plugins, registries with authentication, and errors."""

import base64
import json
import subprocess

import pytest
from support.cluster import ROOT
from support.operator import free_address
from support.registry import PASSWORD, USER, Registry

TARGET = ROOT / "target" / "plugins"
EXAMPLES = sorted(file.parent.name for file in (ROOT / "plugins" / "examples").glob("*/tests.yaml"))
DEFAULTS = ["cluster", "worker-group", "job", "autoscaler"]


@pytest.fixture(scope="module")
def plugin(environment, tmp_path_factory):
    """Function that runs `dask-operator plugin …` in a temporary folder and returns the result."""
    folder = tmp_path_factory.mktemp("work")
    # All examples share one compiled standard library for WebAssembly.
    environment = {**environment, "DASK_OPERATOR_PLUGIN_TARGET": str(TARGET)}

    def run(*arguments, stdin="", **more):
        return subprocess.run(["dask-operator", "plugin", *map(str, arguments)], cwd=folder, env={**environment, **more},
                              text=True, input=stdin, capture_output=True, check=False)
    run.folder = folder
    return run


@pytest.fixture(scope="module")
def examples(plugin):
    """Components of the examples by name. The default components that they build upon are built with them, as in `make plugins`."""
    crates = [*(f"plugins/{name}/component" for name in DEFAULTS), *(f"plugins/examples/{name}" for name in EXAMPLES)]
    done = subprocess.run(["target/debug/dask-operator-plugin-build", "--out", TARGET, *crates], cwd=ROOT, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in EXAMPLES:
        done = plugin("build", ROOT / "plugins" / "examples" / name)
        assert done.returncode == 0, done.stderr
    return {name: TARGET / f"{name}.wasm" for name in EXAMPLES}


@pytest.mark.parametrize("kind", ["worker-group", "cluster", "job", "autoscaler"])
def test_a_new_plugin_of_each_kind_builds_and_passes_its_tests(plugin, kind):
    name = f"my-{kind}"
    for arguments in [("new", name, "--kind", kind), ("build", name),
                      ("test", f"{name}/tests.yaml", "--component", TARGET / f"{name}.wasm")]:
        done = plugin(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    description = json.loads(plugin("inspect", TARGET / f"{name}.wasm", "-o", "json").stdout)
    assert description["interfaces"] == [f"dask:operator/{kind}@0.1.0"]
    assert description["imports"] == ["dask:operator/types@0.1.0", "dask:operator/log@0.1.0"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_passes_its_tests(plugin, examples, name):
    done = plugin("test", ROOT / "plugins" / "examples" / name / "tests.yaml", "--component", examples[name])
    assert done.returncode == 0, done.stdout + done.stderr


def test_run_shows_the_changes_of_a_policy(plugin, examples):
    done = plugin("run", examples["spot-workers"], "-f", ROOT / "plugins" / "examples" / "cluster.yaml")
    assert done.returncode == 0, done.stderr
    changes = done.stdout.partition("what the plugin changes:")[2]
    assert "+ spec.tolerations: [" in changes, done.stdout


@pytest.mark.parametrize("arguments, fragment", [
    (("new", "Worker_Limit"), "write lower-case letters, digits and hyphens only"),
    (("build", "nowhere"), "has no Cargo.toml"),
    (("inspect", "nowhere.wasm"), "No such file"),
    (("inspect", "localhost:1/a/b:1", "--insecure"), "can't be reached"),
    (("test", "nowhere.yaml"), "No such file"),
    (("push", "nowhere.wasm", "localhost:1/a/b:1"), "No such file"),
])
def test_an_invalid_argument_is_reported(plugin, arguments, fragment):
    done = plugin(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and fragment in done.stderr, done.stderr


def test_inspect_rejects_a_core_module(plugin):
    (plugin.folder / "core.wasm").write_bytes(b"\0asm\1\0\0\0")
    done = plugin("inspect", "core.wasm")
    assert done.returncode == 1
    assert "The operator would not load it: a WebAssembly core module, not a component" in done.stdout


def test_failed_cases_are_reported(plugin, examples):
    (plugin.folder / "wrong.yaml").write_text(f"""
component: {examples["required-limits"]}
manifest: {ROOT}/plugins/examples/cluster.yaml
cases:
  - {{name: refused, expect: {{verdict: refuse}}}}
  - {{name: nothing}}
""")
    done = plugin("test", "wrong.yaml")
    assert done.returncode == 1
    assert "verdict: expected refuse, it is allowed" in done.stdout
    assert "it expects nothing" in done.stdout and "0 passed, 2 failed" in done.stdout


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """Registry with TLS and a password."""
    with Registry(tmp_path_factory.mktemp("registry"), free_address()) as registry:
        yield registry


def test_a_registry_with_tls_and_a_password(plugin, examples, registry):
    """Covers credentials on the command line and from `docker login`, and the errors for invalid and missing ones."""
    component, image = examples["required-limits"], f"{registry.address}/team/required-limits:1"
    login = ("--username", USER, "--password-stdin")
    trusted = ("--ca-file", registry.ca)
    done = plugin("push", component, image, *trusted, *login, stdin=f"{PASSWORD}\n")
    assert done.returncode == 0 and "image   sha256:" in done.stdout, done.stdout + done.stderr
    for arguments, password, fragment in [
        ((*trusted, *login), "wrong", "check name, password and rights"),
        (trusted, "", "docker login"),
        (login, PASSWORD, "--ca-file"),
        (("--ca-file", registry.other_ca, *login), PASSWORD, "certificate"),
        (("--insecure", *login), PASSWORD, ""),
    ]:
        done = plugin("pull", image, "-o", "refused.wasm", *arguments, stdin=password)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and fragment in done.stderr, (arguments, done.stderr)
        assert not (plugin.folder / "refused.wasm").exists()
    # The configuration file in the form that `docker login` writes.
    docker = plugin.folder / "docker"
    docker.mkdir()
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (docker / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
    logged_in = {"DOCKER_CONFIG": str(docker)}
    done = plugin("pull", image, "-o", "pulled.wasm", *trusted, **logged_in)
    assert done.returncode == 0, done.stderr
    assert (plugin.folder / "pulled.wasm").read_bytes() == component.read_bytes()
    description = plugin("inspect", image, *trusted, "-o", "json", **logged_in)
    assert json.loads(description.stdout)["name"] == "required-limits", description.stderr
