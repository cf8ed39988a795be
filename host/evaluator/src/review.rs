//! Review of planned children by the policies, between the plan and the gate.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dask_operator_core::parent::DaskKind;
use dask_operator_core::text;
use dask_operator_runtime::contract::{
    ChildAction, ChildKey, DesiredChild, Finding, Review, ReviewRequest, Timestamp,
};
use thiserror::Error;

use crate::convert;
use crate::findings::to_text;
use crate::logic::PluginFailure;
use crate::policy::{Mode, PolicyPlugin};

/// Maximum number of children that a remark names.
const MAX_NAMED: usize = 3;

/// Maximum size of a child's kind and name in a message, in bytes. The gate has not checked them yet.
const MAX_NAME_BYTES: usize = 300;

/// Result of a review of planned children.
#[derive(Debug, Default)]
pub struct ReviewedChildren {
    /// The children as the policies changed them. Their number and order are unchanged.
    pub children: Vec<DesiredChild>,
    /// Remarks of the policies in monitor mode.
    pub remarks: Vec<Remark>,
}

/// The effect that a policy in monitor mode would have had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The policy, as [`PolicyPlugin::title`].
    pub title: String,
    /// The message for the author or the administrator.
    pub message: String,
}

/// Error of a review. Nothing of the plan is written.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// A policy refused the plan.
    #[error("{title} refuses the plan: {}", to_text(.findings))]
    Refused {
        /// The policy, as [`PolicyPlugin::title`].
        title: String,
        /// The findings of the policy.
        findings: Vec<Finding>,
    },
    /// A policy reported that it could not decide.
    #[error("{title} could not decide: {message}")]
    Undecided {
        /// The policy, as [`PolicyPlugin::title`].
        title: String,
        /// The reason that the policy gave.
        message: String,
    },
    /// A policy tried to add or remove a child, or to change the action of a child.
    #[error("{title} {problem}; a policy can change planned children, but not add or remove any")]
    Overreached {
        /// The policy, as [`PolicyPlugin::title`].
        title: String,
        /// The change that the policy tried.
        problem: String,
    },
    /// A call of a policy failed.
    #[error("{title}: {failure}")]
    Failed {
        /// The policy, as [`PolicyPlugin::title`].
        title: String,
        /// The error of the call.
        failure: PluginFailure,
    },
}

/// Calls the policies in order. Each policy receives the children as the previous one changed them. `parent` is the parent of
/// the children, a JSON object.
///
/// # Errors
///
/// Returns an error if a policy in protect mode refuses the plan, can't decide, fails, or makes a change that it may not make.
pub fn review(
    policies: &[Arc<PolicyPlugin>],
    parent_kind: DaskKind,
    parent: &str,
    children: Vec<DesiredChild>,
    now: Timestamp,
) -> Result<ReviewedChildren, ReviewError> {
    let mut request = ReviewRequest {
        parent_kind: convert::dask_kind(parent_kind),
        parent: parent.to_owned(),
        children,
        now,
        settings: String::new(),
    };
    let mut remarks = Vec::new();
    for policy in policies {
        request.settings.clone_from(&policy.settings);
        let answer = review_by(policy, &request);
        match (policy.mode, answer) {
            (_, Ok(changed)) if changed.is_empty() => {}
            (Mode::Protect, Ok(changed)) => {
                for (index, child) in changed {
                    request.children[index] = child;
                }
            }
            (Mode::Protect, Err(error)) => return Err(error),
            (Mode::Monitor, Ok(changed)) => remarks.push(Remark {
                title: policy.title.clone(),
                message: format!(
                    "{} would change {}",
                    policy.title,
                    list_names(affected(&request.children, &changed))
                ),
            }),
            (Mode::Monitor, Err(error)) => remarks.push(Remark {
                title: policy.title.clone(),
                message: format!("{error} (it only monitors: the plan is carried out)"),
            }),
        }
    }
    Ok(ReviewedChildren {
        children: request.children,
        remarks,
    })
}

