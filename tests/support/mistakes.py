"""Manifests that run, as they ran under dask-kubernetes, and are very likely not what their authors want."""

from support.manifests import changed, cluster, group, job

SCHEDULER = "spec.scheduler.spec.containers.0"
COPIED = {"dask.org/cluster-name": "copied", "dask.org/component": "scheduler"}

#: What is applied, and how the sentence begins that its author reads.
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
    "a dashboard that nobody reaches": (
        changed(cluster("dashboard", 0), "spec.scheduler.service.ports.1.targetPort", "http-dashboard"),
        "spec.scheduler.service.ports[1].targetPort: no container of the scheduler has a port of the name `http-dashboard`"),
    "a worker's probe of a port that is not there": (
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
    "a mode that somebody read as a decimal number": (
        changed(cluster("mode", 0), "spec.worker.spec.volumes", [{"name": "v", "secret": {"secretName": "s", "defaultMode": 400}}]),
        "spec.worker.spec.volumes[0].secret.defaultMode: 400 is a decimal number, and so the mode 0620: if 0400 is meant"),
}
