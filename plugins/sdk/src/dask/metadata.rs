//! Labels and annotations of children: where they come from and which wins.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Which cluster an object belongs to.
pub const CLUSTER_NAME: &str = "dask.org/cluster-name";
/// Which worker group an object belongs to.
pub const WORKERGROUP_NAME: &str = "dask.org/workergroup-name";
/// What an object is: `scheduler`, `worker`, `workergroup` or `job-runner`.
pub const COMPONENT: &str = "dask.org/component";
/// Istio's switch. Dask's workers talk to each other by pod address, which its sidecar breaks.
pub const ISTIO_INJECT: &str = "sidecar.istio.io/inject";
/// Annotation of a default worker group, and of a job's cluster: the number of workers that its owner said and that was
/// passed on last.
pub const CLUSTER_REPLICAS: &str = "kubernetes.dask.org/cluster-replicas";

/// Annotation of a worker that has to leave, and since when (RFC 3339). What it holds is moved to others, then it is
/// deleted; it does not count any more.
pub const RETIRING_SINCE: &str = "kubernetes.dask.org/retiring-since";
/// Annotation of a scheduler or worker: a hash of what it was made from, so that a change is seen.
pub const TEMPLATE_HASH: &str = "kubernetes.dask.org/template-hash";

/// Annotation of a worker group or a cluster: workers that were created before this time (RFC 3339) are replaced.
pub const RESTARTED_AT: &str = "kubernetes.dask.org/restarted-at";

/// Labels and annotations that tools keep for themselves, by how they begin: kopf, kubectl and its apply sets, Helm, Argo CD,
/// Flux, Rancher, kapp, kpt, Pulumi, Skaffold. They say something about the object that they stand on and nothing about its
/// children; a tool that finds its mark on a child takes it for its own, and prunes it.
const MARKS_OF_TOOLS: [&str; 19] = [
    "kopf.zalando.org",
    "kubectl.kubernetes.io",
    "kubernetes.io/change-cause",
    "applyset.kubernetes.io/",
    "helm.sh/",
    "meta.helm.sh/",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "objectset.rio.cattle.io/",
    "field.cattle.io/",
    "fleet.cattle.io/",
    "kapp.k14s.io/",
    "config.kubernetes.io/",
    "config.k8s.io/",
    "cli-utils.sigs.k8s.io/",
    "pulumi.com/",
    "skaffold.dev/",
];

/// Annotations that the API server lets nobody change on a pod, by how they begin.
const UNCHANGEABLE: [&str; 2] = [
    "container.apparmor.security.beta.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
];

/// What is not handed down to children, by how it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Labels.
    pub labels: Vec<String>,
    /// Annotations.
    pub annotations: Vec<String>,
}

impl Default for Ignored {
    fn default() -> Self {
        Self {
            labels: marks_of_tools(),
            annotations: marks_of_tools(),
        }
    }
}

/// Labels and annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Annotations by name.
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// What an object hands down: its labels and annotations without what is ignored (and without the operator's own).
    pub fn of(object: &Value, ignored: &Ignored) -> Self {
        let begins = |name: &String, ignored: &[String]| {
            ignored.iter().any(|prefix| name.starts_with(prefix.as_str()))
        };
        let mut metadata = Self::embedded(object.get("metadata"));
        metadata.labels.retain(|name, _| !begins(name, &ignored.labels));
        metadata
            .annotations
            .retain(|name, _| name != CLUSTER_REPLICAS && !begins(name, &ignored.annotations));
        metadata
    }

    /// These, without what can't be changed on a pod that exists.
    #[must_use]
    pub fn changeable(mut self) -> Self {
        self.annotations
            .retain(|name, _| !UNCHANGEABLE.iter().any(|prefix| name.starts_with(prefix)));
        self
    }

    /// What stands under `metadata` of a part of a spec, such as `spec.worker.metadata`.
    pub fn embedded(metadata: Option<&Value>) -> Self {
        let strings = |field: &str| -> BTreeMap<String, String> {
            let map = metadata
                .and_then(|metadata| metadata.get(field))
                .and_then(Value::as_object);
            let strings = map.into_iter().flatten();
            strings
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect()
        };
        Self {
            labels: strings("labels"),
            annotations: strings("annotations"),
        }
    }

    /// These, and `upper` where both have the same name.
    #[must_use]
    pub fn below(mut self, upper: Self) -> Self {
        self.labels.extend(upper.labels);
        self.annotations.extend(upper.annotations);
        self
    }

    /// These, and other labels where these have none of that name.
    #[must_use]
    pub fn with_default_labels(mut self, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in labels {
            self.labels.entry(name).or_insert(value);
        }
        self
    }

    /// These, and labels that win over whatever people wrote.
    #[must_use]
    pub fn reserved(mut self, labels: &[(&str, &str)]) -> Self {
        self.labels.extend(
            labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        self
    }

    /// Keeps Istio's sidecar out, unless somebody asked for it.
    #[must_use]
    pub fn without_sidecar(self) -> Self {
        self.with_default_labels([(ISTIO_INJECT.to_owned(), "false".to_owned())])
    }

    /// As `metadata` of an object; annotations only where there are some.
    pub fn to_json(&self) -> Value {
        let mut metadata = Map::from_iter([("labels".to_owned(), json!(self.labels))]);
        if !self.annotations.is_empty() {
            metadata.insert("annotations".to_owned(), json!(self.annotations));
        }
        Value::Object(metadata)
    }
}

