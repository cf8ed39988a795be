//! The scaling policy of a `DaskAutoscaler`, with its defaults.

use dask_operator_plugin::dask::fields;
use dask_operator_plugin::dask::resource::MOST_WORKERS;
use dask_operator_plugin::prelude::*;

use crate::decision::{Pace, Policy, Seconds, Step};

/// Default window for scaling down.
const DOWN_WINDOW: Seconds = 60;
/// Default maximum step for scaling down.
const DOWN_STEP: Step = Step::Percent(25);
/// Default period between two steps.
const PERIOD: Seconds = 15;

/// Reads the policy from a validated `spec`.
pub(crate) fn policy(spec: &Value) -> Policy {
    let bound = |field: &str| {
        let workers = u32::try_from(spec[field].as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
        workers.min(MOST_WORKERS as u32)
    };
    let (up, down) = (
        &spec[fields::autoscaler::SCALE_UP],
        &spec[fields::autoscaler::SCALE_DOWN],
    );
    let up_step = step(&up[fields::pace::STEP]).unwrap_or(Step::Unlimited);
    // Without a limit on steps, there is no period between them by default.
    let up_period = if up_step == Step::Unlimited { 0 } else { PERIOD };
    Policy {
        minimum: bound(fields::autoscaler::MINIMUM),
        maximum: bound(fields::autoscaler::MAXIMUM),
        up: Pace {
            window: seconds(&up[fields::pace::WINDOW]).unwrap_or(0),
            step: up_step,
            period: seconds(&up[fields::pace::PERIOD]).unwrap_or(up_period),
        },
        down: Pace {
            window: seconds(&down[fields::pace::WINDOW]).unwrap_or(DOWN_WINDOW),
            step: step(&down[fields::pace::STEP]).unwrap_or(DOWN_STEP),
            period: seconds(&down[fields::pace::PERIOD]).unwrap_or(PERIOD),
        },
    }
}

fn seconds(value: &Value) -> Option<Seconds> {
    value.as_i64()
}

/// Reads a number of workers, at least 1, or a percentage of them, at least `1%`. `None` if it is neither.
pub(crate) fn step(value: &Value) -> Option<Step> {
    let positive = |number: u32| Some(number).filter(|number| *number > 0);
    match value {
        Value::Number(number) => {
            let workers = u32::try_from(number.as_u64()?).ok()?;
            positive(workers).map(Step::Workers)
        }
        Value::String(text) => {
            let digits = text.strip_suffix('%')?;
            // `parse` would accept a sign.
            let percent = digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then_some(digits)?;
            positive(percent.parse().ok()?).map(Step::Percent)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_defaults() {
        let Policy {
            minimum,
            maximum,
            up,
            down,
        } = policy(&json!({"cluster": "c", "maximum": 10}));
        assert_eq!((minimum, maximum), (0, 10));
        assert_eq!((up.window, up.step, up.period), (0, Step::Unlimited, 0));
        assert_eq!((down.window, down.step, down.period), (60, Step::Percent(25), 15));
    }

    #[test]
    fn limits_the_size_of_a_group() {
        let policy = policy(&json!({"cluster": "c", "minimum": 20_001, "maximum": i64::MAX}));
        assert_eq!((policy.minimum, policy.maximum), (20_000, 20_000));
    }

    #[test]
    fn reads_all_fields() {
        let spec = json!({
            "minimum": 1, "maximum": 10,
            "scaleUp": {"windowSeconds": 5, "step": 2},
            "scaleDown": {"windowSeconds": 0, "step": "50%", "periodSeconds": 0},
        });
        let Policy { up, down, .. } = policy(&spec);
        assert_eq!((up.window, up.step, up.period), (5, Step::Workers(2), 15));
        assert_eq!((down.window, down.step, down.period), (0, Step::Percent(50), 0));
    }

    #[test]
    fn parses_steps() {
        let cases = [
            (json!(1), Some(Step::Workers(1))),
            (json!("25%"), Some(Step::Percent(25))),
            (json!("150%"), Some(Step::Percent(150))),
            (json!(0), None),
            (json!(-1), None),
            (json!(1.5), None),
            (json!("0%"), None),
            (json!("-5%"), None),
            (json!("+5%"), None),
            (json!("%"), None),
            (json!("5"), None),
            (json!("abc"), None),
            (json!("99999999999%"), None),
            (json!(true), None),
            (Value::Null, None),
        ];
        for (value, expected) in cases {
            assert_eq!(step(&value), expected, "{value}");
        }
    }
}
