"""Kinds of children that the API server does not serve, or does not let the operator list."""

from support.api_server import Refused
from support.dask import workers
from support.kubectl import Kubectl
from support.manifests import cluster, group, job
from support.waiting import stays, until


def test_a_kind_that_is_not_installed_stops_nothing(kubectl, own):
    with own("--allow-child", "nowhere.example.com/v1/Gadget") as operator:
        kubectl.apply(cluster("c", 2))
        workers(kubectl, "c-default", 2)
        assert "this cluster has no nowhere.example.com/v1 Gadget" in operator.logs()


def test_a_kind_that_may_not_be_listed_holds_only_what_needs_it(kubectl, own):
    """The default logic of clusters and worker groups has to know of Deployments, that of jobs has not."""
    with own() as operator:
        kubectl.apply(cluster("c", 1))
        workers(kubectl, "c-default", 1)
        operator.stop()
        restore = forbid(kubectl, operator, "apps", "deployments")
        operator.start()
        kubectl.apply(job("j"))
        kubectl("scale", "daskworkergroup/c-default", "--replicas=2")
        until(lambda: kubectl.get("daskcluster", "j"), "the cluster of a job")

        def unlisted(kind, name):
            conditions = kubectl.get(kind, name)["status"].get("conditions", [])
            return next((found["message"] for found in conditions if found["type"] == "KindNotListed"), None)

        said = until(lambda: unlisted("daskworkergroup", "c-default"), "the condition KindNotListed")
        assert "the operator may not list deployments of apps/v1" in said and "rbac.extraRules" in said, said
        kubectl.event("c-default", "KindNotListed")
        stays(lambda: len(kubectl.names("pods", "dask.org/workergroup-name=c-default")) == 1, "the only worker")

        restore()
        workers(kubectl, "c-default", 2)
        workers(kubectl, "j-default", 1)
        until(lambda: not unlisted("daskworkergroup", "c-default"), "the condition to be gone")


def test_a_kind_that_every_plan_needs_is_waited_for(kubectl, own):
    operator = own()
    restore = forbid(kubectl, operator, "", "services")
    operator.start(wait=False)
    try:
        kubectl.apply(group("g", "c", 1))
        until(lambda: "the operator may not list and watch services" in operator.logs(), "a sentence")
        stays(lambda: not operator.is_ready(), "an operator that waits", seconds=4)
        restore()
        until(operator.is_ready, "the operator to be ready")
    finally:
        operator.stop()


def forbid(kubectl, operator, api_group, resource):
    """Take the rights to a resource from the operator of the test's namespace. Gives what gives them back."""
    (role,) = [role for role in kubectl.list("roles") if any("daskclusters" in rule["resources"] for rule in role["rules"])]
    name, rules = role["metadata"]["name"], role["rules"]

    def left(rule):
        resources = [name for name in rule["resources"] if (rule["apiGroups"], name) != ([api_group], resource)]
        return {**rule, "resources": resources} if resources else None

    def write(rules, may):
        kubectl.patch("role", name, {"rules": rules})
        # The API server gets to know it a moment later.
        until(lambda: may_list(operator, kubectl.namespace, resource) == may, f"the API server to know the rules about {resource}")

    write([rule for rule in map(left, rules) if rule], may=False)
    return lambda: write(rules, may=True)


def may_list(operator, namespace, resource):
    """Whether the operator may list a resource."""
    try:
        Kubectl(operator.environment, namespace)("auth", "can-i", "list", resource)
        return True
    except Refused:
        return False
