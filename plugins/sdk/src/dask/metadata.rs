//! Labels and annotations of children: their sources and their precedence.

use std::collections::BTreeMap;

pub use dask_operator_kubernetes::names::{
    ANNOTATION_CLUSTER_REPLICAS, ANNOTATION_COOLDOWN_UNTIL, ANNOTATION_PREFIX, ANNOTATION_RESTARTED_AT,
    ANNOTATION_RETIRING_SINCE, ANNOTATION_TEMPLATE_HASH, COMPONENT_RUNNER, COMPONENT_SCHEDULER,
    COMPONENT_WORKER, COMPONENT_WORKER_GROUP, LABEL_CLUSTER, LABEL_COMPONENT, LABEL_WORKER_GROUP,
};
use serde_json::{Map, Value, json};

use super::time;
use crate::contract::Timestamp;

/// Label that turns Istio's sidecar injection on or off. Dask's workers connect to each other by pod IP, which does not work
/// through the sidecar.
pub const ISTIO_INJECT: &str = "sidecar.istio.io/inject";

/// Prefixes of labels and annotations that tools use for themselves: kopf, kubectl and its apply sets, Helm, Argo CD, Flux,
/// Rancher, kapp, kpt, Pulumi, Skaffold. They describe the object that they are on and not its children. A tool that finds
/// its own label on a child would treat the child as its own and prune it.
const TOOL_PREFIXES: [&str; 19] = [
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

/// Prefixes of annotations that the API server does not allow to change on a pod.
const IMMUTABLE_ANNOTATIONS: [&str; 2] = [
    "container.apparmor.security.beta.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
];

/// Prefixes of labels and annotations that are not copied to children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Prefixes of labels.
    pub labels: Vec<String>,
    /// Prefixes of annotations.
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

/// Labels and annotations of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Annotations by name.
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// Returns the labels and annotations of an object that its children inherit: all except the ignored ones and the
    /// operator's own annotation.
    pub fn of(object: &Value, ignored: &Ignored) -> Self {
        let has_prefix = |name: &String, ignored: &[String]| {
            ignored.iter().any(|prefix| name.starts_with(prefix.as_str()))
        };
        let mut metadata = Self::embedded(object.get("metadata"));
        metadata
            .labels
            .retain(|name, _| !has_prefix(name, &ignored.labels));
        metadata
            .annotations
            .retain(|name, _| name != ANNOTATION_CLUSTER_REPLICAS && !has_prefix(name, &ignored.annotations));
        metadata
    }

    /// Removes annotations that can't be changed on an existing pod.
    #[must_use]
    pub fn changeable(mut self) -> Self {
        self.annotations.retain(|name, _| {
            !IMMUTABLE_ANNOTATIONS
                .iter()
                .any(|prefix| name.starts_with(prefix))
        });
        self
    }

    /// Reads the `metadata` of a part of a spec, such as `spec.worker.metadata`.
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

    /// Merges `upper` into this metadata. If both have the same name, `upper` takes precedence.
    #[must_use]
    pub fn below(mut self, upper: Self) -> Self {
        self.labels.extend(upper.labels);
        self.annotations.extend(upper.annotations);
        self
    }

    /// Adds labels unless there is one with the same name.
    #[must_use]
    pub fn with_default_labels(mut self, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in labels {
            self.labels.entry(name).or_insert(value);
        }
        self
    }

    /// Adds labels that take precedence over the user's.
    #[must_use]
    pub fn reserved(mut self, labels: &[(&str, &str)]) -> Self {
        self.labels.extend(
            labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        self
    }

    /// Turns off Istio's sidecar injection, unless there is a label that sets it.
    #[must_use]
    pub fn without_sidecar(self) -> Self {
        self.with_default_labels([(ISTIO_INJECT.to_owned(), "false".to_owned())])
    }

    /// Removes the operator's own annotations, which describe a parent and not its pods.
    #[must_use]
    pub fn without_own_annotations(mut self) -> Self {
        self.annotations
            .retain(|name, _| !name.starts_with(ANNOTATION_PREFIX));
        self
    }

    /// Adds the annotations by which outdated pods are recognized: the hash of the template, and the time of the requested
    /// restart that the pod is created for, if any.
    #[must_use]
    pub fn of_template(mut self, hash: &str, restarted_at: Option<Timestamp>) -> Self {
        self.annotations
            .insert(ANNOTATION_TEMPLATE_HASH.to_owned(), hash.to_owned());
        if let Some(time) = restarted_at {
            self.annotations
                .insert(ANNOTATION_RESTARTED_AT.to_owned(), time::format_exactly(time));
        }
        self
    }

    /// Returns the `metadata` of an object. `annotations` is omitted if there are none.
    pub fn to_json(&self) -> Value {
        let mut metadata = Map::from_iter([("labels".to_owned(), json!(self.labels))]);
        if !self.annotations.is_empty() {
            metadata.insert("annotations".to_owned(), json!(self.annotations));
        }
        Value::Object(metadata)
    }
}

/// Returns whether labels or annotations contain all wanted ones with these values.
pub(crate) fn has_all(present: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(name, value)| present.and_then(|present| present.get(name)) == Some(value))
}