/// Calls one policy. Returns the children that it changes, with their indices.
fn review_by(
    policy: &PolicyPlugin,
    request: &ReviewRequest,
) -> Result<Vec<(usize, DesiredChild)>, ReviewError> {
    let title = || policy.title.clone();
    let answer = policy
        .rules
        .review_plan(request)
        .map_err(|failure| ReviewError::Failed {
            title: title(),
            failure,
        })?;
    match answer {
        Ok(Review::Allow) => Ok(Vec::new()),
        Ok(Review::Refuse(findings)) => Err(ReviewError::Refused {
            title: title(),
            findings,
        }),
        Err(message) => Err(ReviewError::Undecided {
            title: title(),
            message,
        }),
        Ok(Review::Change(changed)) => {
            changes(&request.children, changed).map_err(|problem| ReviewError::Overreached {
                title: title(),
                problem,
            })
        }
    }
}

/// The `apiVersion`, kind and name of a child.
type Identity<'a> = (&'a str, &'a str, &'a str);

fn identity(key: &ChildKey) -> Identity<'_> {
    (&key.api_version, &key.kind, &key.name)
}

/// Returns the changed children with their indices in the plan, without those that are unchanged.
///
/// # Errors
///
/// Returns a message if a child is not in the plan, or if its action differs.
fn changes(
    children: &[DesiredChild],
    changed: Vec<DesiredChild>,
) -> Result<Vec<(usize, DesiredChild)>, String> {
    let indices: HashMap<Identity<'_>, usize> = children
        .iter()
        .enumerate()
        .map(|(index, child)| (identity(&child.key), index))
        .collect();
    let mut changes = Vec::new();
    for child in changed {
        let name = display_name(&child.key);
        let Some(index) = indices.get(&identity(&child.key)).copied() else {
            return Err(format!("wants {name}, which is not in the plan"));
        };
        if verb(&children[index].action) != verb(&child.action) {
            return Err(format!(
                "wants to {} {name}, which the plan wants to {}",
                verb(&child.action),
                verb(&children[index].action)
            ));
        }
        if children[index] != child {
            changes.push((index, child));
        }
    }
    Ok(changes)
}

/// Returns the children that changes affect: the changed ones and their copies.
fn affected<'a>(
    children: &'a [DesiredChild],
    changed: &[(usize, DesiredChild)],
) -> impl Iterator<Item = &'a DesiredChild> {
    let changed: HashSet<usize> = changed.iter().map(|(index, _)| *index).collect();
    let is_affected = move |(index, child): &(usize, &DesiredChild)| {
        let copies = match child.action {
            ChildAction::Copy(original) => changed.contains(&(original as usize)),
            _ => false,
        };
        copies || changed.contains(index)
    };
    children
        .iter()
        .enumerate()
        .filter(is_affected)
        .map(|(_, child)| child)
}

fn verb(action: &ChildAction) -> &'static str {
    match action {
        ChildAction::Keep => "keep",
        ChildAction::Create(_) | ChildAction::Copy(_) => "create",
        ChildAction::Apply(_) => "apply",
    }
}

/// Returns the kind and name of a child for messages.
fn display_name(key: &ChildKey) -> String {
    text::line(&format!("{} {}", key.kind, key.name), MAX_NAME_BYTES)
}

