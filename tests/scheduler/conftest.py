"""Fixtures for tests with real schedulers of several releases."""

import pytest
from dask_processes import WITH_API, Dask, python, releases
from support.tls import Authority


@pytest.fixture(scope="session", params=releases())
def release(request):
    """Name of the release that is tested."""
    return request.param


@pytest.fixture(scope="session")
def interpreter(release):
    """Path of the Python in which the release is installed."""
    return python(release)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Authority that signs the certificates of schedulers, workers and clients."""
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture
def dask(interpreter, tmp_path):
    """Scheduler with default settings."""
    with Dask(interpreter, tmp_path) as dask:
        yield dask


@pytest.fixture
def dask_with_api(interpreter, tmp_path):
    """Scheduler with the HTTP API enabled."""
    with Dask(interpreter, tmp_path, **WITH_API) as dask:
        yield dask


@pytest.fixture
def dask_with_tls(interpreter, tmp_path, authority):
    """Scheduler and workers that use TLS only."""
    with Dask(interpreter, tmp_path, authority) as dask:
        yield dask


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the end of each process's log to the report of a failed test."""
    report = yield
    if report.failed and call.when == "call":
        for dask in (value for value in item.funcargs.values() if isinstance(value, Dask)):
            for name in dask.processes:
                report.sections.append((f"log of {name}", dask.log(name)[-2000:]))
    return report
