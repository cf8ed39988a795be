//! Checks of the settings for the retirement and replacement of workers.

use serde_json::Value;

use super::{Checks, join};
use crate::dask::fields::{update_strategy, worker};
use crate::dask::resource::MOST_WORKERS;
use crate::dask::update::{Rounding, count};

/// Checks these settings of the `spec.worker` at `path`.
pub(super) fn check(checks: &mut Checks, worker: &Value, path: &str) {
    one_of(
        checks,
        &worker[worker::SCALE_DOWN],
        &join(path, worker::SCALE_DOWN),
        [worker::DRAIN, worker::UNSAFE],
    );
    checks.duration(
        worker,
        worker::DRAIN_TIMEOUT,
        path,
        "seconds, as `drainTimeoutSeconds: 300`",
        "write how long a worker may take at most, as `drainTimeoutSeconds: 86400`",
    );
    let strategy = &worker[worker::UPDATE_STRATEGY];
    let field = join(path, worker::UPDATE_STRATEGY);
    if !strategy.is_null() && !strategy.is_object() {
        return checks.error(
            field,
            "it must be an object, as `updateStrategy: {type: OnDelete}`",
        );
    }
    one_of(
        checks,
        &strategy[update_strategy::TYPE],
        &join(&field, update_strategy::TYPE),
        [update_strategy::ROLLING_UPDATE, update_strategy::ON_DELETE],
    );
    for name in [update_strategy::MAX_UNAVAILABLE, update_strategy::MAX_SURGE] {
        let value = &strategy[name];
        if !value.is_null() && count(value, 100, Rounding::Up).is_none() {
            let message = format!(
                "{value} can't be used: write a number of workers, as `{name}: 2`, or a part of them, as `{name}: 25%`"
            );
            checks.error(join(&field, name), message);
        } else if value.as_u64().is_some_and(|count| count > MOST_WORKERS as u64) {
            let message = format!(
                "a worker group can have {MOST_WORKERS} workers, and {value} counts as that: write a number of workers, as \
                 `{name}: 2`, or all of them, as `{name}: 100%`"
            );
            checks.mistake(join(&field, name), message);
        }
    }
}

fn one_of(checks: &mut Checks, value: &Value, field: &str, words: [&str; 2]) {
    if !value.is_null() && !words.iter().any(|word| value == word) {
        let [first, second] = words;
        checks.error(
            field,
            format!("{value} can't be used: write `{first}` or `{second}`"),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reports_the_field_of_each_problem() {
        let found = |worker: Value| -> Vec<String> {
            let mut checks = Checks::default();
            check(&mut checks, &worker, "spec.worker");
            checks
                .into_findings()
                .into_iter()
                .map(|finding| finding.field)
                .collect()
        };
        let good = json!({"scaleDown": "drain", "drainTimeoutSeconds": 3,
            "updateStrategy": {"type": "OnDelete", "maxSurge": "10%", "maxUnavailable": 0}});
        assert_eq!(found(good), [""; 0]);
        assert_eq!(
            found(
                json!({"scaleDown": "fast", "drainTimeoutSeconds": -1, "updateStrategy": {"type": "Recreate", "maxSurge": "x%", "maxUnavailable": -1}})
            ),
            [
                "spec.worker.scaleDown",
                "spec.worker.drainTimeoutSeconds",
                "spec.worker.updateStrategy.type",
                "spec.worker.updateStrategy.maxUnavailable",
                "spec.worker.updateStrategy.maxSurge",
            ]
        );
        let huge =
            json!({"drainTimeoutSeconds": 999_999_999_999_i64, "updateStrategy": {"maxSurge": 20_001}});
        assert_eq!(
            found(huge),
            [
                "spec.worker.drainTimeoutSeconds",
                "spec.worker.updateStrategy.maxSurge"
            ]
        );
        assert_eq!(
            found(json!({"updateStrategy": "OnDelete"})),
            ["spec.worker.updateStrategy"]
        );
    }
}
