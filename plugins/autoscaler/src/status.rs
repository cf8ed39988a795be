//! The status of a `DaskAutoscaler`: what people read, and what the next decision has to know.

use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::serde::{self, Deserialize, Serialize};

use crate::decision::{Memory, Past, Seconds};

/// The status without its conditions.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(crate = "self::serde", default, rename_all = "camelCase")]
pub(crate) struct Status {
    /// The generation that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
    /// Which worker group it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker_group: Option<String>,
    /// How many workers the group was asked to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current_replicas: Option<u32>,
    /// How many it shall have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) desired_replicas: Option<u32>,
    /// When it was last scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_scale_time: Option<String>,
    /// What the next decision has to know.
    #[serde(skip_serializing_if = "History::is_empty")]
    history: History,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(crate = "self::serde", default, rename_all = "camelCase")]
struct History {
    /// How many workers were last wanted, within minimum and maximum.
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted_replicas: Option<u32>,
    /// Greater numbers that were wanted before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    higher: Vec<Entry>,
    /// Smaller numbers that were wanted before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lower: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_scale_up_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_scale_down_time: Option<String>,
    /// When more workers were last asked for, by whomever.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_growth_time: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(crate = "self::serde", rename_all = "camelCase")]
struct Entry {
    replicas: u32,
    /// When so many were last wanted.
    until: String,
}

impl History {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Status {
    /// The status that was written last, as far as it can be read.
    pub(crate) fn of(parent: &Resource<'_>) -> Self {
        Self::deserialize(parent.status).unwrap_or_default()
    }

    /// What the last decision about this group remembered; nothing where there was none.
    pub(crate) fn memory(&self, group: &str) -> Memory {
        if self.worker_group.as_deref() != Some(group) {
            return Memory::default();
        }
        let history = &self.history;
        Memory {
            replicas: self.desired_replicas,
            wanted: history.wanted_replicas,
            higher: past(&history.higher),
            lower: past(&history.lower),
            scaled_up: seconds(history.last_scale_up_time.as_deref()),
            scaled_down: seconds(history.last_scale_down_time.as_deref()),
            grown: seconds(history.last_growth_time.as_deref()),
        }
    }

    /// A status that holds what is to be remembered.
    pub(crate) fn remembering(memory: &Memory, group: &str, current: u32) -> Self {
        Self {
            observed_generation: None,
            worker_group: Some(group.to_owned()),
            current_replicas: Some(current),
            desired_replicas: memory.replicas,
            last_scale_time: memory.scaled_up.max(memory.scaled_down).map(text),
            history: History {
                wanted_replicas: memory.wanted,
                higher: entries(&memory.higher),
                lower: entries(&memory.lower),
                last_scale_up_time: memory.scaled_up.map(text),
                last_scale_down_time: memory.scaled_down.map(text),
                last_growth_time: memory.grown.map(text),
            },
        }
    }

    /// As the plan returns it.
    pub(crate) fn write(mut self, parent: &Resource<'_>) -> String {
        self.observed_generation = parent.generation();
        json!(self).to_string()
    }
}

/// A time as people and the API server read it.
pub(crate) fn text(seconds: Seconds) -> String {
    time::format(seconds.saturating_mul(1000))
}

fn seconds(text: Option<&str>) -> Option<Seconds> {
    time::parse(text?).map(|milliseconds| milliseconds / 1000)
}

fn past(entries: &[Entry]) -> Vec<Past> {
    let past = entries.iter().filter_map(|entry| {
        Some(Past {
            replicas: entry.replicas,
            until: seconds(Some(&entry.until))?,
        })
    });
    past.collect()
}

fn entries(past: &[Past]) -> Vec<Entry> {
    let entry = |past: &Past| Entry {
        replicas: past.replicas,
        until: text(past.until),
    };
    past.iter().map(entry).collect()
}

/// What is remembered, after it was written and read.
#[cfg(test)]
pub(crate) fn reread(memory: &Memory, current: u32) -> Memory {
    let object = json!({});
    let text = Status::remembering(memory, "g", current).write(&Resource::of(&object));
    let status: Value = dask_operator_plugin::serde_json::from_str(&text).expect("JSON");
    Status::of(&Resource::of(&json!({"status": status}))).memory("g")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let at = |replicas, until| Past { replicas, until };
        Memory {
            replicas: Some(7),
            wanted: Some(5),
            higher: vec![at(9, 1_767_225_600), at(7, 1_767_225_605)],
            lower: vec![at(3, 1_767_225_607)],
            scaled_up: Some(1_767_225_500),
            scaled_down: Some(1_767_225_601),
            grown: Some(1_767_225_500),
        }
    }

    #[test]
    fn nothing_is_forgotten() {
        assert_eq!(reread(&memory(), 7), memory());
        let at_first = Memory {
            replicas: Some(7),
            ..Memory::default()
        };
        assert_eq!(reread(&at_first, 7), at_first);
    }

    #[test]
    fn another_group_has_another_history() {
        assert_eq!(
            Status::remembering(&memory(), "g", 7).memory("h"),
            Memory::default()
        );
    }

    #[test]
    fn a_status_that_somebody_spoilt_is_none() {
        for status in [
            json!(null),
            json!(3),
            json!({"history": "x"}),
            json!({"desiredReplicas": -1}),
        ] {
            let object = json!({"status": status});
            assert_eq!(Status::of(&Resource::of(&object)), Status::default());
        }
    }
}
