//! Checks of the resource requests and limits of containers.

use serde_json::Value;

use super::{Checks, join};
use crate::dask::quantity::{self, Quantity};

/// Names of Kubernetes' own resources that a container can have.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Minimum similarity of a name to the one that is probably meant, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.6;

/// Number of bytes below which no container can start.
const TOO_FEW_BYTES: Quantity = Quantity::from_whole(1024 * 1024);

/// Number of CPUs that no node has.
const TOO_MANY_CPUS: Quantity = Quantity::from_whole(1000);

/// Checks the `resources` of a container; `path` is their field.
pub(super) fn check(checks: &mut Checks, resources: &Value, path: &str) {
    for list in ["limits", "requests"] {
        for (name, value) in resources[list].as_object().into_iter().flatten() {
            if value.is_null() {
                continue;
            }
            let field = format!("{}.{name}", join(path, list));
            if let Some(message) = name_problem(name) {
                checks.error(field, message);
                continue;
            }
            let Some(amount) = quantity::amount(value) else {
                checks.error(field, quantity_problem(value));
                continue;
            };
            let text = text(value);
            if amount < Quantity::ZERO {
                checks.error(field, format!("`{text}` is less than nothing: write 0 or more"));
            } else if is_extended(name) && !amount.is_whole() {
                checks.error(
                    field,
                    format!("`{name}` is counted in whole numbers, and `{text}` is none: write `1` or more"),
                );
            } else if name == "memory" {
                memory(checks, field, &text, amount, list);
            } else if name == "cpu"
                && amount >= TOO_MANY_CPUS
                && (list == "requests" || resources["requests"]["cpu"].is_null())
            {
                let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                checks.mistake(
                    field,
                    format!(
                        "`{text}` is {:.0} CPUs, and no node has so many: write `{number}m` if you mean thousandths of a CPU",
                        amount.to_f64()
                    ),
                );
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        let field = format!("{}.{name}", join(path, "requests"));
        // Kubernetes does not overcommit devices and huge pages.
        let is_fixed = is_extended(name) || name.starts_with("hugepages-");
        match (quantity::amount(request), quantity::amount(limit)) {
            (Some(requested), Some(most)) if requested > most || (is_fixed && requested < most) => {
                let remedy = match is_fixed {
                    true => "write the same in both",
                    false => "raise the limit or lower the request",
                };
                checks.error(
                    field,
                    format!(
                        "it asks for {} and may use {}: {remedy}",
                        text(request),
                        text(limit)
                    ),
                );
            }
            (Some(requested), None) if is_fixed && limit.is_null() && requested >= Quantity::ZERO => {
                checks.mistake(
                    field,
                    format!("`{name}` needs a limit that is the same: write it in `limits` too"),
                );
            }
            _ => {}
        }
    }
}

/// Returns a quantity as it is written.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Checks an amount of memory that is not negative.
fn memory(checks: &mut Checks, field: String, text: &str, amount: Quantity, list: &str) {
    let is_number = text.bytes().all(|digit| digit.is_ascii_digit());
    if let Some(number) = text.strip_suffix('m')
        && amount < TOO_FEW_BYTES
    {
        checks.warning(
            field,
            format!(
                "`{number}m` is a thousandth of {number} bytes: write `{number}M`, or `{number}Mi` for powers of two"
            ),
        );
    } else if is_number && amount > Quantity::ZERO && amount < TOO_FEW_BYTES {
        let remedy = format!("write a unit, as `{text}Mi` or `{text}Gi`");
        if list == "limits" {
            checks.mistake(
                field,
                format!("no container can start with {text} bytes: {remedy}"),
            );
        } else {
            checks.warning(field, format!("`{text}` is a number of bytes: {remedy}"));
        }
    }
}

/// Returns the problem with the name of a resource, or `None` if it is valid.
fn name_problem(name: &str) -> Option<String> {
    let is_known = name.contains('/') || name.starts_with("hugepages-") || RESOURCES.contains(&name);
    if is_known {
        return None;
    }
    let similarity = |other: &&str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), other);
    let is_gpu = name.to_lowercase().contains("gpu");
    let similar = RESOURCES
        .iter()
        .find(|other| !is_gpu && similarity(other) >= MIN_SIMILARITY);
    let remedy = match similar {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => {
            "write `cpu`, `memory` or `ephemeral-storage`, or a device with its domain, as `nvidia.com/gpu`"
                .to_owned()
        }
    };
    Some(format!("Kubernetes has no resource `{name}`: {remedy}"))
}