/// Returns the names of the first children and the number of the others.
fn list_names<'a>(children: impl Iterator<Item = &'a DesiredChild>) -> String {
    let mut names: Vec<_> = children.map(|child| display_name(&child.key)).collect();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let named = names.join(", ");
    if more == 0 {
        named
    } else {
        format!("{named} and {more} more")
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_runtime::contract::{AdmissionRequest, AdmissionResponse, Severity};

    use super::*;
    use crate::policy::PolicyInterface;

    /// A policy whose review is a function of the request.
    struct Reviewer(fn(&ReviewRequest) -> Result<Review, String>);

    impl PolicyInterface for Reviewer {
        fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
            Err("not called".into())
        }

        fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
            Ok((self.0)(request))
        }
    }

    fn policy(
        title: &str,
        mode: Mode,
        rules: fn(&ReviewRequest) -> Result<Review, String>,
    ) -> Arc<PolicyPlugin> {
        Arc::new(PolicyPlugin {
            title: title.into(),
            settings: format!("{{\"of\":\"{title}\"}}"),
            mode,
            rules: Box::new(Reviewer(rules)),
        })
    }

    fn pod(name: &str, action: ChildAction) -> DesiredChild {
        DesiredChild {
            key: ChildKey {
                api_version: "v1".into(),
                kind: "Pod".into(),
                name: name.into(),
            },
            action,
        }
    }

    fn create(name: &str, object: &str) -> DesiredChild {
        pod(name, ChildAction::Create(object.into()))
    }

    fn review_sample(policies: &[Arc<PolicyPlugin>]) -> Result<ReviewedChildren, ReviewError> {
        let children = vec![create("a", "{}"), pod("b", ChildAction::Keep), create("c", "{}")];
        review(policies, DaskKind::Cluster, "{}", children, 0)
    }

    /// Appends the policy's settings to each created object.
    fn stamp(request: &ReviewRequest) -> Result<Review, String> {
        let stamped = |child: &DesiredChild| match &child.action {
            ChildAction::Create(object) => {
                Some(create(&child.key.name, &(object.clone() + &request.settings)))
            }
            _ => None,
        };
        Ok(Review::Change(
            request.children.iter().filter_map(stamped).collect(),
        ))
    }

    fn refuse(_: &ReviewRequest) -> Result<Review, String> {
        let finding = Finding {
            severity: Severity::Error,
            field: "spec".into(),
            message: "it is wrong".into(),
        };
        Ok(Review::Refuse(vec![finding]))
    }

    #[test]
    fn each_policy_receives_the_children_from_the_previous_one() {
        let policies = [
            policy("one", Mode::Protect, stamp),
            policy("two", Mode::Protect, stamp),
        ];
        let reviewed = review_sample(&policies).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(reviewed.children[0], create("a", r#"{}{"of":"one"}{"of":"two"}"#));
        assert_eq!(reviewed.children[1], pod("b", ChildAction::Keep));
        assert!(reviewed.remarks.is_empty());
    }

    #[test]
    fn changes_of_an_original_affect_its_copies() {
        let policies = [
            policy("one", Mode::Monitor, stamp),
            policy("two", Mode::Protect, stamp),
        ];
        let children = vec![create("a", "{}"), pod("b", ChildAction::Copy(0))];
        let reviewed =
            review(&policies, DaskKind::Cluster, "{}", children, 0).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(reviewed.children[0], create("a", r#"{}{"of":"two"}"#));
        assert_eq!(reviewed.children[1], pod("b", ChildAction::Copy(0)));
        assert_eq!(reviewed.remarks[0].message, "one would change Pod a, Pod b");
    }

    #[test]
    fn a_policy_in_monitor_mode_only_adds_remarks() {
        let policies = [
            policy("one", Mode::Monitor, stamp),
            policy("two", Mode::Monitor, refuse),
        ];
        let reviewed = review_sample(&policies).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(reviewed.children[0], create("a", "{}"));
        let messages: Vec<_> = reviewed
            .remarks
            .iter()
            .map(|remark| remark.message.as_str())
            .collect();
        assert_eq!(
            messages,
            [
                "one would change Pod a, Pod c",
                "two refuses the plan: spec: it is wrong (it only monitors: the plan is carried out)"
            ]
        );
    }

    #[test]
    fn a_policy_in_protect_mode_can_stop_a_plan() {
        type Answer = fn(&ReviewRequest) -> Result<Review, String>;
        let cases: [(Answer, &str); 4] = [
            (refuse, "p refuses the plan: spec: it is wrong"),
            (|_| Err("no rule".into()), "p could not decide: no rule"),
            (
                |_| Ok(Review::Change(vec![create("x", "{}")])),
                "p wants Pod x, which is not in the plan",
            ),
            (
                |_| Ok(Review::Change(vec![pod("a", ChildAction::Keep)])),
                "p wants to keep Pod a, which the plan wants to create",
            ),
        ];
        for (rules, expected) in cases {
            let answer = review_sample(&[policy("p", Mode::Protect, rules)]);
            let error = answer.map(drop).map_err(|error| error.to_string());
            assert!(
                error.as_ref().is_err_and(|error| error.starts_with(expected)),
                "{error:?}"
            );
        }
    }
}
