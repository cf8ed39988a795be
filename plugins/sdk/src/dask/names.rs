//! Names of children, and what names their parents may have.

use std::collections::HashSet;

use serde_json::Value;

/// What the longest suffix, `-scheduler`, leaves of the 63 characters that a Service's name may have.
pub const CLUSTER_NAME_MAX: usize = 53;

/// What fits into a label's value.
pub const LABEL_VALUE_MAX: usize = 63;

/// The name of an object; one like it, where the API server is going to make it from `metadata.generateName`.
pub fn of(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    match (text("name"), text("generateName")) {
        ("", prefix) if !prefix.is_empty() => format!("{prefix}xxxxx"),
        (name, _) => name.to_owned(),
    }
}

/// The scheduler's Pod (or Deployment) and Service.
pub fn scheduler(cluster: &str) -> String {
    format!("{cluster}-scheduler")
}

/// The worker group that a cluster makes.
pub fn default_group(cluster: &str) -> String {
    format!("{cluster}-default")
}

/// The Pod that runs a job's code.
pub fn runner(job: &str) -> String {
    format!("{job}-runner")
}

/// Why a DaskCluster or DaskJob can't have this name: it becomes part of a Service's name.
pub fn wrong_cluster_name(kind: &str, name: &str) -> Option<String> {
    if name.len() > CLUSTER_NAME_MAX {
        return Some(format!(
            "the name of a {kind} can have {CLUSTER_NAME_MAX} characters at most, because `-scheduler` is appended to \
             it, and `{name}` has {}: choose a shorter one",
            name.len()
        ));
    }
    if is_name(name) {
        return None;
    }
    Some(format!(
        "the name of a {kind} consists of lower case letters, digits and `-`, and begins and ends with a letter or \
         digit: `{name}` does not, write one like `my-cluster-1`"
    ))
}

/// Why a DaskWorkerGroup can't have this name: its pods' names begin with it, and it becomes the value of a label.
pub fn wrong_group_name(name: &str) -> Option<String> {
    if name.len() > LABEL_VALUE_MAX {
        return Some(format!(
            "the name of a DaskWorkerGroup can have {LABEL_VALUE_MAX} characters at most, because its pods carry it \
             as a label, and `{name}` has {}: choose a shorter one",
            name.len()
        ));
    }
    // Of an object without a name, the API server says so.
    if name.is_empty() || name.split('.').all(is_name) {
        return None;
    }
    Some(format!(
        "the name of a DaskWorkerGroup consists of lower case letters, digits, `-` and `.`, and begins and ends with a \
         letter or digit: `{name}` does not, write one like `my-cluster-highmem`"
    ))
}

/// Whether a word consists of lower case letters, digits and `-`, and has none of the latter at its ends.
fn is_name(word: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c != '-' && inner(c));
    edge(word.chars().next()) && edge(word.chars().last()) && word.chars().all(inner)
}

/// Names for new workers of a group, without end: `<group>-worker-<10 hexadecimal digits>`.
///
/// Name number k follows from the seed and k alone, and names that are taken, or have come before, are skipped. So whoever starts
/// again with the same seed and the same workers gets the same names, and a worker whose creation was not seen
/// yet is not created twice.
#[derive(Debug)]
pub struct WorkerNames<'a> {
    group: &'a str,
    seed: u64,
    taken: HashSet<&'a str>,
    given: HashSet<u64>,
    number: u64,
    /// Bits of a name.
    bits: u32,
}

impl<'a> WorkerNames<'a> {
    /// Names for a group whose workers have these names now, in whatever state they are.
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

/// Spreads a number over all 64 bits (the finaliser of splitmix64). Names need no more than that: they are not
/// secret, and one that comes up twice is skipped.
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
    fn generated_names_are_like_names() {
        let name = |metadata: Value| of(&serde_json::json!({"metadata": metadata}));
        assert_eq!(name(serde_json::json!({"name": "a", "generateName": "b-"})), "a");
        assert_eq!(name(serde_json::json!({"generateName": "b-"})), "b-xxxxx");
        assert_eq!(name(Value::Null), "");
    }

    #[test]
    fn cluster_names() {
        for good in ["a", "a-1", "0a", &"x".repeat(53)] {
            assert_eq!(wrong_cluster_name("DaskCluster", good), None);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä"] {
            let sentence = wrong_cluster_name("DaskCluster", bad).expect(bad);
            assert!(sentence.contains("lower case"), "{sentence}");
        }
        let sentence = wrong_cluster_name("DaskJob", &"x".repeat(54)).expect("too long");
        assert!(
            sentence.contains("53 characters at most") && sentence.contains("has 54"),
            "{sentence}"
        );
    }

    #[test]
    fn no_name_is_given_twice() {
        let names = WorkerNames {
            bits: 8,
            ..WorkerNames::new("g", 7, [])
        };
        let names: HashSet<String> = names.take(200).collect();
        assert_eq!(names.len(), 200);
    }

    #[test]
    fn group_names() {
        for good in ["a", "a-1.b", "0", &"x".repeat(63)] {
            assert_eq!(wrong_group_name(good), None);
        }
        for bad in ["High_Mem", "grüppe", "a-", "a..b", ".a", "a b", &"x".repeat(64)] {
            assert!(wrong_group_name(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn worker_names_are_the_same_again_and_skip_what_is_taken() {
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
