//! The contract's records, and what makes them pleasant to write.
//!
//! They are generated from `wit/types.wit`, where each field is explained. All of them serialise, so that
//! observations and plans can be recorded and compared; the operator's own types serialise alike.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::changes::Changes;

pub use crate::bindings::describe::exports::dask::operator::describe::Description;
pub use crate::bindings::host::dask::operator::types::{
    ChildAction, ChildKey, Condition, ConditionStatus, DesiredChild, Error, Event, EventType, Finding, Json,
    Observation, ObservedKind, ObservedObject, Owner, Plan, ResourceKind, Scale, SchedulerFacts,
    SchedulerQuestion, SchedulerRequest, SchedulerState, SchedulerWorker, Severity, Timestamp,
};
pub use crate::bindings::policy::exports::dask::operator::policy::{
    AdmissionRequest, AdmissionResponse, Operation, Review, ReviewRequest, Verdict,
};

impl ResourceKind {
    /// A kind as a manifest writes it: `ResourceKind::new("v1", "Pod")`.
    pub fn new(api_version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            api_version: api_version.into(),
            kind: kind.into(),
        }
    }

    /// The key of the object of this kind with that name.
    pub fn key(&self, name: impl Into<String>) -> ChildKey {
        ChildKey {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            name: name.into(),
        }
    }
}

/// A value as JSON text. (`to_string` says the same, many times slower: it writes each piece through a formatter.)
pub fn json_text(value: &Value) -> String {
    // A value is always JSON.
    serde_json::to_string(value).unwrap_or_default()
}

impl DesiredChild {
    /// A child that stays as it is.
    pub fn keep(observed: &ObservedObject) -> Self {
        Self {
            key: observed.key.clone(),
            action: ChildAction::Keep,
        }
    }

    /// A child that is created where it does not exist.
    pub fn create(key: ChildKey, object: impl Borrow<Value>) -> Self {
        Self {
            key,
            action: ChildAction::Create(json_text(object.borrow())),
        }
    }

    /// A child that shall look like this.
    pub fn apply(key: ChildKey, object: impl Borrow<Value>) -> Self {
        Self {
            key,
            action: ChildAction::Apply(json_text(object.borrow())),
        }
    }
}

impl Condition {
    /// A condition with its four parts.
    pub fn new(
        type_: impl Into<String>,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_: type_.into(),
            status,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// The condition `SpecQuestionable`, which names the mistakes among findings; none where there are none.
    pub fn questionable(findings: &[Finding]) -> Option<Self> {
        let mistakes: Vec<String> = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Mistake)
            .map(|finding| cut(&finding.sentence()))
            .collect();
        let message = match mistakes.as_slice() {
            [] => return None,
            all => match all.len().saturating_sub(MISTAKES_NAMED) {
                0 => all.join("; "),
                more => format!("{}; and {more} more", all[..MISTAKES_NAMED].join("; ")),
            },
        };
        Some(Self::new(
            SPEC_QUESTIONABLE,
            ConditionStatus::True,
            "Mistakes",
            message,
        ))
    }
}

/// The condition of a resource whose spec runs, though something in it is very likely a mistake.
pub const SPEC_QUESTIONABLE: &str = "SpecQuestionable";

/// How many mistakes a condition names.
const MISTAKES_NAMED: usize = 5;

/// The longest sentence about one of them, in characters.
const MISTAKE_LENGTH: usize = 500;

/// A sentence that a condition can hold. What people wrote can be of any length.
fn cut(sentence: &str) -> String {
    match sentence.char_indices().nth(MISTAKE_LENGTH) {
        Some((end, _)) => format!("{}…", &sentence[..end]),
        None => sentence.to_owned(),
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Event {
    /// Something that is as it should be.
    pub fn normal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            type_: EventType::Normal,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Something worth worrying about.
    pub fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            type_: EventType::Warning,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

impl Finding {
    /// Something that cannot work. `field` is written as kubectl does, `message` says what is wrong and what to
    /// write instead.
    pub fn error(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            field: field.into(),
            message: message.into(),
        }
    }

    /// Something that runs and is very likely not what its author wants. It is refused where the webhook is strict.
    pub fn mistake(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Mistake,
            field: field.into(),
            message: message.into(),
        }
    }

    /// Something that works but is unwise.
    pub fn warning(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            field: field.into(),
            message: message.into(),
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Field and message as one text.
    pub fn sentence(&self) -> String {
        match self.field.as_str() {
            "" => self.message.clone(),
            field => format!("{field}: {}", self.message),
        }
    }
}

impl Default for Plan {
    /// A plan without children, and an empty status.
    fn default() -> Self {
        Self {
            children: Vec::new(),
            status: "{}".to_owned(),
            conditions: Vec::new(),
            events: Vec::new(),
            owner: None,
            scale: Vec::new(),
            delete_parent: None,
            requeue_after: None,
            scheduler: None,
        }
    }
}

impl From<serde_json::Error> for Error {
    /// The host gave something that this component can't read: it will be asked again.
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(format!("an object could not be read: {error}"))
    }
}

impl Error {
    /// The findings that make it impossible to go on, if there are any.
    pub fn if_invalid(findings: Vec<Finding>) -> Result<(), Self> {
        let errors: Vec<Finding> = findings.into_iter().filter(Finding::is_error).collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Self::Invalid(errors))
        }
    }
}

