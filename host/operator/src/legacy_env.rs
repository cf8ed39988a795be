//! Settings of the previous operator, read from environment variables in Dask's notation for configuration.

use std::time::Duration;

use dask_operator_components::load::Setting;
use dask_operator_runtime::Interface;
use thiserror::Error;

use crate::client::events::Level;

const BATCH_SIZE: &str = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__BATCH_SIZE";
const DELAY: &str = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__DELAY";
const EVENTS_ENABLED: &str = "DASK_KUBERNETES__CONTROLLER__EVENTS__ENABLED";
const EVENTS_LEVEL: &str = "DASK_KUBERNETES__CONTROLLER__EVENTS__LEVEL";

/// Creation of workers in batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// Number of workers of a group that are created at once. `None` for all.
    pub(crate) batch: Option<u32>,
    /// Seconds between two batches.
    pub(crate) delay: u32,
}

/// Settings from the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Creation of workers in batches.
    pub(crate) allocation: Allocation,
    /// Level of the events that are published.
    pub(crate) events: Level,
}

/// An environment variable with an invalid value.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{name} is {value:?}: {message}")]
pub(crate) struct SettingError {
    name: &'static str,
    value: String,
    message: &'static str,
}

impl Settings {
    /// Reads the environment through `variable`.
    ///
    /// # Errors
    ///
    /// Returns an error if a variable has an invalid value.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let read = |name: &'static str| {
            let value = variable(name).map(|value| value.trim().to_owned());
            value.filter(|value| !value.is_empty() && !matches!(value.as_str(), "null" | "None" | "none"))
        };
        let invalid = |name, value, message| SettingError { name, value, message };
        let batch = match read(BATCH_SIZE) {
            None => None,
            Some(value) => match value.parse::<u32>() {
                // 0 means no limit, as with the previous operator.
                Ok(number) => Some(number).filter(|number| *number > 0),
                Err(_) => {
                    return Err(invalid(
                        BATCH_SIZE,
                        value,
                        "write how many workers are created at once",
                    ));
                }
            },
        };
        let delay = match read(DELAY) {
            None => 0,
            Some(value) => match value.parse::<f64>().ok().map(Duration::try_from_secs_f64) {
                Some(Ok(delay)) => whole_seconds(delay),
                _ => return Err(invalid(DELAY, value, "write a number of seconds")),
            },
        };
        let enabled = match read(EVENTS_ENABLED) {
            None => true,
            Some(value) => match value.to_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => true,
                "false" | "0" | "no" | "off" => false,
                _ => return Err(invalid(EVENTS_ENABLED, value, "write true or false")),
            },
        };
        let level = match read(EVENTS_LEVEL) {
            None => Level::All,
            // Python's names and numbers of log levels.
            Some(value) => match (value.to_uppercase().as_str(), value.parse::<u32>()) {
                ("NOTSET" | "DEBUG" | "INFO", _) | (_, Ok(0..=20)) => Level::All,
                ("WARN" | "WARNING" | "ERROR", _) | (_, Ok(21..=40)) => Level::Warnings,
                ("CRITICAL" | "FATAL", _) | (_, Ok(_)) => Level::None,
                _ => {
                    return Err(invalid(
                        EVENTS_LEVEL,
                        value,
                        "write INFO, WARNING, ERROR or a number",
                    ));
                }
            },
        };
        let events = if enabled { level } else { Level::None };
        Ok(Self {
            allocation: Allocation { batch, delay },
            events,
        })
    }
}

impl Settings {
    /// Returns the settings of the components that implement them.
    #[must_use]
    pub(crate) fn of_components(&self) -> Vec<Setting> {
        let Allocation { batch, delay } = self.allocation;
        let target = Interface::WorkerGroup.name();
        let batches_of = |batch: u32| {
            [("batchSize", batch), ("delay", delay)]
                .map(|(key, value)| Setting::new(target, key, value.into()))
                .to_vec()
        };
        batch.map(batches_of).unwrap_or_default()
    }
}

/// Rounds a duration up to whole seconds.
fn whole_seconds(time: Duration) -> u32 {
    let part = u64::from(time.subsec_nanos() > 0);
    u32::try_from(time.as_secs().saturating_add(part)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(name: &str, value: &str) -> Result<Settings, SettingError> {
        Settings::read(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn defaults_without_variables() {
        let settings = Settings {
            allocation: Allocation::default(),
            events: Level::All,
        };
        assert_eq!(Settings::read(|_| None), Ok(settings));
    }

    #[rstest]
    #[case("10", Some(10))]
    #[case("0", None)]
    #[case("null", None)]
    #[case("", None)]
    fn parses_the_batch_size(#[case] value: &str, #[case] batch: Option<u32>) {
        assert_eq!(
            read(BATCH_SIZE, value).map(|settings| settings.allocation.batch),
            Ok(batch)
        );
    }

    #[rstest]
    #[case(&[(BATCH_SIZE, "10"), (DELAY, "0.5")], &[("batchSize", 10), ("delay", 1)])]
    #[case(&[(BATCH_SIZE, "10")], &[("batchSize", 10), ("delay", 0)])]
    #[case(&[(DELAY, "30")], &[])]
    fn the_worker_group_component_receives_the_batch_settings(
        #[case] set: &[(&str, &str)],
        #[case] expected: &[(&str, u32)],
    ) {
        let read = |asked: &str| {
            let found = set.iter().find(|(name, _)| *name == asked);
            found.map(|(_, value)| (*value).to_owned())
        };
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, value)| Setting::new("worker-group", key, (*value).into()))
            .collect();
        assert_eq!(
            Settings::read(read).map(|settings| settings.of_components()),
            Ok(expected)
        );
    }

    #[rstest]
    #[case(EVENTS_ENABLED, "false", Level::None)]
    #[case(EVENTS_LEVEL, "warning", Level::Warnings)]
    #[case(EVENTS_LEVEL, "10", Level::All)]
    #[case(EVENTS_LEVEL, "50", Level::None)]
    fn events(#[case] name: &str, #[case] value: &str, #[case] level: Level) {
        assert_eq!(read(name, value).map(|settings| settings.events), Ok(level));
    }

    #[rstest]
    #[case(BATCH_SIZE, "many")]
    #[case(DELAY, "-1")]
    #[case(EVENTS_ENABLED, "maybe")]
    #[case(EVENTS_LEVEL, "loud")]
    fn invalid_values_are_refused(#[case] name: &str, #[case] value: &str) {
        assert!(read(name, value).is_err_and(|error| error.to_string().starts_with(name)));
    }
}
