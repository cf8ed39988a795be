//! The status of a `DaskAutoscaler`, for users and for the next decision.

use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::serde::{self, Deserialize, Serialize};

use crate::decision::{DecisionState, Past, Seconds};

/// The status without its conditions.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(crate = "self::serde", default, rename_all = "camelCase")]
pub(crate) struct Status {
    /// The generation of the spec that the status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
    /// The name of the worker group that the status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker_group: Option<String>,
    /// Number of workers in the spec of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current_replicas: Option<u32>,
    /// Desired number of workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) desired_replicas: Option<u32>,
    /// Time of the last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_scale_time: Option<String>,
    /// History for the next decision.
    #[serde(skip_serializing_if = "History::is_empty")]
    history: History,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(crate = "self::serde", default, rename_all = "camelCase")]
struct History {
    /// The last wanted number of workers, within minimum and maximum.
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
    /// Time of the last increase of the number of workers, by the autoscaler or a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_growth_time: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(crate = "self::serde", rename_all = "camelCase")]
struct Entry {
    replicas: u32,
    /// Time at which the number was last wanted.
    until: String,
}

impl History {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Status {
    /// Reads the previous status. Unreadable contents give the default.
    pub(crate) fn of(parent: &Resource<'_>) -> Self {
        Self::deserialize(parent.status).unwrap_or_default()
    }

    /// Returns the state after the last decision about this group. Empty if there was none.
    pub(crate) fn state(&self, group: &str) -> DecisionState {
        if self.worker_group.as_deref() != Some(group) {
            return DecisionState::default();
        }
        let history = &self.history;
        DecisionState {
            replicas: self.desired_replicas,
            wanted: history.wanted_replicas,
            higher: past(&history.higher),
            lower: past(&history.lower),
            last_scale_up: seconds(history.last_scale_up_time.as_deref()),
            last_scale_down: seconds(history.last_scale_down_time.as_deref()),
            last_growth: seconds(history.last_growth_time.as_deref()),
        }
    }

    /// Returns a status that contains the state of a decision.
    pub(crate) fn with_state(state: &DecisionState, group: &str, current: u32) -> Self {
        Self {
            observed_generation: None,
            worker_group: Some(group.to_owned()),
            current_replicas: Some(current),
            desired_replicas: state.replicas,
            last_scale_time: state.last_scale_up.max(state.last_scale_down).map(text),
            history: History {
                wanted_replicas: state.wanted,
                higher: entries(&state.higher),
                lower: entries(&state.lower),
                last_scale_up_time: state.last_scale_up.map(text),
                last_scale_down_time: state.last_scale_down.map(text),
                last_growth_time: state.last_growth.map(text),
            },
        }
    }

    /// Sets the generation and returns the status as JSON text for a plan.
    pub(crate) fn write(mut self, parent: &Resource<'_>) -> String {
        self.observed_generation = parent.generation();
        json!(self).to_string()
    }
}

/// Formats a time for users and for the API server.
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

/// Returns the state after it was written to a status and read again.
#[cfg(test)]
pub(crate) fn reread(state: &DecisionState, current: u32) -> DecisionState {
    let object = json!({});
    let text = Status::with_state(state, "g", current).write(&Resource::of(&object));
    let status: Value = dask_operator_plugin::serde_json::from_str(&text).expect("JSON");
    Status::of(&Resource::of(&json!({"status": status}))).state("g")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> DecisionState {
        let at = |replicas, until| Past { replicas, until };
        DecisionState {
            replicas: Some(7),
            wanted: Some(5),
            higher: vec![at(9, 1_767_225_600), at(7, 1_767_225_605)],
            lower: vec![at(3, 1_767_225_607)],
            last_scale_up: Some(1_767_225_500),
            last_scale_down: Some(1_767_225_601),
            last_growth: Some(1_767_225_500),
        }
    }

    #[test]
    fn reads_the_written_state() {
        assert_eq!(reread(&state(), 7), state());
        let at_first = DecisionState {
            replicas: Some(7),
            ..DecisionState::default()
        };
        assert_eq!(reread(&at_first, 7), at_first);
    }

    #[test]
    fn does_not_use_the_state_of_another_group() {
        assert_eq!(
            Status::with_state(&state(), "g", 7).state("h"),
            DecisionState::default()
        );
    }

    #[test]
    fn an_unreadable_status_is_empty() {
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