impl Observation {
    /// The parent.
    pub fn parent_json(&self) -> Result<Value, Error> {
        Ok(serde_json::from_str(&self.parent)?)
    }

    /// The children of one kind, in the order of their names.
    pub fn children_of(&self, kind: &ResourceKind) -> &[ObservedObject] {
        self.children
            .iter()
            .find(|children| children.kind == *kind)
            .map_or(&[], |children| &children.objects)
    }

    /// A child by kind and name.
    pub fn child(&self, kind: &ResourceKind, name: &str) -> Option<&ObservedObject> {
        self.children_of(kind).iter().find(|child| child.key.name == name)
    }

    /// Another object by kind and name.
    pub fn related_object(&self, kind: &ResourceKind, name: &str) -> Option<&ObservedObject> {
        self.related_of(kind)
            .into_iter()
            .find(|object| object.key.name == name)
    }

    /// Other objects of one kind.
    pub fn related_of(&self, kind: &ResourceKind) -> Vec<&ObservedObject> {
        let is = |key: &ChildKey| key.kind == kind.kind && key.api_version == kind.api_version;
        self.related.iter().filter(|object| is(&object.key)).collect()
    }
}

impl ObservedObject {
    /// The object, or the part of it that `T` has fields for.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.object).map_err(|error| {
            Error::Failed(format!(
                "{} {} could not be read: {error}",
                self.key.kind, self.key.name
            ))
        })
    }
}

impl AdmissionRequest {
    /// The resource as it shall be.
    pub fn object_json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.object).map_err(|error| format!("the resource could not be read: {error}"))
    }

    /// The resource before an update.
    pub fn old_json(&self) -> Result<Option<Value>, String> {
        let old = self.old.as_deref().map(serde_json::from_str).transpose();
        old.map_err(|error| format!("the resource before the update could not be read: {error}"))
    }
}

impl ReviewRequest {
    /// The parent.
    pub fn parent_json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.parent).map_err(|error| format!("the parent could not be read: {error}"))
    }
}

impl ChildAction {
    /// What the child shall be; none for one that stays as it is.
    pub fn object_json(&self) -> Result<Option<Value>, String> {
        match self {
            Self::Keep => Ok(None),
            Self::Create(object) | Self::Apply(object) => serde_json::from_str(object)
                .map(Some)
                .map_err(|error| format!("a planned child could not be read: {error}")),
        }
    }

    /// The same action with another object; one that stays as it is does so.
    #[must_use]
    pub fn with(&self, object: &Value) -> Self {
        match self {
            Self::Keep => Self::Keep,
            Self::Create(_) => Self::Create(json_text(object)),
            Self::Apply(_) => Self::Apply(json_text(object)),
        }
    }
}

impl AdmissionResponse {
    /// Let it through.
    pub fn allow() -> Self {
        Self {
            verdict: Verdict::Allow,
            warnings: Vec::new(),
        }
    }

    /// Let it through with these changes, a JSON Patch. [`with_changes`](Self::with_changes) writes one.
    pub fn patch(patch: &Value) -> Self {
        Self {
            verdict: Verdict::Patch(json_text(patch)),
            warnings: Vec::new(),
        }
    }

    /// The same answer, with these changes if there is no error in it. An answer can't hold both changes and findings:
    /// beside changes mistakes are only said, even where the webhook is strict.
    #[must_use]
    pub fn with_changes(mut self, changes: &Changes) -> Self {
        if changes.is_empty() {
            return self;
        }
        let mistakes: Vec<String> = match &self.verdict {
            Verdict::Allow => Vec::new(),
            Verdict::Refuse(findings) if !findings.iter().any(Finding::is_error) => {
                findings.iter().map(Finding::sentence).collect()
            }
            Verdict::Refuse(_) | Verdict::Patch(_) => return self,
        };
        self.warnings.extend(mistakes);
        self.verdict = Verdict::Patch(json_text(&changes.patch()));
        self
    }