/// Returns the default prefixes of [`Ignored`], for settings.
pub fn marks_of_tools() -> Vec<String> {
    TOOL_PREFIXES.map(str::to_owned).to_vec()
}

/// Returns the labels that every worker pod has.
pub fn worker_labels<'a>(cluster: &'a str, group: &'a str) -> [(&'a str, &'a str); 3] {
    [
        (LABEL_CLUSTER, cluster),
        (LABEL_COMPONENT, COMPONENT_WORKER),
        (LABEL_WORKER_GROUP, group),
    ]
}

/// Returns the labels that every scheduler's pod and Service have.
pub fn scheduler_labels(cluster: &str) -> [(&str, &str); 2] {
    [(LABEL_CLUSTER, cluster), (LABEL_COMPONENT, COMPONENT_SCHEDULER)]
}

/// Formats labels as the label selector in `status.selector`: `a=b,c=d`.
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
                "team": "a", "app.kubernetes.io/instance": "x", LABEL_COMPONENT: "mine",
                "helm.sh/chart": "x-1.2.3", "applyset.kubernetes.io/part-of": "y",
            },
            "annotations": {
                "note": "n",
                "kopf.zalando.org/last-handled-configuration": "{}",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
                ANNOTATION_CLUSTER_REPLICAS: "3",
            },
        }})
    }

    #[test]
    fn tools_labels_are_not_inherited() {
        let nothing = Ignored {
            labels: Vec::new(),
            annotations: Vec::new(),
        };
        let all = Metadata::of(&example(), &nothing);
        assert_eq!(
            (all.labels.len(), all.annotations.len()),
            (5, 3),
            "ignored prefixes are a setting; the operator's own annotation is never inherited"
        );
        let metadata = Metadata::of(&example(), &Ignored::default());
        assert_eq!(metadata.annotations.keys().collect::<Vec<_>>(), ["note"]);
        assert_eq!(
            metadata.labels.keys().collect::<Vec<_>>(),
            ["app.kubernetes.io/instance", LABEL_COMPONENT, "team"],
            "selectors of users can refer to the other labels"
        );
    }

    #[test]
    fn later_sources_take_precedence() {
        let worker = Metadata::embedded(Some(
            &json!({"labels": {"team": "b", LABEL_COMPONENT: "x", ISTIO_INJECT: "true"}}),
        ));
        let merged = Metadata::of(&example(), &Ignored::default())
            .below(worker)
            .without_sidecar()
            .reserved(&[(LABEL_COMPONENT, "worker")]);
        assert_eq!(
            merged.labels["team"], "b",
            "the part takes precedence over the object"
        );
        assert_eq!(
            merged.labels[LABEL_COMPONENT], "worker",
            "reserved labels take precedence"
        );
        assert_eq!(
            merged.labels[ISTIO_INJECT], "true",
            "users can enable the sidecar"
        );
        assert_eq!(
            Metadata::default().without_sidecar().labels[ISTIO_INJECT],
            "false"
        );
    }

    #[test]
    fn formats_selectors() {
        assert_eq!(
            selector(&scheduler_labels("c")),
            "dask.org/cluster-name=c,dask.org/component=scheduler"
        );
    }
}
