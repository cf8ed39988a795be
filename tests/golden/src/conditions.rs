//! The page `docs/reference/conditions.md`: the conditions of the default components, and those of the operator itself.

use std::fmt::Write as _;

use dask_operator_cluster::ClusterPhase;
use dask_operator_host::reference;
use dask_operator_job::JobPhase;
use dask_operator_plugin::dask::conditions;

/// A type of condition.
#[derive(Debug)]
pub struct DocumentedCondition {
    /// The type: `WorkersReady`.
    pub name: &'static str,
    /// Kinds of the resources that have it. Empty if all Dask resources have it while there is a problem.
    pub kinds: &'static [&'static str],
    /// Description for users.
    pub description: &'static str,
    /// Reasons, each with a description for users.
    pub reasons: Vec<(&'static str, &'static str)>,
    /// Further reasons that others define, in words. Empty if there are none.
    pub other_reasons: &'static str,
}

/// Returns all conditions of all resources.
#[must_use]
pub fn all() -> Vec<DocumentedCondition> {
    let of_host = |condition: reference::HostConditionType, kinds| DocumentedCondition {
        name: condition.name,
        kinds,
        description: condition.description,
        reasons: condition.reasons,
        other_reasons: "",
    };
    let of_components = conditions::ALL.iter().map(|condition| DocumentedCondition {
        name: condition.name,
        kinds: condition.kinds,
        description: condition.description,
        reasons: condition
            .reasons
            .iter()
            .map(|reason| (reason.word, reason.description))
            .collect(),
        other_reasons: condition.other_reasons,
    });
    let of_plugins = of_host(
        reference::of_plugin_resources(),
        &["DaskPlugin", "ClusterDaskPlugin"],
    );
    let of_dask_resources = reference::of_dask_resources().into_iter();
    of_components
        .chain([of_plugins])
        .chain(of_dask_resources.map(|condition| of_host(condition, &[])))
        .collect()
}

/// Returns the page.
///
/// # Panics
///
/// Panics if a condition has no links to other pages.
#[must_use]
pub fn page() -> String {
    let all = all();
    let (of_all_kinds, of_kinds): (Vec<_>, Vec<_>) =
        all.iter().partition(|condition| condition.kinds.is_empty());
    let mut page = format!(
        "\
<!-- Generated from the code by `make generate`. -->
# Conditions and phases

`kubectl describe` shows the conditions of a resource, each with a reason and a message. The message says what to do if something
is wrong. Scripts wait with `kubectl wait --for=condition=TYPE KIND/NAME`.

## Phases

| kind | field | values |
| --- | --- | --- |
| DaskCluster | `status.phase` | {}; `Error` if the cluster can't be used until a user changes it |
| DaskJob | `status.jobStatus` | {}: see [jobs](../jobs.md#lifecycle) |

A job that has ended has no conditions.

## Of one kind

| kind | condition | meaning if it is true | more |
| --- | --- | --- | --- |
",
        words(&ClusterPhase::ALL.map(ClusterPhase::as_str)),
        words(&JobPhase::ALL.map(JobPhase::as_str)),
    );
    for condition in &of_kinds {
        let kinds = condition.kinds.join(", ");
        row(
            &mut page,
            &[
                &kinds,
                &link(condition),
                condition.description,
                more(condition.name),
            ],
        );
    }
    page += "
## Of every Dask resource

These conditions are present only while there is a problem.

| condition | problem | more |
| --- | --- | --- |
";
    for condition in &of_all_kinds {
        row(
            &mut page,
            &[&link(condition), condition.description, more(condition.name)],
        );
    }
    page += "
## Reasons
";
    for condition in of_kinds.iter().chain(&of_all_kinds) {
        // Writing to a string does not fail.
        let _ = write!(
            page,
            "\n### `{}`\n\n| reason | meaning |\n| --- | --- |\n",
            condition.name
        );
        for (reason, description) in &condition.reasons {
            row(&mut page, &[&format!("`{reason}`"), description]);
        }
        if !condition.other_reasons.is_empty() {
            row(&mut page, &["others", condition.other_reasons]);
        }
    }
    page
}

/// Appends a row of a table.
fn row(page: &mut String, cells: &[&str]) {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', r"\|")).collect();
    *page += &format!("| {} |\n", cells.join(" | "));
}

fn words(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// Returns a link to the reasons of a condition.
fn link(condition: &DocumentedCondition) -> String {
    format!("[`{}`](#{})", condition.name, condition.name.to_lowercase())
}

/// Returns links to pages with more about the condition of this type.
fn more(name: &str) -> &'static str {
    match name {
        "SchedulerReady" | "SchedulerRestarted" => "[scheduler failures](../clusters.md#scheduler-failures)",
        "Available" => {
            "[scheduler failures](../clusters.md#scheduler-failures), [workers that do not \
             register](../clusters.md#workers-that-do-not-register)"
        }
        "SchedulerUpToDate" => {
            "[changes of the scheduler's spec](../clusters.md#changes-of-the-schedulers-spec)"
        }
        "Idle" => "[idle clusters](../clusters.md#idle-clusters)",
        "WorkersReady" => "[scaling](../scaling.md#status-and-conditions)",
        "ScaleDownBlocked" => "[time limits](../scaling.md#time-limits)",
        "WorkersUpToDate" => "[rollouts](../scaling.md#rollouts)",
        "Suspended" => "[clusters](../clusters.md#suspension), [jobs](../jobs.md#suspension)",
        "RunnerReady" => "[lifecycle](../jobs.md#lifecycle), [failures](../jobs.md#failures-and-retries)",
        "ClusterIdle" => "[an idle cluster](../jobs.md#an-idle-cluster)",
        "ScalingActive" | "AbleToScale" | "ScalingLimited" => {
            "[autoscaling](../autoscaling.md#status-and-conditions)"
        }
        "Ready" => "[plugins](../plugins.md#on-the-plugin)",
        "SpecInvalid" => "[the webhook](../webhook.md) refuses it in advance",
        "SpecQuestionable" => "[mistakes](../webhook.md#mistakes)",
        "PluginFailed" | "PlanRefused" => "[plugins](../plugins.md#on-the-dask-resource)",
        "PolicyViolated" => "[what plugins can do](../plugins.md#what-plugins-can-do)",
        "ApplyFailed" | "KindNotListed" => "[failures](../architecture.md#failures)",
        _ => panic!("{name}: add links to pages with more about the condition"),
    }
}
