//! Baseline of the benchmarks of many clusters or jobs: a client that creates the objects that the operator creates, and writes
//! as many statuses, without computing anything.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::api::{Kind, Namespace};
use crate::operator::{self, Requests};

/// The name that the names of copies replace. No other text in a manifest contains it.
pub(crate) const PLACEHOLDER: &str = "bench-placeholder";

/// A cluster or a job, the objects that the operator creates for it, and the statuses that it writes.
pub(crate) struct Template {
    /// The objects as JSON, owners before the objects that they own, each with the kind of its owner.
    objects: Vec<(Kind, String, Option<Kind>)>,
    statuses: Vec<Statuses>,
}

/// The statuses of the objects of one kind.
struct Statuses {
    kind: Kind,
    /// The last status.
    last: Value,
    /// Number of writes for all copies.
    writes: usize,
}

impl Template {
    /// Creates a template from a manifest with the name [`PLACEHOLDER`]. `requests` are those of an operator that created
    /// clusters or jobs in `namespace`: from there, the template takes the number of status writes, and a last status.
    pub(crate) async fn new(
        binary: &Path,
        manifest: &Value,
        requests: &Requests,
        namespace: &Namespace,
    ) -> Result<Self> {
        let mut objects = vec![(Kind::of(manifest)?, manifest.to_string(), None)];
        for object in operator::render(binary, manifest)? {
            objects.push((Kind::of(&object)?, object.to_string(), Some(owner(&object)?)));
        }
        let mut statuses = Vec::new();
        for kind in [Kind::Job, Kind::Cluster, Kind::WorkerGroup] {
            let writes = requests.successful_writes(&format!("{}/status", kind.plural()));
            if writes > 0 && objects.iter().any(|(of, ..)| *of == kind) {
                let example = namespace.list(kind).await?.pop();
                // The clusters of jobs that have ended no longer exist.
                let last =
                    example.map_or_else(|| json!({"phase": "Running"}), |object| object["status"].clone());
                statuses.push(Statuses { kind, last, writes });
            }
        }
        Ok(Self { objects, statuses })
    }

    /// Creates copy `i` of `count` copies with a name. The requests are sent one after the other.
    pub(crate) async fn create(
        &self,
        namespace: &Namespace,
        name: &str,
        i: usize,
        count: usize,
    ) -> Result<()> {
        let mut created: Vec<(Kind, String, String)> = Vec::new();
        for (kind, text, owner) in &self.objects {
            let mut object: Value = serde_json::from_str(&text.replace(PLACEHOLDER, name))?;
            object["metadata"]["namespace"] = json!(namespace.name());
            if let Some(owner) = owner {
                let (_, name, uid) = created
                    .iter()
                    .find(|(kind, ..)| kind == owner)
                    .with_context(|| format!("no {} comes before the {}", owner.name(), kind.name()))?;
                object["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "kubernetes.dask.org/v1",
                    "kind": owner.name(),
                    "name": name,
                    "uid": uid,
                    "controller": true,
                    "blockOwnerDeletion": true,
                }]);
            }
            let own = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let uid = namespace.create_object(object).await?;
            created.push((*kind, own, uid));
        }
        for Statuses { kind, last, writes } in &self.statuses {
            let Some((_, name, _)) = created.iter().find(|(of, ..)| of == kind) else {
                continue;
            };
            for missing in (0..share(*writes, i, count)).rev() {
                let status = if missing == 0 {
                    last.clone()
                } else {
                    earlier(last, missing)
                };
                namespace.apply_status(*kind, name, &status).await?;
            }
        }
        Ok(())
    }
}

/// Returns the kind of the owner of a rendered object.
fn owner(object: &Value) -> Result<Kind> {
    let component = object["metadata"]["labels"]["dask.org/component"].as_str();
    Ok(match (Kind::of(object)?, component) {
        (Kind::Cluster, _) | (_, Some("job-runner")) => Kind::Job,
        (_, Some("worker")) => Kind::WorkerGroup,
        _ => Kind::Cluster,
    })
}

/// Returns the part that copy `i` of `count` copies has in `total` things. The parts of all copies add up to `total`.
fn share(total: usize, i: usize, count: usize) -> usize {
    total * (i + 1) / count - total * i / count
}

/// Returns a status that differs from the last one, and is about as large.
fn earlier(last: &Value, missing: usize) -> Value {
    let mut status = last.clone();
    status["other"] = json!(missing);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_are_even() {
        let shares: Vec<_> = (0..7).map(|i| share(17, i, 7)).collect();
        assert_eq!(shares.iter().sum::<usize>(), 17);
        assert!(shares.iter().all(|share| [2, 3].contains(share)), "{shares:?}");
    }

    #[test]
    fn owners_are_known() {
        let object = |kind: &str, component: &str| json!({"kind": kind, "metadata": {"labels": {"dask.org/component": component}}});
        let owners = [
            ("DaskCluster", "", Kind::Job),
            ("Pod", "job-runner", Kind::Job),
            ("Pod", "scheduler", Kind::Cluster),
            ("Service", "scheduler", Kind::Cluster),
            ("DaskWorkerGroup", "workergroup", Kind::Cluster),
            ("Pod", "worker", Kind::WorkerGroup),
        ];
        for (kind, component, expected) in owners {
            assert_eq!(owner(&object(kind, component)).expect("an owner"), expected);
        }
        assert!(owner(&object("Secret", "")).is_err());
    }

    #[test]
    fn statuses_differ_until_the_last() {
        let last = json!({"phase": "Running"});
        assert_ne!(earlier(&last, 2), earlier(&last, 1));
        assert_ne!(earlier(&last, 1), last);
    }
}
