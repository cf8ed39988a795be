//! Settings for the retirement and replacement of workers: `scaleDown`, `drainTimeoutSeconds` and `updateStrategy` of a
//! `spec.worker`.

use serde_json::Value;

use super::fields::{self, update_strategy};
use super::resource::MOST_WORKERS;
use super::time;

/// Default drain timeout, in milliseconds.
const DRAIN_TIMEOUT: i64 = 300_000;

/// The way in which surplus workers are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleDownMode {
    /// Their results are moved to other workers first.
    Drain,
    /// They are removed immediately if the scheduler can't be queried.
    Unsafe,
}

impl ScaleDownMode {
    /// Reads the setting of a `spec.worker`; the default is [`Drain`](Self::Drain).
    pub fn of(worker: &Value) -> Self {
        match worker[fields::worker::SCALE_DOWN].as_str() {
            Some(fields::worker::UNSAFE) => Self::Unsafe,
            _ => Self::Drain,
        }
    }
}

/// Returns the time that a worker has for moving its results to other workers, in milliseconds.
pub fn drain_timeout(worker: &Value) -> i64 {
    time::seconds(&worker[fields::worker::DRAIN_TIMEOUT]).unwrap_or(DRAIN_TIMEOUT)
}

/// The way in which workers with an outdated template are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The operator replaces a few at a time.
    Rolling {
        /// Maximum number of workers that may be missing during the update.
        max_unavailable: usize,
        /// Maximum number of workers beyond the wanted number during the update.
        max_surge: usize,
    },
    /// A worker is replaced when a user deletes it.
    OnDelete,
}

impl Strategy {
    /// Reads the setting of a `spec.worker` with this number of workers. By default one worker may be missing, unless a surge is
    /// allowed. At least one worker can always be replaced.
    pub fn of(worker: &Value, replicas: usize) -> Self {
        let strategy = &worker[fields::worker::UPDATE_STRATEGY];
        if strategy[update_strategy::TYPE] == update_strategy::ON_DELETE {
            return Self::OnDelete;
        }
        let surge = count(&strategy[update_strategy::MAX_SURGE], replicas, Rounding::Up).unwrap_or(0);
        let unavailable = count(
            &strategy[update_strategy::MAX_UNAVAILABLE],
            replicas,
            Rounding::Down,
        );
        let unavailable = unavailable.unwrap_or(usize::from(surge == 0));
        Self::Rolling {
            max_unavailable: if surge == 0 {
                unavailable.max(1)
            } else {
                unavailable
            },
            max_surge: surge,
        }
    }
}

pub(super) enum Rounding {
    Up,
    Down,
}

/// Reads a number of workers, or a percentage of them such as `25%`; at most the maximum of a group. Returns `None` if the
/// value is invalid.
pub(super) fn count(value: &Value, of: usize, rounding: Rounding) -> Option<usize> {
    let count = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => {
            let percent: u64 = text.strip_suffix('%')?.parse().ok()?;
            let hundredths = u64::try_from(of).unwrap_or(u64::MAX).saturating_mul(percent);
            match rounding {
                Rounding::Up => hundredths.div_ceil(100),
                Rounding::Down => hundredths / 100,
            }
        }
        _ => return None,
    };
    Some(usize::try_from(count).unwrap_or(usize::MAX).min(MOST_WORKERS))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_update_strategies() {
        let of =
            |strategy: Value, replicas| match Strategy::of(&json!({"updateStrategy": strategy}), replicas) {
                Strategy::Rolling {
                    max_unavailable,
                    max_surge,
                } => Some((max_unavailable, max_surge)),
                Strategy::OnDelete => None,
            };
        for (strategy, replicas, expected) in [
            (json!(null), 10, Some((1, 0))),
            (json!({"type": "OnDelete"}), 10, None),
            (json!({"type": "RollingUpdate"}), 0, Some((1, 0))),
            (json!({"maxUnavailable": 3}), 10, Some((3, 0))),
            (json!({"maxUnavailable": "25%"}), 10, Some((2, 0))),
            (json!({"maxUnavailable": "25%"}), 3, Some((1, 0))),
            (json!({"maxUnavailable": 0}), 3, Some((1, 0))),
            (json!({"maxSurge": "25%"}), 10, Some((0, 3))),
            (json!({"maxSurge": 2, "maxUnavailable": 1}), 10, Some((1, 2))),
            (json!({"maxSurge": 0, "maxUnavailable": "0%"}), 10, Some((1, 0))),
            (json!({"maxSurge": u64::MAX}), 10, Some((0, 20_000))),
            (json!({"maxUnavailable": "99999999999%"}), 10, Some((20_000, 0))),
        ] {
            assert_eq!(
                of(strategy.clone(), replicas),
                expected,
                "{strategy} of {replicas}"
            );
        }
    }

    #[test]
    fn reads_scale_down_and_drain_timeout() {
        assert_eq!(ScaleDownMode::of(&json!({})), ScaleDownMode::Drain);
        assert_eq!(
            ScaleDownMode::of(&json!({"scaleDown": "unsafe"})),
            ScaleDownMode::Unsafe
        );
        assert_eq!(drain_timeout(&json!({})), 300_000);
        assert_eq!(drain_timeout(&json!({"drainTimeoutSeconds": 0})), 0);
        let longest = drain_timeout(&json!({"drainTimeoutSeconds": i64::MAX}));
        assert_eq!(longest, 315_360_000_000);
    }
}