/// Whether labels, or annotations, have all that is wanted, with these values.
pub(crate) fn has_all(present: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(name, value)| present.and_then(|present| present.get(name)) == Some(value))
}

/// How labels and annotations begin that tools keep for themselves, for settings.
pub fn marks_of_tools() -> Vec<String> {
    MARKS_OF_TOOLS.map(str::to_owned).to_vec()
}

/// Labels that a worker's pod always has.
pub fn worker_labels<'a>(cluster: &'a str, group: &'a str) -> [(&'a str, &'a str); 3] {
    [
        (CLUSTER_NAME, cluster),
        (COMPONENT, "worker"),
        (WORKERGROUP_NAME, group),
    ]
}

/// Labels that a scheduler's pod and Service always have.
pub fn scheduler_labels(cluster: &str) -> [(&str, &str); 2] {
    [(CLUSTER_NAME, cluster), (COMPONENT, "scheduler")]
}

/// A label selector as text, as `status.selector` holds it: `a=b,c=d`.
pub fn selector(labels: &[(&str, &str)]) -> String {
    labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Value {
        json!({"metadata": {
            "labels": {
                "team": "a", "app.kubernetes.io/instance": "x", COMPONENT: "mine",
                "helm.sh/chart": "x-1.2.3", "applyset.kubernetes.io/part-of": "y",
            },
            "annotations": {
                "note": "n",
                "kopf.zalando.org/last-handled-configuration": "{}",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
                CLUSTER_REPLICAS: "3",
            },
        }})
    }

    #[test]
    fn marks_of_tools_are_not_handed_down() {
        let nothing = Ignored {
            labels: Vec::new(),
            annotations: Vec::new(),
        };
        let all = Metadata::of(&example(), &nothing);
        assert_eq!(
            (all.labels.len(), all.annotations.len()),
            (5, 3),
            "the filter is a setting, the operator's own never goes down"
        );
        let metadata = Metadata::of(&example(), &Ignored::default());
        assert_eq!(metadata.annotations.keys().collect::<Vec<_>>(), ["note"]);
        assert_eq!(
            metadata.labels.keys().collect::<Vec<_>>(),
            ["app.kubernetes.io/instance", COMPONENT, "team"],
            "people select by the others"
        );
    }

    #[test]
    fn order_of_precedence() {
        let worker = Metadata::embedded(Some(
            &json!({"labels": {"team": "b", COMPONENT: "x", ISTIO_INJECT: "true"}}),
        ));
        let merged = Metadata::of(&example(), &Ignored::default())
            .below(worker)
            .without_sidecar()
            .reserved(&[(COMPONENT, "worker")]);
        assert_eq!(merged.labels["team"], "b", "the part wins over the whole");
        assert_eq!(merged.labels[COMPONENT], "worker", "reserved labels win over all");
        assert_eq!(merged.labels[ISTIO_INJECT], "true", "people can have the sidecar");
        assert_eq!(
            Metadata::default().without_sidecar().labels[ISTIO_INJECT],
            "false"
        );
    }

    #[test]
    fn selectors() {
        assert_eq!(
            selector(&scheduler_labels("c")),
            "dask.org/cluster-name=c,dask.org/component=scheduler"
        );
    }
}
