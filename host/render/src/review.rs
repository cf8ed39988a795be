//! The stack of policies over planned children, between the plan and the gate.

use std::collections::HashMap;
use std::sync::Arc;

use dask_operator_core::parent::DaskKind;
use dask_operator_core::text;
use dask_operator_runtime::contract::{
    ChildAction, ChildKey, DesiredChild, Finding, Review, ReviewRequest, Timestamp,
};
use thiserror::Error;

use crate::convert;
use crate::findings::sentences;
use crate::logic::Failure;
use crate::policy::{Mode, Policy};

/// How many children a remark names.
const NAMED: usize = 3;

/// Bytes of a child's kind and name in a message. No gate has looked at them yet.
const NAME: usize = 300;

/// What policies made of planned children.
#[derive(Debug, Default)]
pub struct Reviewed {
    /// The children as the policies want them; the same ones in the same order.
    pub children: Vec<DesiredChild>,
    /// What policies that only monitor have to say.
    pub remarks: Vec<Remark>,
}

/// What a policy would have done if it were in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The policy, as [`Policy::title`].
    pub title: String,
    /// A sentence.
    pub message: String,
}

/// Why nothing of the plan is written.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// A policy refused the plan.
    #[error("{title} refuses the plan: {}", sentences(.findings))]
    Refused {
        /// The policy, as [`Policy::title`].
        title: String,
        /// What it finds wrong.
        findings: Vec<Finding>,
    },
    /// A policy says that it could not decide.
    #[error("{title} could not decide: {message}")]
    Undecided {
        /// The policy, as [`Policy::title`].
        title: String,
        /// Its own words.
        message: String,
    },
    /// A policy wants what no policy may.
    #[error("{title} {problem}; a policy can change planned children, but not add or remove any")]
    Overreached {
        /// The policy, as [`Policy::title`].
        title: String,
        /// What it wants.
        problem: String,
    },
    /// A policy did not answer.
    #[error("{title}: {failure}")]
    Failed {
        /// The policy, as [`Policy::title`].
        title: String,
        /// What happened.
        failure: Failure,
    },
}

/// Asks each policy in turn; each sees what the one before it left. `parent` is the
/// children's parent, a JSON object.
///
/// # Errors
///
/// When one that is in force refuses the plan, or gives no answer that can be used.
pub fn review(
    policies: &[Arc<Policy>],
    parent_kind: DaskKind,
    parent: &str,
    children: Vec<DesiredChild>,
    now: Timestamp,
) -> Result<Reviewed, ReviewError> {
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
        let answer = one(policy, &request);
        match (policy.mode, answer) {
            (_, Ok(changed)) if changed.is_empty() => {}
            (Mode::Protect, Ok(changed)) => {
                for (place, child) in changed {
                    request.children[place] = child;
                }
            }
            (Mode::Protect, Err(error)) => return Err(error),
            (Mode::Monitor, Ok(changed)) => remarks.push(Remark {
                title: policy.title.clone(),
                message: format!(
                    "{} would change {}",
                    policy.title,
                    names(changed.iter().map(|(_, child)| child))
                ),
            }),
            (Mode::Monitor, Err(error)) => remarks.push(Remark {
                title: policy.title.clone(),
                message: format!("{error} (it only monitors: the plan is carried out)"),
            }),
        }
    }
    Ok(Reviewed {
        children: request.children,
        remarks,
    })
}

/// The children that a policy changes, with their places.
fn one(policy: &Policy, request: &ReviewRequest) -> Result<Vec<(usize, DesiredChild)>, ReviewError> {
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
            places(&request.children, changed).map_err(|problem| ReviewError::Overreached {
                title: title(),
                problem,
            })
        }
    }
}

type Name<'a> = (&'a str, &'a str, &'a str);

fn name(key: &ChildKey) -> Name<'_> {
    (&key.api_version, &key.kind, &key.name)
}

/// Where the changed children stand in the plan. Children that are as they were are
/// left out.
fn places(
    children: &[DesiredChild],
    changed: Vec<DesiredChild>,
) -> Result<Vec<(usize, DesiredChild)>, String> {
    let by_name: HashMap<Name<'_>, usize> = children
        .iter()
        .enumerate()
        .map(|(place, child)| (name(&child.key), place))
        .collect();
    let mut placed = Vec::new();
    for child in changed {
        let called = called(&child.key);
        let Some(place) = by_name.get(&name(&child.key)).copied() else {
            return Err(format!("wants {called}, which is not in the plan"));
        };
        if word(&children[place].action) != word(&child.action) {
            return Err(format!(
                "wants to {} {called}, which the plan wants to {}",
                word(&child.action),
                word(&children[place].action)
            ));
        }
        if children[place] != child {
            placed.push((place, child));
        }
    }
    Ok(placed)
}

fn word(action: &ChildAction) -> &'static str {
    match action {
        ChildAction::Keep => "keep",
        ChildAction::Create(_) => "create",
        ChildAction::Apply(_) => "apply",
    }
}

/// A child as messages call it.
fn called(key: &ChildKey) -> String {
    text::line(&format!("{} {}", key.kind, key.name), NAME)
}

/// The first few by name, and how many more there are.
fn names<'a>(children: impl Iterator<Item = &'a DesiredChild>) -> String {
    let mut names: Vec<_> = children.map(|child| called(&child.key)).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
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
    use crate::policy::Rules;

    /// A policy that answers with a function of the request.
    struct Fixed(fn(&ReviewRequest) -> Result<Review, String>);

    impl Rules for Fixed {
        fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, Failure> {
            Err("not asked".into())
        }

        fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, Failure> {
            Ok((self.0)(request))
        }
    }

    fn policy(title: &str, mode: Mode, rules: fn(&ReviewRequest) -> Result<Review, String>) -> Arc<Policy> {
        Arc::new(Policy {
            title: title.into(),
            settings: format!("{{\"of\":\"{title}\"}}"),
            mode,
            rules: Box::new(Fixed(rules)),
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

    fn ask(policies: &[Arc<Policy>]) -> Result<Reviewed, ReviewError> {
        let children = vec![create("a", "{}"), pod("b", ChildAction::Keep), create("c", "{}")];
        review(policies, DaskKind::Cluster, "{}", children, 0)
    }

    /// Writes its settings behind what is there.
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
    fn each_sees_what_the_one_before_left() {
        let policies = [
            policy("one", Mode::Protect, stamp),
            policy("two", Mode::Protect, stamp),
        ];
        let reviewed = ask(&policies).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(reviewed.children[0], create("a", r#"{}{"of":"one"}{"of":"two"}"#));
        assert_eq!(reviewed.children[1], pod("b", ChildAction::Keep));
        assert!(reviewed.remarks.is_empty());
    }

    #[test]
    fn one_that_monitors_only_talks() {
        let policies = [
            policy("one", Mode::Monitor, stamp),
            policy("two", Mode::Monitor, refuse),
        ];
        let reviewed = ask(&policies).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(reviewed.children[0], create("a", "{}"));
        let said: Vec<_> = reviewed
            .remarks
            .iter()
            .map(|remark| remark.message.as_str())
            .collect();
        assert_eq!(
            said,
            [
                "one would change Pod a, Pod c",
                "two refuses the plan: spec: it is wrong (it only monitors: the plan is carried out)"
            ]
        );
    }

    #[test]
    fn a_plan_is_refused() {
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
            let answer = ask(&[policy("p", Mode::Protect, rules)]);
            let error = answer.map(drop).map_err(|error| error.to_string());
            assert!(
                error.as_ref().is_err_and(|error| error.starts_with(expected)),
                "{error:?}"
            );
        }
    }
}