    /// Refuse it if there is an error or a mistake among these; what is unwise is said as a warning. Where the webhook is
    /// not strict, the operator makes warnings of mistakes and lets the object through.
    pub fn of_findings(findings: Vec<Finding>) -> Self {
        let is_unwise = |finding: &Finding| finding.severity == Severity::Warning;
        let (unwise, wrong): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_unwise);
        Self {
            verdict: if wrong.is_empty() {
                Verdict::Allow
            } else {
                Verdict::Refuse(wrong)
            },
            warnings: unwise.iter().map(Finding::sentence).collect(),
        }
    }

    /// As [`of_findings`](Self::of_findings), but what was wrong before the update already is only said: a policy that
    /// is installed later must not keep people from scaling or deleting what they have. `before` are the findings of
    /// [`AdmissionRequest::old_json`].
    pub fn of_new_findings(findings: Vec<Finding>, before: &[Finding]) -> Self {
        let known: BTreeSet<(&str, &str)> = before
            .iter()
            .map(|finding| (finding.field.as_str(), finding.message.as_str()))
            .collect();
        let soften = |finding: Finding| {
            if known.contains(&(finding.field.as_str(), finding.message.as_str())) {
                Finding::warning(finding.field, finding.message)
            } else {
                finding
            }
        };
        Self::of_findings(findings.into_iter().map(soften).collect())
    }

    /// Refuse it; `message` says what is wrong and what to write instead.
    pub fn refuse(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Refuse(vec![Finding::error(field, message)]),
            warnings: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrong_before_is_only_said() {
        let old = Finding::error("a", "is wrong");
        let new = Finding::error("b", "is wrong");
        let response =
            AdmissionResponse::of_new_findings(vec![old.clone(), new.clone()], std::slice::from_ref(&old));
        assert_eq!(response.verdict, Verdict::Refuse(vec![new]));
        assert_eq!(response.warnings, ["a: is wrong"]);
        let response = AdmissionResponse::of_new_findings(vec![old.clone()], &[old]);
        assert_eq!(response.verdict, Verdict::Allow);
    }

    #[test]
    fn what_is_refused_is_not_changed() {
        let mut changes = Changes::of(&serde_json::json!({}));
        let allowed = AdmissionResponse::allow();
        assert_eq!(allowed.clone().with_changes(&changes), allowed);
        assert_eq!(changes.set("/a", 1), Ok(()));
        let patch = serde_json::json!([{"op": "add", "path": "/a", "value": 1}]);
        assert_eq!(allowed.with_changes(&changes), AdmissionResponse::patch(&patch));
        let refused = AdmissionResponse::refuse("a", "is wrong");
        assert_eq!(refused.clone().with_changes(&changes), refused);
    }

    #[test]
    fn mistakes_are_left_to_the_operator_unless_there_are_changes() {
        let (error, mistake) = (Finding::error("a", "is wrong"), Finding::mistake("b", "is odd"));
        let unwise = Finding::warning("c", "is unwise");
        let mut changes = Changes::of(&serde_json::json!({}));
        let odd = AdmissionResponse::of_findings(vec![mistake.clone(), unwise.clone()]);
        assert_eq!(odd.verdict, Verdict::Refuse(vec![mistake.clone()]));
        assert_eq!(odd.warnings, ["c: is unwise"]);
        assert_eq!(odd.clone().with_changes(&changes), odd);
        let known = AdmissionResponse::of_new_findings(vec![mistake.clone()], std::slice::from_ref(&mistake));
        assert_eq!((known.verdict, known.warnings.len()), (Verdict::Allow, 1));

        assert_eq!(changes.set("/a", 1), Ok(()));
        let changed = odd.with_changes(&changes);
        assert!(matches!(changed.verdict, Verdict::Patch(_)), "{changed:?}");
        assert_eq!(changed.warnings, ["c: is unwise", "b: is odd"]);
        let wrong = AdmissionResponse::of_findings(vec![error.clone(), mistake.clone(), unwise]);
        assert_eq!(wrong.verdict, Verdict::Refuse(vec![error, mistake]));
        assert_eq!(wrong.clone().with_changes(&changes), wrong);
    }

    #[test]
    fn records_are_recorded_under_their_rust_names() {
        let condition = Condition::new("Ready", ConditionStatus::True, "AllWell", "All is well.");
        let text = serde_json::to_string(&condition).expect("json");
        assert_eq!(
            text,
            r#"{"type_":"Ready","status":"True","reason":"AllWell","message":"All is well."}"#
        );
        assert_eq!(
            serde_json::from_str::<Condition>(&text).expect("condition"),
            condition
        );
    }

    #[test]
    fn mistakes_stand_in_a_condition() {
        assert_eq!(
            Condition::questionable(&[Finding::warning("a", "b"), Finding::error("c", "d")]),
            None
        );
        let message = |findings: &[Finding]| Condition::questionable(findings).expect("mistakes").message;
        let mistakes = [
            Finding::mistake("a", "is odd"),
            Finding::mistake("", "is odd as a whole"),
        ];
        assert_eq!(message(&mistakes), "a: is odd; is odd as a whole");
        let many: Vec<Finding> = (0..7)
            .map(|n| Finding::mistake(format!("f{n}"), "is odd"))
            .collect();
        assert!(
            message(&many).ends_with("f4: is odd; and 2 more"),
            "{}",
            message(&many)
        );
        let long = message(&[Finding::mistake("ä".repeat(40_000), "is odd")]);
        assert_eq!(long.chars().count(), MISTAKE_LENGTH + 1);
        assert_eq!(Error::if_invalid(mistakes.to_vec()), Ok(()));
    }

    #[test]
    fn only_errors_make_invalid() {
        assert_eq!(Error::if_invalid(vec![Finding::warning("a", "b")]), Ok(()));
        let error = Finding::error("a", "b");
        let findings = vec![Finding::warning("c", "d"), error.clone()];
        assert_eq!(Error::if_invalid(findings), Err(Error::Invalid(vec![error])));
    }
}