/// Returns whether a resource is an extended resource, such as a GPU, and not one of Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

fn quantity_problem(value: &Value) -> String {
    let text = text(value);
    match quantity::meant(&text) {
        Some((decimal, binary)) => {
            format!(
                "`{text}` is no quantity of Kubernetes: write `{decimal}`, or `{binary}` for powers of two"
            )
        }
        None => format!("`{text}` is no quantity of Kubernetes: write one like `2`, `500m` or `4Gi`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::summary;
    use super::*;

    #[test]
    fn reports_the_field_of_each_problem() {
        for (resources, expected) in [
            (json!({}), vec![]),
            (
                json!({"limits": {"cpu": null}, "requests": {"nvidia.com/gpu": null}}),
                vec![],
            ),
            (
                json!({"limits": {"cpu": 2, "memory": "4Gi"}, "requests": {"cpu": "500m", "memory": "4Gi"}}),
                vec![],
            ),
            (
                json!({"limits": {"memory": "4GB"}}),
                vec!["error r.limits.memory"],
            ),
            (
                json!({"requests": {"memory": "512m"}}),
                vec!["warning r.requests.memory"],
            ),
            (
                json!({"limits": {"cpu": 1}, "requests": {"cpu": 2}}),
                vec!["error r.requests.cpu"],
            ),
            (json!({"limits": {"memory": 4}}), vec!["mistake r.limits.memory"]),
            (
                json!({"requests": {"memory": "4"}}),
                vec!["warning r.requests.memory"],
            ),
            (json!({"limits": {"memory": 0}}), vec![]),
            (json!({"limits": {"memory": 4_000_000_000_u64}}), vec![]),
            (
                json!({"requests": {"memory": "-1Gi"}}),
                vec!["error r.requests.memory"],
            ),
            (json!({"requests": {"cpu": -1}}), vec!["error r.requests.cpu"]),
            (json!({"limits": {"cpu": "500M"}}), vec!["mistake r.limits.cpu"]),
            (json!({"requests": {"cpu": 4000}}), vec!["mistake r.requests.cpu"]),
            (json!({"limits": {"cpu": 4000}, "requests": {"cpu": 1}}), vec![]),
            (json!({"limits": {"nvidia.com/gpu": "1e99"}}), vec![]),
            (
                json!({"limits": {"memory": "1e99999"}, "requests": {"memory": "1e-99"}}),
                vec![],
            ),
            (
                json!({"limits": {"cpu": "1e99999"}}),
                vec!["mistake r.limits.cpu"],
            ),
            (
                json!({"requests": {"cpu": "-1e99999"}}),
                vec!["error r.requests.cpu"],
            ),
            (
                json!({"limits": {"memory": "0.10000000000000000000000000000000000000001Gi"}}),
                vec![],
            ),
            (
                json!({"limits": {"memory": "9007199254740992"}, "requests": {"memory": "9007199254740993"}}),
                vec!["error r.requests.memory"],
            ),
            (
                json!({"limits": {"nvidia.com/gpu": 1}, "requests": {"nvidia.com/gpu": "1"}}),
                vec![],
            ),
            (json!({"limits": {"nvidia.com/gpu": 1}}), vec![]),
            (
                json!({"requests": {"nvidia.com/gpu": 1}}),
                vec!["mistake r.requests.nvidia.com/gpu"],
            ),
            (
                json!({"limits": {"nvidia.com/gpu": 2}, "requests": {"nvidia.com/gpu": 1}}),
                vec!["error r.requests.nvidia.com/gpu"],
            ),
            (
                json!({"limits": {"nvidia.com/gpu": "500m"}}),
                vec!["error r.limits.nvidia.com/gpu"],
            ),
            (
                json!({"requests": {"hugepages-2Mi": "4Mi"}}),
                vec!["mistake r.requests.hugepages-2Mi"],
            ),
            (json!({"limits": {"gpu": 1}}), vec!["error r.limits.gpu"]),
            (
                json!({"limits": {"ephemeral_storage": "1Gi", "ephemeral-storage": "1Gi"}}),
                vec!["error r.limits.ephemeral_storage"],
            ),
        ] {
            let mut checks = Checks::default();
            check(&mut checks, &resources, "r");
            let found = summary(checks);
            assert_eq!(found, expected, "{resources}");
        }
    }
}
