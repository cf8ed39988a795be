//! Names of children, and the constraints that follow for the names of their parents. Pure.

use std::collections::HashSet;

use dask_operator_kubernetes::names::{DEFAULT_GROUP, RUNNER, SCHEDULER};
use dask_operator_kubernetes::{labels, rfc1123};
use serde_json::Value;

/// Maximum length of a cluster's name: a Service's name can have 63 characters, and the longest suffix is `-scheduler`.
pub const CLUSTER_NAME_MAX: usize = 53;

/// Returns the name of an object, or a placeholder of the same form if the API server is going to generate it from
/// `metadata.generateName`.
pub fn of(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    match (text("name"), text("generateName")) {
        ("", prefix) if !prefix.is_empty() => format!("{prefix}xxxxx"),
        (name, _) => name.to_owned(),
    }
}

/// Returns the name of the scheduler's Pod (or Deployment) and Service.
pub fn scheduler(cluster: &str) -> String {
    format!("{cluster}{SCHEDULER}")
}

/// Returns the name of a cluster's default worker group.
pub fn default_group(cluster: &str) -> String {
    format!("{cluster}{DEFAULT_GROUP}")
}

/// Returns the name of the Pod that runs a job's code.
pub fn runner(job: &str) -> String {
    format!("{job}{RUNNER}")
}

/// Returns the problem with the name of a `DaskCluster` or `DaskJob`, which becomes part of a Service's name. `None` if the
/// name is valid.
pub fn wrong_cluster_name(kind: &str, name: &str) -> Option<String> {
    if name.len() > CLUSTER_NAME_MAX {
        return Some(format!(
            "the name of a {kind} can have {CLUSTER_NAME_MAX} characters at most, because `-scheduler` is appended to \
             it, and `{name}` has {}: choose a shorter one",
            name.len()
        ));
    }
    if rfc1123::is_label(name) {
        return None;
    }
    Some(format!(
        "the name of a {kind} consists of lower case letters, digits and `-`, and begins and ends with a letter or \
         digit: `{name}` does not, write one like `my-cluster-1`"
    ))
}

/// Returns the problem with the name of a `DaskWorkerGroup`, which becomes the prefix of its pods' names and a label value.
/// `None` if the name is valid.
pub fn wrong_group_name(name: &str) -> Option<String> {
    if name.len() > labels::MAX {
        return Some(format!(
            "the name of a DaskWorkerGroup can have {} characters at most, because its pods carry it \
             as a label, and `{name}` has {}: choose a shorter one",
            labels::MAX,
            name.len()
        ));
    }
    // The API server reports an object without a name.
    if name.is_empty() || rfc1123::is_subdomain(name) {
        return None;
    }
    Some(format!(
        "the name of a DaskWorkerGroup consists of lower case letters, digits, `-` and `.`, and begins and ends with a \
         letter or digit: `{name}` does not, write one like `my-cluster-highmem`"
    ))
}

/// Infinite iterator of names for new workers of a group: `<group>-worker-<10 hexadecimal digits>`.
///
/// The k-th name depends only on the seed and on k. Names that exist or were returned before are skipped. A caller that
/// starts again with the same seed and the same workers gets the same names, so a worker whose creation has not been
/// observed yet is not created twice.
#[derive(Debug)]
pub struct WorkerNames<'a> {
    group: &'a str,
    seed: u64,
    taken: HashSet<&'a str>,
    given: HashSet<u64>,
    number: u64,
    /// Number of bits of the hash that are used in a name.
    bits: u32,
}

impl<'a> WorkerNames<'a> {
    /// Creates the iterator. `taken` are the names of the group's present workers, in any state.
    pub fn new(group: &'a str, seed: u64, taken: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            group,
            seed,
            taken: taken.into_iter().collect(),
            given: HashSet::new(),
            number: 0,
            bits: 40,
        }
    }
}

impl Iterator for WorkerNames<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            let hash = mix(self.seed ^ mix(self.number)) >> (u64::BITS - self.bits);
            self.number += 1;
            if !self.given.insert(hash) {
                continue;
            }
            let name = format!("{}-worker-{hash:010x}", self.group);
            if !self.taken.contains(name.as_str()) {
                return Some(name);
            }
        }
    }
}

/// Spreads a number over all 64 bits (the finaliser of splitmix64). This is sufficient, because the names are not secret
/// and duplicates are skipped.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_have_a_placeholder() {
        let name = |metadata: Value| of(&serde_json::json!({"metadata": metadata}));
        assert_eq!(name(serde_json::json!({"name": "a", "generateName": "b-"})), "a");
        assert_eq!(name(serde_json::json!({"generateName": "b-"})), "b-xxxxx");
        assert_eq!(name(Value::Null), "");
    }

    #[test]
    fn checks_cluster_names() {
        for good in ["a", "a-1", "0a", &"x".repeat(53)] {
            assert_eq!(wrong_cluster_name("DaskCluster", good), None);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä"] {
            let message = wrong_cluster_name("DaskCluster", bad).expect(bad);
            assert!(message.contains("lower case"), "{message}");
        }
        let message = wrong_cluster_name("DaskJob", &"x".repeat(54)).expect("too long");
        assert!(
            message.contains("53 characters at most") && message.contains("has 54"),
            "{message}"
        );
    }

    #[test]
    fn returns_no_name_twice() {
        let names = WorkerNames {
            bits: 8,
            ..WorkerNames::new("g", 7, [])
        };
        let names: HashSet<String> = names.take(200).collect();
        assert_eq!(names.len(), 200);
    }

    #[test]
    fn checks_group_names() {
        for good in ["a", "a-1.b", "0", &"x".repeat(63)] {
            assert_eq!(wrong_group_name(good), None);
        }
        for bad in ["High_Mem", "grüppe", "a-", "a..b", ".a", "a b", &"x".repeat(64)] {
            assert!(wrong_group_name(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn worker_names_are_reproducible_and_skip_existing_ones() {
        let first: Vec<String> = WorkerNames::new("g", 7, []).take(1000).collect();
        let again: Vec<String> = WorkerNames::new("g", 7, []).take(1000).collect();
        assert_eq!(first, again);
        assert!(
            first.iter().all(|name| name.len() == "g-worker-".len() + 10),
            "{first:?}"
        );
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 1000);

        let taken = [first[0].as_str(), first[2].as_str()];
        let rest: Vec<String> = WorkerNames::new("g", 7, taken).take(2).collect();
        assert_eq!(rest, [first[1].as_str(), first[3].as_str()]);

        let other: Vec<String> = WorkerNames::new("g", 8, []).take(10).collect();
        assert!(other.iter().all(|name| !first.contains(name)));
    }
}
