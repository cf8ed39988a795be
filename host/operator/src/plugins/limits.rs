//! Limits of a plugin's calls.

use std::time::Duration;

use dask_operator_api::PluginLimits;
use dask_operator_core::quantity::Quantity;
use dask_operator_runtime::CallLimits;

use crate::plugins::error::{LoadFailure, LoadReason};

/// Parses a number of bytes, such as `64Mi`; `None` if it is invalid or zero.
pub(super) fn bytes(text: &str) -> Option<usize> {
    let bytes = text.parse::<Quantity>().ok()?.whole();
    usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

/// Returns the limits of a call: those that the resource requests, and never more than `most`.
pub(super) fn limits(wanted: Option<&PluginLimits>, most: &CallLimits) -> Result<CallLimits, LoadFailure> {
    let Some(wanted) = wanted else {
        return Ok(*most);
    };
    let size = |field: &str, text: Option<&String>, most: usize| match text {
        None => Ok(most),
        Some(text) => bytes(text).map(|bytes| bytes.min(most)).ok_or_else(|| {
            LoadFailure::new(
                LoadReason::InvalidLimit,
                format!("spec.limits.{field}: {text:?} is no amount of bytes: write it as 64Mi"),
            )
        }),
    };
    let time = wanted.milliseconds.and_then(|time| u64::try_from(time).ok());
    Ok(CallLimits {
        memory: size("memory", wanted.memory.as_ref(), most.memory)?,
        output: size("output", wanted.output.as_ref(), most.output)?,
        deadline: time.map_or(most.deadline, |time| {
            Duration::from_millis(time).min(most.deadline)
        }),
        ..*most
    })
}

/// Returns the fields that exceed the operator's limits, each with a message.
pub(super) fn beyond(wanted: Option<&PluginLimits>, most: &CallLimits) -> Vec<(String, String)> {
    let Some(wanted) = wanted else {
        return Vec::new();
    };
    let size = |text: &Option<String>, most: usize| {
        let bytes = text.as_deref()?.parse::<Quantity>().ok()?.whole();
        let is_within = usize::try_from(bytes).is_ok_and(|bytes| bytes <= most);
        (!is_within).then(|| format!("{}Mi", most >> 20))
    };
    let milliseconds = most.deadline.as_millis();
    let time = wanted.milliseconds.and_then(|time| u128::try_from(time).ok());
    let time = time.filter(|time| *time > milliseconds);
    [
        ("memory", size(&wanted.memory, most.memory)),
        ("milliseconds", time.map(|_| milliseconds.to_string())),
        ("output", size(&wanted.output, most.output)),
    ]
    .into_iter()
    .filter_map(|(field, most)| {
        let message = format!(
            "it is more than the operator allows, which is {}: that counts",
            most?
        );
        Some((format!("spec.limits.{field}"), message))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_limits_beyond_the_maximum() {
        let limits = |memory: &str, milliseconds| PluginLimits {
            memory: Some(memory.to_owned()),
            milliseconds: Some(milliseconds),
            output: None,
        };
        let beyond = |wanted: Option<&PluginLimits>| beyond(wanted, &CallLimits::default());
        assert!(beyond(None).is_empty());
        assert!(beyond(Some(&limits("256Mi", 5000))).is_empty());
        let said = beyond(Some(&limits("1Gi", 10_000)));
        let fields: Vec<_> = said.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["spec.limits.memory", "spec.limits.milliseconds"]);
        assert_eq!(
            said[1].1,
            "it is more than the operator allows, which is 5000: that counts"
        );
    }

    fn wanted(memory: Option<&str>, milliseconds: Option<i64>) -> Result<CallLimits, LoadFailure> {
        let wanted = PluginLimits {
            memory: memory.map(str::to_owned),
            milliseconds,
            output: None,
        };
        limits(Some(&wanted), &CallLimits::default())
    }

    #[test]
    fn limits_never_exceed_the_maximum() -> Result<(), LoadFailure> {
        let usual = CallLimits::default();
        assert_eq!(wanted(None, None)?, usual);
        assert_eq!(wanted(Some("64Mi"), Some(100))?.memory, 64 << 20);
        assert_eq!(
            wanted(Some("64Mi"), Some(100))?.deadline,
            Duration::from_millis(100)
        );
        assert_eq!(wanted(Some("64Gi"), Some(60_000))?, usual);
        for invalid in ["much", "-1", "0"] {
            assert_eq!(
                wanted(Some(invalid), None).map_err(|error| error.reason),
                Err(LoadReason::InvalidLimit)
            );
        }
        Ok(())
    }
}
