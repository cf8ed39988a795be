"""Kinds of children that the API server does not serve, or that the operator may not list."""

from support.api_server import Refused
from support.dask import workers
from support.kubectl import Kubectl
from support.manifests import cluster, group, job
from support.waiting import stays, until


def test_a_kind_that_is_not_installed_does_not_block_reconciles(kubectl, make_operator):
    with make_operator("--allow-child", "nowhere.example.com/v1/Gadget") as operator:
        kubectl.apply(cluster("c", 2))
        workers(kubectl, "c-default", 2)
        assert "this cluster has no nowhere.example.com/v1 Gadget" in operator.logs()


def test_a_kind_that_may_not_be_listed_blocks_only_resources_that_need_it(kubectl, make_operator):
    """The default logic of clusters and worker groups needs the Deployments; that of jobs does not."""
    with make_operator() as operator:
        kubectl.apply(cluster("c", 1))
        workers(kubectl, "c-default", 1)
        operator.stop()
        restore = forbid(kubectl, operator, "apps", "deployments")
        operator.start()
        kubectl.apply(job("j"))
        kubectl("scale", "daskworkergroup/c-default", "--replicas=2")
        until(lambda: kubectl.get("daskcluster", "j"), "the cluster of a job")

        def kind_not_listed(kind, name):
            conditions = kubectl.get(kind, name)["status"].get("conditions", [])
            return next((found["message"] for found in conditions if found["type"] == "KindNotListed"), None)

        message = until(lambda: kind_not_listed("daskworkergroup", "c-default"), "the condition KindNotListed")
        assert "the operator may not list deployments of apps/v1" in message and "rbac.extraRules" in message, message
        kubectl.event("c-default", "KindNotListed")
        stays(lambda: len(kubectl.names("pods", "dask.org/workergroup-name=c-default")) == 1, "the single worker")

        restore()
        workers(kubectl, "c-default", 2)
        workers(kubectl, "j-default", 1)
        until(lambda: not kind_not_listed("daskworkergroup", "c-default"), "the condition to be removed")


def test_the_operator_waits_for_a_kind_that_every_plan_needs(kubectl, make_operator):
    operator = make_operator()
    restore = forbid(kubectl, operator, "", "services")
    operator.start(wait=False)
    try:
        kubectl.apply(group("g", "c", 1))
        until(lambda: "the operator may not list and watch services" in operator.logs(), "a log line that names the missing right")
        stays(lambda: not operator.is_ready(), "an operator that is not ready", seconds=4)
        restore()
        until(operator.is_ready, "the operator to be ready")
    finally:
        operator.stop()


def forbid(kubectl, operator, api_group, resource):
    """Revokes the permissions to a resource from the operator of the test's namespace. Returns a function that restores them."""
    (role,) = [role for role in kubectl.list("roles") if any("daskclusters" in rule["resources"] for rule in role["rules"])]
    name, rules = role["metadata"]["name"], role["rules"]

    def reduced(rule):
        resources = [name for name in rule["resources"] if (rule["apiGroups"], name) != ([api_group], resource)]
        return {**rule, "resources": resources} if resources else None

    def write(rules, allowed):
        kubectl.patch("role", name, {"rules": rules})
        # The API server applies the new rules a moment later.
        until(lambda: may_list(operator, kubectl.namespace, resource) == allowed,
              f"the API server to apply the rules about {resource}")

    write([rule for rule in map(reduced, rules) if rule], allowed=False)
    return lambda: write(rules, allowed=True)


def may_list(operator, namespace, resource):
    """Returns whether the operator may list a resource."""
    try:
        Kubectl(operator.environment, namespace)("auth", "can-i", "list", resource)
        return True
    except Refused:
        return False
