"""Review of manifests: short ones work, and invalid ones are refused with a message that names the fix."""

import pytest
from support.dask import workers
from support.hook import warnings
from support.kubectl import Refused
from support.manifests import API, autoscaler, changed, cluster, group, job, ten_lines
from support.mistakes import MISTAKES
from support.waiting import until

W = "spec.worker.spec.containers.0"
S = "spec.scheduler.spec"


def cluster_with(path, value):
    """Cluster with the given value at a path."""
    return changed(cluster("c"), path, value)


#: Invalid manifests, each with the message of its refusal.
INVALID = {
    "negative number of workers": (
        cluster_with("spec.worker.replicas", -1),
        "spec.worker.replicas: -1 can't be used: write a whole number of 0 or more, as `replicas: 2`"),
    "number of workers in words": (
        cluster_with("spec.worker.replicas", "two"),
        'spec.worker.replicas: "two" can\'t be used: write a whole number of 0 or more, as `replicas: 2`'),
    "name too long (#870)": (
        cluster("x" * 54),
        "metadata.name: the name of a DaskCluster can have 53 characters at most, because `-scheduler` is appended to it, "
        f"and `{'x' * 54}` has 54: choose a shorter one"),
    "name with a dot": (
        cluster("my.cluster"),
        "metadata.name: the name of a DaskCluster consists of lower case letters, digits and `-`, and begins and ends with a "
        "letter or digit: `my.cluster` does not, write one like `my-cluster-1`"),
    "containers by name": (
        cluster_with("spec.worker.spec.containers", "worker"),
        "spec.worker.spec.containers: it must be a list of containers, and text stands there"),
    "arguments in one line": (
        cluster_with(f"{W}.args", "dask worker --name $(DASK_WORKER_NAME)"),
        "spec.worker.spec.containers[0].args: `args` must be a list, and text stands there: write it as `[\"dask\", \"worker\", "
        "\"--name\", \"$(DASK_WORKER_NAME)\"]`"),
    "an argument that is a number": (
        cluster_with(f"{W}.args", ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", 4]),
        'spec.worker.spec.containers[0].args[5]: it must be text, and YAML takes it for the number 4: put it into quotes, as '
        "you have written it"),
    "environment as in a shell": (
        cluster_with(f"{W}.env", "EXTRA_PIP_PACKAGES=s3fs"),
        "spec.worker.spec.containers[0].env: `env` must be a list, and text stands there: write it as `[{name: A, value: b}]`"),
    "an environment variable that is a number": (
        cluster_with(f"{W}.env", [{"name": "OMP_NUM_THREADS", "value": 1}]),
        'spec.worker.spec.containers[0].env[0].value: it must be text, and YAML takes it for the number 1: put it into quotes, as '
        "you have written it"),
    "memory in GB": (
        cluster_with(f"{W}.resources", {"limits": {"memory": "4GB"}}),
        "spec.worker.spec.containers[0].resources.limits.memory: `4GB` is no quantity of Kubernetes: write `4G`, or `4Gi` for "
        "powers of two"),
    "a request above its limit": (
        cluster_with(f"{W}.resources", {"requests": {"memory": "8Gi"}, "limits": {"memory": "4Gi"}}),
        "spec.worker.spec.containers[0].resources.requests.memory: it asks for 8Gi and may use 4Gi: raise the limit or lower the "
        "request"),
    "a missing volume": (
        cluster_with(f"{W}.volumeMounts", [{"name": "data", "mountPath": "/data"}]),
        "spec.worker.spec.containers[0].volumeMounts[0].name: there is no volume `data`: add it to `spec.worker.spec.volumes`"),
    "a probe of a missing port": (
        cluster_with(f"{S}.containers.0.readinessProbe", {"httpGet": {"path": "/health", "port": "http-dashboard"}}),
        "spec.scheduler.spec.containers[0].readinessProbe.httpGet.port: the container has no port of the name `http-dashboard`, so "
        "that it would never be ready: write its number, or name it in `ports`"),
    "a word with the wrong case": (
        cluster_with(f"{S}.containers.0.imagePullPolicy", "always"),
        "spec.scheduler.spec.containers[0].imagePullPolicy: `always` can't be used: write `Always`, `IfNotPresent` or `Never`"),
    "a port above 65535": (
        cluster_with(f"{W}.ports", [{"name": "http-dashboard", "containerPort": 88788}]),
        "spec.worker.spec.containers[0].ports[0].containerPort: 88788 can't be used: write a port from 1 to 65535"),
    "two containers of one name": (
        cluster_with("spec.worker.spec.containers", [{"name": "worker", "image": "i:1"}, {"name": "worker", "image": "i:1"}]),
        "spec.worker.spec.containers[1].name: there is another container `worker`: give each its own name"),
    "a Service without Dask's port": (
        cluster_with("spec.scheduler.service.ports", [{"name": "dashboard", "port": 8787}]),
        "spec.scheduler.service.ports: workers would not find the scheduler, because no port is named as the scheduler's: name the "
        "port of Dask's protocol `tcp-comm`"),
    "a port of a probe in quotes": (
        cluster_with(f"{S}.containers.0.readinessProbe", {"httpGet": {"path": "/health", "port": "8787"}}),
        'spec.scheduler.spec.containers[0].readinessProbe.httpGet.port: "8787" is text, and so the name of a port: write 8787 without '
        "quotes"),
    "a port of a Service in quotes": (
        cluster_with("spec.scheduler.service.ports.0.targetPort", "8786"),
        'spec.scheduler.service.ports[0].targetPort: "8786" is text, and so the name of a port: write 8786 without quotes'),
    "annotations of a Service in its spec": (
        cluster_with("spec.scheduler.service.annotations", {"example.com/internal": "true"}),
        "spec.scheduler.service.annotations: a Service has no such field in its spec, and would not be created with it: labels and "
        "annotations for the Service stand in `metadata`, because the cluster's are passed on to it"),
    "a misspelt field of a Service": (
        cluster_with("spec.scheduler.service.sessionAffinty", "ClientIP"),
        "spec.scheduler.service.sessionAffinty: a Service has no such field in its spec, and would not be created with it: did you "
        "mean `sessionAffinity`?"),
    "a label that is a number": (
        cluster_with("spec.worker.metadata", {"labels": {"cost-centre": 4711}}),
        'spec.worker.metadata.labels.cost-centre: it must be text, and YAML takes it for the number 4711: put it into quotes, as '
        "you have written it"),
    "a boolean in quotes": (
        cluster_with("spec.worker.spec.hostNetwork", "true"),
        'spec.worker.spec.hostNetwork: "true" can\'t be used: write `true` or `false`, without quotes'),
    "a number of a pod field in quotes": (
        cluster_with("spec.worker.spec.terminationGracePeriodSeconds", "60"),
        'spec.worker.spec.terminationGracePeriodSeconds: "60" is text, and must be a number: write 60 without quotes'),
    "a node's label that is a number": (
        cluster_with("spec.worker.spec.nodeSelector", {"zone": 1}),
        'spec.worker.spec.nodeSelector.zone: it must be text: put 1 into quotes, as "1"'),
    "a Secret by its name alone": (
        cluster_with("spec.worker.spec.imagePullSecrets", ["regcred"]),
        'spec.worker.spec.imagePullSecrets[0]: "regcred" can\'t be used: write an object, as `{name: regcred}`'),
    "a command in one line": (
        cluster_with(f"{W}.lifecycle", {"preStop": {"exec": {"command": "sleep 5"}}}),
        'spec.worker.spec.containers[0].lifecycle.preStop.exec.command: "sleep 5" can\'t be used: write a list, as `["sleep", "5"]`'),
    "a probe without a port": (
        cluster_with(f"{W}.startupProbe", {"httpGet": {"path": "/health"}}),
        "spec.worker.spec.containers[0].startupProbe.httpGet.port: it is missing: write a whole number or text"),
    "a claim under another field's name": (
        cluster_with("spec.worker.spec.volumes", [{"name": "data", "persistentVolumeClaim": {"name": "data"}}]),
        "spec.worker.spec.volumes[0].persistentVolumeClaim.claimName: it is missing: write `claimName` in place of `name`"),
    "a duplicate port": (
        cluster_with(f"{W}.ports", [{"containerPort": 8788}, {"name": "http-dashboard", "containerPort": 8788}]),
        "spec.worker.spec.containers[0].ports[1]: there is another one with `containerPort: 8788` and `protocol: TCP`: take one of them "
        "out"),
    "a Service's own port in quotes": (
        cluster_with("spec.scheduler.service.ports.0.port", "8786"),
        'spec.scheduler.service.ports[0].port: "8786" can\'t be used: write one from 1 to 65535, as `port: 8786`'),
    "the type of a Service under its name in charts": (
        cluster_with("spec.scheduler.service.serviceType", "NodePort"),
        "spec.scheduler.service.serviceType: a Service has no such field in its spec, and would not be created with it: did you mean "
        "`type`?"),
    "a node port outside of the ports": (
        cluster_with("spec.scheduler.service.nodePort", 30080),
        "spec.scheduler.service.nodePort: a Service has no such field in its spec, and would not be created with it: each port has its "
        "own: write it as `spec.scheduler.service.ports[].nodePort`"),
    "an e-mail address as a label": (
        cluster_with("spec.worker.metadata", {"labels": {"owner": "ann@corp.example"}}),
        "spec.worker.metadata.labels.owner: `ann@corp.example` can't be the value of a label, which has letters, digits, `-`, `_` and "
        "`.`, 63 at most: write it as an annotation"),
    "an image as a label": (
        cluster_with("spec.scheduler.metadata", {"labels": {"image": "ghcr.io/dask/dask:2026.8.0"}, "annotations": {"note": "any text & sign /"}}),
        "spec.scheduler.metadata.labels.image: `ghcr.io/dask/dask:2026.8.0` can't be the value of a label, which has letters, digits, "
        "`-`, `_` and `.`, 63 at most: write it as an annotation"),
    "a label whose name has a space": (
        cluster_with("spec.worker.metadata", {"labels": {"cost centre": "12"}}),
        "spec.worker.metadata.labels[cost centre]: `cost centre` is no name for it: write letters, digits, `-`, `_` and `.`, 63 at "
        "most, perhaps with a domain and `/` before it"),
    "time with a unit": (
        cluster_with("spec.idleTimeout", "1h"),
        'spec.idleTimeout: "1h" can\'t be used: write a whole number of seconds, as `idleTimeout: 3600`; 0 turns it off'),
    "a group without a cluster": (
        changed(group("g", "c"), "spec.cluster", ""),
        "spec.cluster: it says which cluster the workers join: write the name of a DaskCluster in this namespace"),
    "a missing image": (
        changed(cluster_with(f"{W}.image", None), f"{S}.containers.0.image", None),
        "spec.worker.spec.containers[0].image: a container needs an image, as `image: ghcr.io/dask/dask:2026.8.0`; "
        "spec.scheduler.spec.containers[0].image: a container needs an image, as `image: ghcr.io/dask/dask:2026.8.0`"),
    "a misspelt image": (
        changed(cluster_with(f"{W}.imagee", "mine:1"), f"{W}.image", None),
        "spec.worker.spec.containers[0].imagee: a container has no field `imagee`, and needs an image: did you mean `image`?"),
    "a misspelt image of a scheduler": (
        changed(cluster_with(f"{S}.containers.0.imgae", "mine:1"), f"{S}.containers.0.image", None),
        "spec.scheduler.spec.containers[0].imgae: a container has no field `imgae`, and needs an image: did you mean `image`?"),
    "a misspelt image of a runner": (
        changed(changed(job("j"), "spec.job.spec.containers.0.Image", "mine:1"), "spec.job.spec.containers.0.image", None),
        "spec.job.spec.containers[0].Image: a container has no field `Image`, and needs an image: did you mean `image`?"),
    "a container beside Dask's without an image": (
        cluster_with("spec.worker.spec.containers", [*cluster("c")["spec"]["worker"]["spec"]["containers"], {"name": "agent"}]),
        "spec.worker.spec.containers[1].image: a container needs an image, as `image: ghcr.io/dask/dask:2026.8.0`"),
    "an octal mode that is written as a decimal number": (
        cluster_with("spec.worker.spec.volumes", [{"name": "v", "configMap": {"name": "hooks", "defaultMode": 755}}]),
        "spec.worker.spec.volumes[0].configMap.defaultMode: 755 can't be a mode, which is 0777 at most, or 511 as a decimal number: "
        "write 0755, or 493, which is the same as a decimal number"),
    "an environment variable that YAML takes for a boolean": (
        cluster_with(f"{W}.env", [{"name": "HDF5_USE_FILE_LOCKING", "value": False}]),
        "spec.worker.spec.containers[0].env[0].value: it must be text, and YAML takes words such as `no`, `off` and `on` for true or "
        "false, here for false: put the one that you mean into quotes"),
    "a job without code": (
        changed(job("j"), "spec.job", None),
        "spec.job: `job` is missing: write it as an object"),
    "minimum above maximum": (
        autoscaler("a", "c", 5, 2),
        "spec.minimum: the minimum of 5 is greater than the maximum of 2: exchange them"),
    "no maximum (#634)": (
        changed(autoscaler("a", "c"), "spec.maximum", None),
        "spec.maximum: it is missing: write how many workers there may be, as `maximum: 10`"),
}


def test_a_manifest_of_ten_lines_is_enough(reviewed):
    """#474: the webhook completes the manifest from the single image."""
    image = "ghcr.io/dask/dask:2026.1.0"
    manifest = ten_lines(image)
    assert len(manifest.strip().splitlines()) == 10
    reviewed("apply", "--filename", "-", stdin=manifest)
    spec = reviewed.get("daskcluster", "ten-lines")["spec"]
    for part in ("worker", "scheduler"):
        assert spec[part]["spec"]["containers"][0]["image"] == image
    assert [port["name"] for port in spec["scheduler"]["service"]["ports"]] == ["tcp-comm", "http-dashboard"]
    assert spec["scheduler"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/health"
    workers(reviewed, "ten-lines-default", 2)
    until(lambda: reviewed.get("daskcluster", "ten-lines")["status"].get("phase") == "Running", "the cluster to run")
    # A second apply of the same manifest changes nothing.
    before = reviewed.get("daskcluster", "ten-lines")["metadata"]["generation"]
    reviewed("apply", "--filename", "-", stdin=manifest)
    assert reviewed.get("daskcluster", "ten-lines")["metadata"]["generation"] == before


def test_a_name_can_be_generated(reviewed):
    manifest = {"apiVersion": API, "kind": "DaskCluster", "metadata": {"generateName": "made-"}, "spec": {}}
    stored = reviewed.create_raw(f"/apis/{API}/namespaces/{reviewed.namespace}/daskclusters", manifest)
    assert stored["metadata"]["name"].startswith("made-")
    until(lambda: reviewed.get("service", stored["metadata"]["name"] + "-scheduler"), "the Service of the cluster")
    service = reviewed.get("service", stored["metadata"]["name"] + "-scheduler")
    assert service["spec"]["selector"]["dask.org/cluster-name"] == stored["metadata"]["name"]


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_manifest_is_refused_with_its_message(reviewed, case):
    manifest, message = INVALID[case]
    with pytest.raises(Refused) as refused:
        reviewed.apply(manifest)
    assert str(refused.value).partition(" denied the request: ")[2] == message


def test_all_errors_are_reported_at_once(reviewed):
    """A template that quotes all values has several errors. They are reported in the order of the fields."""
    quoted = cluster_with("spec.scheduler.service.ports.0.targetPort", "8786")
    quoted = changed(quoted, "spec.scheduler.service.ports.1.targetPort", "8787")
    for probe in ("readinessProbe", "livenessProbe"):
        quoted = changed(quoted, f"{S}.containers.0.{probe}", {"httpGet": {"path": "/health", "port": "8787"}})
    quoted = changed(quoted, "spec.worker.metadata", {"labels": {"branch": "fix/tiles", "owner": "ann@corp.example"}})
    with pytest.raises(Refused) as refused:
        reviewed.apply(quoted)
    messages = str(refused.value).partition(" denied the request: ")[2].split("; ")
    assert [message.split(": ")[0] for message in messages] == [
        "spec.worker.metadata.labels.branch", "spec.worker.metadata.labels.owner",
        "spec.scheduler.spec.containers[0].readinessProbe.httpGet.port", "spec.scheduler.spec.containers[0].livenessProbe.httpGet.port",
        "spec.scheduler.service.ports[0].targetPort", "spec.scheduler.service.ports[1].targetPort"]
    assert reviewed.list("daskclusters") == []


def test_fractional_quantities_are_accepted_as_in_pods(reviewed):
    """Programs write such numbers. The CRD accepts only integers and strings, so the webhook converts them. `500m` equals `0.5`."""
    worker = {"requests": {"cpu": 0.25, "memory": 1e9, "ephemeral-storage": "500M"}, "limits": {"cpu": 1, "memory": 1073741824}}
    scheduler = {"requests": {"cpu": "500m", "memory": "0.25Gi"}, "limits": {"cpu": 0.5, "memory": "1.5Gi"}}
    made = changed(changed(cluster("fractions"), f"{W}.resources", worker), f"{S}.containers.0.resources", scheduler)
    stored = reviewed.create_raw(f"/apis/{API}/namespaces/{reviewed.namespace}/daskclusters", made)["spec"]
    resources = stored["worker"]["spec"]["containers"][0]["resources"]
    # 1e9 may have been converted to an integer in transit.
    assert str(resources["requests"].pop("memory")) == "1000000000"
    assert resources == {"requests": {"cpu": "0.25", "ephemeral-storage": "500M"}, "limits": worker["limits"]}
    assert stored["scheduler"]["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "0.5", "memory": "1.5Gi"}
    pod = reviewed.get("pod", workers(reviewed, "fractions-default", 1)[0])
    assert pod["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "250m", "memory": "1G", "ephemeral-storage": "500M"}, "limits": {"cpu": "1", "memory": "1073741824"}}


@pytest.mark.parametrize("path, value, field", [
    ("spec.wroker", {}, "spec.wroker"),
    (f"{W}.env", {"EXTRA_PIP_PACKAGES": "s3fs"}, "spec.worker.spec.containers[0].env.EXTRA_PIP_PACKAGES"),
])
def test_unknown_fields_are_named_by_the_api_server(reviewed, path, value, field):
    """The API server checks field names before it calls the webhook."""
    with pytest.raises(Refused) as refused:
        reviewed.apply(cluster_with(path, value))
    assert f'unknown field "{field}"' in str(refused.value)


def test_an_unwise_manifest_causes_warnings_once(reviewed):
    unwise = changed(cluster("c"), f"{W}.args", ["dask", "worker"])
    unwise = changed(unwise, f"{S}.containers.0.readinessProbe", None)
    unwise = changed(unwise, f"{W}.resource", {"limits": {"memory": "1Gi"}})
    unwise = changed(unwise, f"{W}.imagePullSecrets", [{"name": "key"}])
    found = warnings(reviewed, unwise)
    for beginning in (
            "spec.worker.spec.containers[0].imagePullSecrets: Kubernetes has no such field and drops it; did you mean "
            "`spec.worker.spec.imagePullSecrets`?",
            "spec.worker.spec.containers[0].args: the worker does not register under its pod's name",
            "spec.scheduler.spec.containers[0].readinessProbe: without a readiness probe",
            "spec.worker.spec.containers[0].image: `ghcr.io/dask/dask:latest` can be another image tomorrow",
            "spec.worker.spec.containers[0].resource: Kubernetes has no such field and drops it; did you mean `resources`?"):
        assert any(warning.startswith(beginning) for warning in found), (beginning, found)
    # Later changes do not repeat the same warnings.
    assert warnings(reviewed, changed(unwise, "spec.worker.replicas", 2)) == []


def test_a_manifest_of_the_first_documentation_works_with_warnings(reviewed):
    """The manifest has fields at wrong levels, former names of ports, and the address of a Service that no longer exists."""
    early = changed(cluster("early", 1), f"{W}.args", ["dask-worker", "tcp://early-service.default.svc.cluster.local:8786"])
    early = changed(early, "spec.worker.spec.restart_policy", "Never")
    early = changed(early, f"{S}.containers.0.ports", [{"name": "comm", "containerPort": 8786}, {"name": "dashboard", "containerPort": 8787}])
    for probe in ("readinessProbe", "livenessProbe"):
        early = changed(early, f"{S}.containers.0.{probe}", {"tcpSocket": {"port": "comm", "initialDelaySeconds": 5}})
    early = changed(early, "spec.scheduler.service", {
        "type": "NodePort", "selector": cluster("early")["spec"]["scheduler"]["service"]["selector"],
        "ports": [{"name": "comm", "port": 8786, "targetPort": "comm"}, {"name": "dashboard", "port": 8787, "targetPort": "dashboard"}]})
    found = warnings(reviewed, early)
    for beginning in (
            "spec.worker.spec.restart_policy: Kubernetes has no such field and drops it; did you mean `restartPolicy`?",
            "spec.scheduler.spec.containers[0].readinessProbe.tcpSocket.initialDelaySeconds: Kubernetes has no such field and drops it; "
            "did you mean `spec.scheduler.spec.containers[0].readinessProbe.initialDelaySeconds`?",
            "spec.scheduler.spec.containers[0].livenessProbe.tcpSocket.initialDelaySeconds: Kubernetes has no such field and drops it; "
            "did you mean `spec.scheduler.spec.containers[0].livenessProbe.initialDelaySeconds`?",
            "spec.scheduler.service.ports: Python's KubeCluster finds the scheduler by the name of the port",
            "spec.scheduler.service.ports[1].name: Python's KubeCluster finds the dashboard by the name of the port",
            "spec.worker.spec.containers[0].args[1]: `tcp://early-service.default.svc.cluster.local:8786` leads to no Service of this "
            "cluster",
            "spec.worker.spec.containers[0].args: the worker does not register under its pod's name"):
        assert any(warning.startswith(beginning) for warning in found), (beginning, found)
    pod = reviewed.get("pod", workers(reviewed, "early-default", 1)[0])
    assert pod["spec"]["containers"][0]["args"] == early["spec"]["worker"]["spec"]["containers"][0]["args"]


def test_a_worker_name_in_a_shell_command_is_recognised(reviewed):
    """A worker that a shell starts with its pod's name causes no warning about its name. Pull secrets of a container do cause one."""
    shell = changed(cluster("shell", 0), f"{W}.command", ["/bin/sh", "-c"])
    shell = changed(shell, f"{W}.args", ["cd /work && exec dask-worker --name $(DASK_WORKER_NAME) --nthreads 2"])
    shell = changed(shell, f"{S}.containers.0.imagePullSecrets", [{"name": "registry"}])
    found = warnings(reviewed, shell)
    assert any("did you mean `spec.scheduler.spec.imagePullSecrets`?" in warning for warning in found), found
    assert not any("register" in warning for warning in found), found


def test_errors_from_a_dry_run_name_the_field_of_the_dask_resource(reviewed):
    """The webhook tries children with a dry run, and maps the fields in the errors to the Dask resource."""
    for part in ("worker", "scheduler"):
        manifest = cluster_with(f"spec.{part}.spec.hostAliases", [{"ip": "no address", "hostnames": ["a"]}])
        with pytest.raises(Refused) as refused:
            reviewed.apply(manifest)
        assert f'spec.{part}.spec.hostAliases[0].ip: Invalid value: "no address"' in str(refused.value)
    with pytest.raises(Refused) as refused:
        reviewed.apply(cluster_with("spec.scheduler.service.externalTrafficPolicy", "Local"))
    assert "spec.scheduler.service.externalTrafficPolicy: " in str(refused.value)
    # An update that changes no questionable field causes no warning.
    reviewed.apply(cluster("c", 0))
    assert warnings(reviewed, changed(cluster("c", 0), "spec.worker.replicas", 1)) == []


def test_a_violation_of_pod_security_causes_a_warning(reviewed):
    """The cluster is not refused, because the Pod Security level or the quota of the namespace may change."""
    reviewed("label", "namespace", reviewed.namespace, "pod-security.kubernetes.io/enforce=restricted")
    try:
        found = warnings(reviewed, cluster("c", 0))
        for part in ("worker", "scheduler"):
            beginning = f"spec.{part}.spec: the API server would refuse the Pod now: "
            assert any(warning.startswith(beginning) and "violates PodSecurity" in warning for warning in found), found
    finally:
        reviewed("label", "namespace", reviewed.namespace, "pod-security.kubernetes.io/enforce-")


def test_a_denial_by_an_admission_policy_causes_a_warning(reviewed, admin):
    """The cluster is not refused, because the admission policy may change. Labels of the resource count, because its pods get them."""
    name = reviewed.namespace
    api = "admissionregistration.k8s.io/v1"
    only_here = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    policy = {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
        "matchConstraints": {"namespaceSelector": only_here, "resourceRules": [pods]},
        "validations": [{"expression": "has(object.metadata.labels) && 'team' in object.metadata.labels", "message": "no team"}]}}
    binding = {"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
               "spec": {"policyName": name, "validationActions": ["Deny"]}}
    admin.apply(policy, binding)
    try:
        def denied(**metadata):
            found = [warning for warning in warnings(reviewed, cluster("c", 0, **metadata)) if "no team" in warning]
            reviewed("delete", "dsk", "c")
            return {warning.split(": ")[0] for warning in found}
        assert until(denied, "the policy to be active", 60) == {"spec.worker.spec", "spec.scheduler.spec"}
        assert denied(labels={"team": "a"}) == set()
    finally:
        admin("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


def test_a_node_port_in_use_causes_a_warning(reviewed):
    """The cluster is not refused, because the port may be free when the Service is created. The operator waits for it."""
    ports = changed(cluster("first", 0), "spec.scheduler.service.type", "NodePort")
    reviewed.apply(ports)
    number = until(lambda: reviewed.get("service", "first-scheduler"), "the Service")["spec"]["ports"][0]["nodePort"]
    second = changed(changed(cluster("second", 0), "spec.scheduler.service.type", "NodePort"), "spec.scheduler.service.ports.0.nodePort",
                     number)
    found = [warning for warning in warnings(reviewed, second) if "already allocated" in warning]
    assert len(found) == 1, found
    assert found[0].startswith("spec.scheduler.service.ports[0].nodePort: the API server would refuse the Service now: "), found


def questionable(kubectl, manifest):
    """Condition of an object that reports likely mistakes; None if there is none."""
    conditions = kubectl.get(manifest["kind"], manifest["metadata"]["name"])["status"]["conditions"]
    return next((condition for condition in conditions if condition["type"] == "SpecQuestionable"), None)


@pytest.mark.parametrize("case", MISTAKES)
def test_a_likely_mistake_causes_a_warning_and_a_condition(reviewed, case):
    """The manifest is not refused, because such manifests ran under dask-kubernetes."""
    manifest, message = MISTAKES[case]
    found = warnings(reviewed, manifest)
    assert any(warning.startswith(message) for warning in found), found
    questionable_condition = until(lambda: questionable(reviewed, manifest), "the condition")
    assert questionable_condition["status"] == "True" and message in questionable_condition["message"]


def test_a_second_autoscaler_of_a_group_causes_a_warning(reviewed):
    """dask-kubernetes runs both against each other. Here only the oldest is active."""
    reviewed.apply(autoscaler("first", "shared", 4, 8))
    # A status shows that the operator has observed the autoscaler.
    until(lambda: reviewed.get("daskautoscaler", "first").get("status"), "the status of the first autoscaler")
    message = "spec.cluster: DaskAutoscaler first scales the worker group shared-default too, and of several only the oldest is active"
    second = autoscaler("shared", "shared", 0, 2)
    found = warnings(reviewed, second)
    assert len(found) == 1 and found[0].startswith(message), found
    # An update does not repeat the warning, and an autoscaler of another group causes none.
    assert warnings(reviewed, changed(second, "spec.maximum", 3)) == []
    assert warnings(reviewed, changed(autoscaler("third", "shared"), "spec.workerGroup", "gpu")) == []
    # A deleted autoscaler causes no warning.
    reviewed("delete", "daskautoscaler", "first", "shared")

    def is_not_warned():
        found = warnings(reviewed, autoscaler("fourth", "shared", 0, 2))
        reviewed("delete", "daskautoscaler", "fourth")
        return found == []

    until(is_not_warned, "the operator to observe the deletions")


def test_an_explicit_mutable_image_causes_one_warning(reviewed):
    def image_warnings(manifest):
        return [warning for warning in warnings(reviewed, manifest) if "can be another image tomorrow" in warning]

    both = image_warnings(cluster("both"))
    assert len(both) == 1 and both[0].startswith("spec.worker.spec.containers[0].image: `ghcr.io/dask/dask:latest`"), both
    first = image_warnings(job("all-three"))
    assert len(first) == 1 and first[0].startswith("spec.job.spec.containers[0].image: "), first
    short = {"apiVersion": API, "kind": "DaskCluster", "metadata": {"name": "short"}, "spec": {"worker": {"replicas": 1}}}
    assert image_warnings(short) == []
    scheduler = changed(short, "spec.scheduler", {"spec": {"containers": [{"name": "scheduler", "image": "ghcr.io/dask/dask"}]}})
    by_scheduler = image_warnings(changed(scheduler, "metadata.name", "by-scheduler"))
    assert len(by_scheduler) == 1 and by_scheduler[0].startswith("spec.scheduler.spec.containers[0].image: `ghcr.io/dask/dask`"), by_scheduler
    # An update does not repeat the warning.
    assert image_warnings(changed(cluster("both"), "spec.idleTimeout", 3600)) == []


def test_a_group_cannot_move_to_another_cluster(reviewed):
    reviewed.apply(cluster("c", 0), group("g", "c", 0))
    with pytest.raises(Refused, match=r'workers can\'t move to another cluster: leave it at "c", or make another group'):
        reviewed.patch("daskworkergroup", "g", {"spec": {"cluster": "d"}})


def test_a_manifest_of_kubecluster_is_stored_unchanged(reviewed):
    """The webhook changes nothing in a manifest that is already complete."""
    sent = cluster("c", 1)
    reviewed.apply(sent)
    stored = reviewed.get("daskcluster", "c")["spec"]
    assert stored["scheduler"]["spec"]["containers"][0]["args"] == ["dask-scheduler"]
    assert "ports" not in stored["scheduler"]["spec"]["containers"][0]
    assert stored["worker"]["spec"]["containers"][0]["args"] == sent["spec"]["worker"]["spec"]["containers"][0]["args"]


def test_requests_are_counted(reviewed, hook):
    reviewed.apply(cluster("counted", 0))
    name = "dask_operator_webhook_requests_total"
    assert hook.operator.metric(name, step="mutate", kind="DaskCluster", operation="create", outcome="allowed") >= 1
    assert hook.operator.metric("dask_operator_webhook_request_duration_seconds_count", step="validate") >= 1
