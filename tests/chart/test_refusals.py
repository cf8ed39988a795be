"""Refusal of invalid chart values, with a message that names the error."""

import pytest
from support import chart

MONITOR = {"enabled": True}
CASES = {
    # refused by the schema
    "misspelt": ({"kopfArg": []}, "additional properties 'kopfArg' not allowed"),
    "misspelt, nested": ({"metrics": {"worker": {"podMonitor": {"targetLabels": []}}}}, "additional properties 'targetLabels' not allowed"),
    "misspelt resources of the pod": ({"resources": {"limit": {}}}, "additional properties 'limit' not allowed"),
    "text for a list": ({"kopfArgs": "--all-namespaces"}, "got string, want array"),
    "text for a switch": ({"rbac": {"cluster": "no"}}, "got string, want boolean"),
    "lower-case pull policy": ({"image": {"pullPolicy": "always"}}, "value must be one of 'Always', 'IfNotPresent', 'Never'"),
    "misspelt kind of component": ({"plugins": {"workergroup": "/x.wasm"}}, "additional properties 'workergroup' not allowed"),
    "relative path of a component": ({"plugins": {"cluster": "x.wasm"}}, "'x.wasm' does not match pattern '^/'"),
    "negative batch size": ({"workerAllocation": {"size": -1}}, "minimum: got -1, want 0"),
    "upper-case namespace": ({"namespaces": ["Team"]}, "does not match pattern"),
    "lower-case failure policy": ({"webhook": {"failurePolicy": "fail"}}, "value must be one of 'Fail', 'Ignore'"),
    "webhook timeout too long": ({"webhook": {"timeoutSeconds": 60}}, "maximum: got 60, want 29"),
    "lease too short": ({"lease": {"seconds": 1}}, "minimum: got 1, want 3"),
    "duplicate namespace": ({"namespaces": ["a", "a"]}, "items at 0 and 1 are equal"),
    "misspelt setting": ({"settings": {"worker-group": {"batchsize": 10}}}, "additional properties 'batchsize' not allowed"),
    "setting of a component that has none": ({"settings": {"autoscaler": {"minimum": 1}}}, "additional properties 'minimum' not allowed"),
    "misspelt setting beside another component": (
        {"plugins": {"job": "/x.wasm"}, "settings": {"cluster": {"defaultimage": "a:1"}}}, "additional properties 'defaultimage' not allowed"),
    "text for a number in a setting": ({"settings": {"worker-group": {"batchSize": "ten"}}}, "got string, want"),
    "unknown workload": ({"settings": {"cluster": {"workload": "Deployment"}}}, "value must be one of 'pod', 'deployment'"),
    # refused by the chart's templates
    "unknown argument": ({"kopfArgs": ["--log-prefix"]}, 'kopfArgs: the operator has no argument "--log-prefix". It takes --all-namespaces, '),
    "Python module": ({"kopfArgs": ["-m", "mine"]}, 'kopfArgs: the operator has no argument "-m".'),
    "namespace pattern": ({"kopfArgs": ["--namespace=team-*"]}, "--namespace=team-* names no namespace. Patterns are not understood"),
    "missing value of an argument": ({"kopfArgs": ["--namespace"]}, "kopfArgs: --namespace has no value; write --namespace=VALUE."),
    "value for a switch": ({"kopfArgs": ["--debug=true"]}, "kopfArgs: --debug takes no value"),
    "text for a number": ({"kopfArgs": ["--priority=high"]}, "--priority=high is no number"),
    "zero concurrency": ({"kopfArgs": ["--concurrency=0"]}, "--concurrency=0 is too little; write a number from 1."),
    "unknown log format": ({"kopfArgs": ["--log-format=xml"]}, "--log-format=xml is not known; write plain or json."),
    "all namespaces and one": ({"kopfArgs": ["-A", "-n", "a"]}, "--all-namespaces and --namespace exclude each other"),
    "quiet and verbose": ({"kopfArgs": ["-q", "-v"]}, "--quiet excludes --verbose and --debug"),
    "liveness argument": ({"kopfArgs": ["--liveness=http://0.0.0.0:8080/healthz"]},
                          "--liveness is the chart's own. The chart serves health at port 8080"),
    "CRD argument": ({"kopfArgs": ["--install-crds"]}, "Use the value `crds.install`."),
    "lease argument": ({"kopfArgs": ["--lease=mine"]}, "The chart always has a lease; leave it out."),
    "webhook argument": ({"kopfArgs": ["--webhook=0.0.0.0:9443"]}, "Use the value `webhook.enabled`."),
    "strict argument": ({"kopfArgs": ["--webhook-strict"]}, "Use the value `webhook.strict`."),
    "text for strict": ({"webhook": {"strict": "yes"}}, "got string, want boolean"),
    "plugin argument": ({"kopfArgs": ["--plugin=cluster=/x.wasm"]}, "Use the value `plugins`."),
    "namespaces twice": ({"kopfArgs": ["-n", "a"], "namespaces": ["b"]}, "Namespaces are named by `namespaces` and by kopfArgs"),
    "namespaces and labels": ({"namespaces": ["a"], "namespaceSelector": {"matchLabels": {"team": "data"}}},
                              "chosen by `namespaceSelector` and named by `namespaces`"),
    "labels without rights": ({"rbac": {"cluster": False}, "namespaceSelector": {"matchLabels": {"team": "data"}}},
                              "takes rights in the whole cluster: set `rbac.cluster` to true"),
    "namespace selector argument": ({"kopfArgs": ["--namespace-selector={}"]}, "Use the value `namespaceSelector`."),
    "misspelt namespace selector": ({"namespaceSelector": {"labels": {}}}, "additional properties 'labels' not allowed"),
    "monitor without Service": ({"metrics": {"operator": {"enabled": False, "serviceMonitor": MONITOR}}},
                                "needs the Service of metrics.operator.enabled"),
    "network policy without API servers": ({"networkPolicy": {"enabled": True}},
                                   "name their addresses in networkPolicy.apiServers, as [10.0.0.10/32]"),
    "network policy with a host name": ({"networkPolicy": {"apiServers": ["kubernetes.default"]}}, "does not match pattern"),
    "cache size in words": ({"cache": {"sizeLimit": "much"}}, "does not match pattern"),
    "tenant limits argument": ({"kopfArgs": ["--tenant-plugin-limits=memory=1Gi"]}, "Use the value `plugins.tenantLimits`."),
    "tenant limits in words": ({"plugins": {"tenantLimits": {"memory": "much"}}}, "does not match pattern"),
    "misspelt interface": ({"plugins": {"allowTenantInterfaces": ["logic"]}}, "value must be one of 'policy', 'cluster'"),
    "authentication host with a scheme": ({"plugins": {"authHosts": ["https://auth.example.com"]}}, "does not match pattern"),
    "formerly documented value": ({"metrics": {"worker": {"serviceMonitor": MONITOR}}}, "workers have no Service; use metrics.worker.podMonitor."),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_values_are_refused_with_a_reason(case):
    values, message = CASES[case]
    with pytest.raises(chart.Refused) as refused:
        chart.template(values)
    assert message in str(refused.value)


def test_settings_of_a_custom_component_are_passed_on_unchecked():
    """The chart does not know the settings of a custom component, so it passes them on unchecked."""
    text = chart.template({"plugins": {"worker-group": "/mine.wasm"}, "settings": {"worker-group": {"batchsize": 10}}})
    assert "--setting=worker-group.batchsize=10" in text
