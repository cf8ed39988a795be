"""The processes of a cluster on this machine."""

import contextlib

from . import cgroups, machine, network
from .console import Failure, seconds, step
from .processes import Records, launch, tail, wait_until

KEEPER = "keeper"


class Running:
    """A cluster's processes, as recorded in its folder."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.records = Records(cluster.path("run", "pids"))

    @property
    def keeper(self):
        """The process that keeps the namespaces open, or ``None`` if it is not alive."""
        found = self.records.read(KEEPER)
        return found if found and found.alive else None

    def components(self):
        """Return the recorded components with their processes, without the keeper."""
        return [(name, process) for name, process in self.records.all() if name != KEEPER]

    def alive(self, name):
        """Return whether a component runs."""
        process = self.records.read(name)
        return bool(process and process.alive)

    def ensure(self, *components):
        """Start all components that do not run, then wait until every component is ready."""
        started = [component for component in components if not self.alive(component.name)]
        title = f"start {', '.join(component.name for component in started)}"
        with step(title) if started else contextlib.nullcontext():
            for component in started:
                argv = network.entering(self.keeper, component.argv)
                process = launch(argv, self.cluster.log(component.name), cgroups.join(self.cluster.cgroup), {**machine.clean_environment(), **component.env})
                self.records.write(component.name, process)
            for component in components:
                self._await_ready(component)

    def _await_ready(self, component):
        """Wait until a component is ready. Raises :class:`Failure` with the end of its log if it ends or exceeds its timeout."""
        process = self.records.read(component.name)
        if wait_until(component.ready, component.timeout, process):
            return
        reason = f"is not ready after {seconds(component.timeout)}" if process.alive else "has ended"
        log = self.cluster.log(component.name)
        raise Failure(f"{component.name} {reason}; the end of {log}:\n{tail(log)}")

    def stop(self, name):
        """Kill a component."""
        process = self.records.read(name)
        if process:
            process.kill()
            process.wait(10)
            self.records.forget(name)

    @property
    def size(self):
        """The largest part of the cluster that has started completely: ``""`` (nothing), ``"control-plane"`` or ``"node"``."""
        with contextlib.suppress(FileNotFoundError):
            return self.cluster.path("run", "size").read_text()
        return ""

    @size.setter
    def size(self, size):
        self.cluster.path("run", "size").write_text(size)
