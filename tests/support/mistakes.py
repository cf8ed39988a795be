"""Manifests that the operator accepts, as dask-kubernetes does, but that are very likely mistakes."""

from support.manifests import changed, cluster, group, job

SCHEDULER = "spec.scheduler.spec.containers.0"
COPIED = {"dask.org/cluster-name": "copied", "dask.org/component": "scheduler"}

#: The manifest to apply and the start of the expected message, by title.
MISTAKES = {
    "a Service for another cluster": (
        changed(cluster("copied-selector", 0), "spec.scheduler.service.selector", COPIED),
        "spec.scheduler.service.selector.dask.org/cluster-name: it selects no scheduler of this cluster: write "
        "`dask.org/cluster-name: copied-selector`"),
    "a job with a Service for another cluster": (
        changed(job("copied-job"), "spec.cluster.spec.scheduler.service.selector", COPIED),
        "spec.cluster.spec.scheduler.service.selector.dask.org/cluster-name: it selects no scheduler of this cluster: write "
        "`dask.org/cluster-name: copied-job`"),
    "a runner that never ends": (
        job("endless", restart="Always"),
        "spec.job.spec.restartPolicy: a runner that is always restarted never ends: write `OnFailure` or `Never`"),
    "a dashboard that is unreachable": (
        changed(cluster("dashboard", 0), "spec.scheduler.service.ports.1.targetPort", "http-dashboard"),
        "spec.scheduler.service.ports[1].targetPort: no container of the scheduler has a port of the name `http-dashboard`"),
    "a worker's probe of a port that does not exist": (
        changed(cluster("probe", 0), "spec.worker.spec.containers.0.livenessProbe", {"tcpSocket": {"port": "worker"}}),
        "spec.worker.spec.containers[0].livenessProbe.tcpSocket.port: the container has no port of the name `worker`"),
    "a scheduler that listens elsewhere": (
        changed(cluster("elsewhere", 0), f"{SCHEDULER}.args", ["dask-scheduler", "--port", "9999"]),
        "spec.scheduler.spec.containers[0].args: the scheduler listens at port 9999, and the Service leads to 8786"),
    "a dashboard at another port": (
        changed(cluster("other-dashboard", 0), f"{SCHEDULER}.args", ["dask-scheduler", "--dashboard-address", ":9000"]),
        "spec.scheduler.spec.containers[0].args: the scheduler's dashboard listens at port 9000, and the Service leads to 8787"),
    "a protocol that Dask does not know": (
        changed(cluster("protocol", 0), f"{SCHEDULER}.args", ["dask-scheduler", "--protocol", "https"]),
        "spec.scheduler.spec.containers[0].args: `https` is no protocol of Dask"),
    "the address of an old Service": (
        changed(group("old-address", "old", 0), "spec.worker.spec.containers.0.args",
                ["dask-worker", "tcp://old-service.default.svc.cluster.local:8786", "--name", "$(DASK_WORKER_NAME)"]),
        "spec.worker.spec.containers[0].args[1]: `tcp://old-service.default.svc.cluster.local:8786` leads to no Service of this cluster"),
    "a name that no shell expands": (
        changed(cluster("shell-name", 0), "spec.worker.spec.containers.0.args", ["dask-worker", "--name", "$DASK_WORKER_NAME"]),
        "spec.worker.spec.containers[0].args[2]: all workers would register as `$DASK_WORKER_NAME`, and only one of that name can join"),
    "an option and its value in one argument": (
        changed(cluster("one-word", 0), f"{SCHEDULER}.args", ["dask-scheduler", "--port 8786"]),
        "spec.scheduler.spec.containers[0].args[1]: no shell takes this apart, so that it is one word for Dask: write each word as an "
        "element of its own, [\"--port\", \"8786\"]"),
    "workers that use the DNS servers of their node": (
        changed(cluster("node-dns", 0), "spec.worker.spec.hostNetwork", True),
        "spec.worker.spec.dnsPolicy: with `hostNetwork` workers ask the DNS servers of their node, which do not know the scheduler's "
        "Service: write `dnsPolicy: ClusterFirstWithHostNet`"),
    "the scheduler of another namespace": (
        changed(group("other-namespace", "old", 0), "spec.worker.spec.containers.0.args",
                ["dask-worker", "tcp://old-scheduler.elsewhere:8786", "--name", "$(DASK_WORKER_NAME)"]),
        "spec.worker.spec.containers[0].args[1]: `tcp://old-scheduler.elsewhere:8786` leads to the namespace `elsewhere`, and the cluster "
        "is in "),
    "an image name that can't be parsed": (
        changed(cluster("image", 0), "spec.worker.spec.containers.0.image", "https://ghcr.io/dask/dask:1"),
        "spec.worker.spec.containers[0].image: `https://ghcr.io/dask/dask:1` can't be read as the name of an image: leave out `https://`"),
    "a variable that is defined too late": (
        changed(cluster("late", 0), "spec.worker.spec.containers.0.env", [{"name": "SCRATCH", "value": "/scratch/$(DASK_WORKER_NAME)"}]),
        "spec.worker.spec.containers[0].env[0].value: `$(DASK_WORKER_NAME)` stays as it is, because the operator adds this variable at the "
        "end of the list"),
    "a file mode written as a decimal number": (
        changed(cluster("mode", 0), "spec.worker.spec.volumes", [{"name": "v", "secret": {"secretName": "s", "defaultMode": 400}}]),
        "spec.worker.spec.volumes[0].secret.defaultMode: 400 is a decimal number, and so the mode 0620: if 0400 is meant"),
}
