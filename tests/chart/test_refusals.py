"""Values that make no sense are refused, with a text that says what is wrong."""

import pytest
from support import chart

MONITOR = {"enabled": True}
CASES = {
    # by the schema
    "misspelt": ({"kopfArg": []}, "additional properties 'kopfArg' not allowed"),
    "misspelt, deeper": ({"metrics": {"worker": {"podMonitor": {"targetLabels": []}}}}, "additional properties 'targetLabels' not allowed"),
    "misspelt for the pod": ({"resources": {"limit": {}}}, "additional properties 'limit' not allowed"),
    "text for a list": ({"kopfArgs": "--all-namespaces"}, "got string, want array"),
    "text for a switch": ({"rbac": {"cluster": "no"}}, "got string, want boolean"),
    "pull policy": ({"image": {"pullPolicy": "always"}}, "value must be one of 'Always', 'IfNotPresent', 'Never'"),
    "kind of component": ({"plugins": {"workergroup": "/x.wasm"}}, "additional properties 'workergroup' not allowed"),
    "relative file": ({"plugins": {"cluster": "x.wasm"}}, "'x.wasm' does not match pattern '^/'"),
    "negative size": ({"workerAllocation": {"size": -1}}, "minimum: got -1, want 0"),
    "namespace": ({"namespaces": ["Team"]}, "does not match pattern"),
    "failure policy": ({"webhook": {"failurePolicy": "fail"}}, "value must be one of 'Fail', 'Ignore'"),
    "too slow an answer": ({"webhook": {"timeoutSeconds": 60}}, "maximum: got 60, want 29"),
    "too short a lease": ({"lease": {"seconds": 1}}, "minimum: got 1, want 3"),
    "twice": ({"namespaces": ["a", "a"]}, "items at 0 and 1 are equal"),
    "misspelt setting": ({"settings": {"worker-group": {"batchsize": 10}}}, "additional properties 'batchsize' not allowed"),
    "setting of a component that has none": ({"settings": {"autoscaler": {"minimum": 1}}}, "additional properties 'minimum' not allowed"),
    "misspelt setting beside another component": (
        {"plugins": {"job": "/x.wasm"}, "settings": {"cluster": {"defaultimage": "a:1"}}}, "additional properties 'defaultimage' not allowed"),
    "wrong value of a setting": ({"settings": {"worker-group": {"batchSize": "ten"}}}, "got string, want"),
    "no such workload": ({"settings": {"cluster": {"workload": "Deployment"}}}, "value must be one of 'pod', 'deployment'"),
    # by the chart
    "unknown argument": ({"kopfArgs": ["--log-prefix"]}, 'kopfArgs: the operator has no argument "--log-prefix". It takes --all-namespaces, '),
    "module": ({"kopfArgs": ["-m", "mine"]}, 'kopfArgs: the operator has no argument "-m".'),
    "pattern": ({"kopfArgs": ["--namespace=team-*"]}, "--namespace=team-* names no namespace. Patterns are not understood"),
    "no value": ({"kopfArgs": ["--namespace"]}, "kopfArgs: --namespace has no value; write --namespace=VALUE."),
    "a value too many": ({"kopfArgs": ["--debug=true"]}, "kopfArgs: --debug takes no value"),
    "number": ({"kopfArgs": ["--priority=high"]}, "--priority=high is no number"),
    "zero": ({"kopfArgs": ["--concurrency=0"]}, "--concurrency=0 is too little; write a number from 1."),
    "log format": ({"kopfArgs": ["--log-format=xml"]}, "--log-format=xml is not known; write plain or json."),
    "all and one": ({"kopfArgs": ["-A", "-n", "a"]}, "--all-namespaces and --namespace exclude each other"),
    "quiet and verbose": ({"kopfArgs": ["-q", "-v"]}, "--quiet excludes --verbose and --debug"),
    "liveness": ({"kopfArgs": ["--liveness=http://0.0.0.0:8080/healthz"]}, "--liveness is the chart's own. The chart serves health at port 8080"),
    "CRDs": ({"kopfArgs": ["--install-crds"]}, "Use the value `crds.install`."),
    "lease": ({"kopfArgs": ["--lease=mine"]}, "The chart always has a lease; leave it out."),
    "webhook": ({"kopfArgs": ["--webhook=0.0.0.0:9443"]}, "Use the value `webhook.enabled`."),
    "strict": ({"kopfArgs": ["--webhook-strict"]}, "Use the value `webhook.strict`."),
    "strict in words": ({"webhook": {"strict": "yes"}}, "got string, want boolean"),
    "plugin": ({"kopfArgs": ["--plugin=cluster=/x.wasm"]}, "Use the value `plugins`."),
    "namespaces twice": ({"kopfArgs": ["-n", "a"], "namespaces": ["b"]}, "Namespaces are named by `namespaces` and by kopfArgs"),
    "namespaces and labels": ({"namespaces": ["a"], "namespaceSelector": {"matchLabels": {"team": "data"}}},
                              "chosen by `namespaceSelector` and named by `namespaces`"),
    "labels without rights": ({"rbac": {"cluster": False}, "namespaceSelector": {"matchLabels": {"team": "data"}}},
                              "takes rights in the whole cluster: set `rbac.cluster` to true"),
    "selector": ({"kopfArgs": ["--namespace-selector={}"]}, "Use the value `namespaceSelector`."),
    "misspelt selector": ({"namespaceSelector": {"labels": {}}}, "additional properties 'labels' not allowed"),
    "monitor without Service": ({"metrics": {"operator": {"enabled": False, "serviceMonitor": MONITOR}}},
                                "needs the Service of metrics.operator.enabled"),
    "policy without API servers": ({"networkPolicy": {"enabled": True}},
                                   "name their addresses in networkPolicy.apiServers, as [10.0.0.10/32]"),
    "policy with a name": ({"networkPolicy": {"apiServers": ["kubernetes.default"]}}, "does not match pattern"),
    "room in words": ({"cache": {"sizeLimit": "much"}}, "does not match pattern"),
    "limits of tenants": ({"kopfArgs": ["--tenant-plugin-limits=memory=1Gi"]}, "Use the value `plugins.tenantLimits`."),
    "limits in words": ({"plugins": {"tenantLimits": {"memory": "much"}}}, "does not match pattern"),
    "misspelt interface": ({"plugins": {"allowTenantInterfaces": ["logic"]}}, "value must be one of 'policy', 'cluster'"),
    "host with a scheme": ({"plugins": {"authHosts": ["https://auth.example.com"]}}, "does not match pattern"),
    "as once documented": ({"metrics": {"worker": {"serviceMonitor": MONITOR}}}, "workers have no Service; use metrics.worker.podMonitor."),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case):
    values, message = CASES[case]
    with pytest.raises(chart.Refused) as refused:
        chart.template(values)
    assert message in str(refused.value)


def test_other_components_have_other_settings():
    """What the chart does not know of a component of one's own is passed on to it."""
    text = chart.template({"plugins": {"worker-group": "/mine.wasm"}, "settings": {"worker-group": {"batchsize": 10}}})
    assert "--setting=worker-group.batchsize=10" in text
