//! Records of the contract, with constructors and accessors.
//!
//! The records are generated from `wit/types.wit`, which documents each field. All of them implement serde's traits, so
//! that observations and plans can be recorded and compared; the operator's own types have the same serialised form.

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
    /// Creates a kind from the values in a manifest: `ResourceKind::new("v1", "Pod")`.
    pub fn new(api_version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            api_version: api_version.into(),
            kind: kind.into(),
        }
    }

    /// Returns the key of the object of this kind with the given name.
    pub fn key(&self, name: impl Into<String>) -> ChildKey {
        ChildKey {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            name: name.into(),
        }
    }
}

/// Returns a value as JSON text. (`to_string` returns the same text but is many times slower, because it writes each
/// piece through a formatter.)
pub fn json_text(value: &Value) -> String {
    // Serialising a `Value` can't fail.
    serde_json::to_string(value).unwrap_or_default()
}

impl DesiredChild {
    /// Keeps an observed child as it is.
    pub fn keep(observed: &ObservedObject) -> Self {
        Self {
            key: observed.key.clone(),
            action: ChildAction::Keep,
        }
    }

    /// Applies `object` to the child, except while the observed child is being deleted: then it is kept as it is.
    pub fn apply_unless_terminating(
        observed: Option<&ObservedObject>,
        key: ChildKey,
        object: impl Borrow<Value>,
    ) -> Self {
        match observed {
            Some(observed) if observed.terminating => Self::keep(observed),
            _ => Self::apply(key, object),
        }
    }

    /// Creates the child from `object` unless it exists.
    pub fn create(key: ChildKey, object: impl Borrow<Value>) -> Self {
        Self {
            key,
            action: ChildAction::Create(json_text(object.borrow())),
        }
    }

    /// Creates the child, unless it exists, from a copy of the object of `children[original]`, which creates a child of the
    /// same kind. Wherever the name of that child occurs in the text of its object, the copy has its own name. Many children
    /// that differ only in their names are planned much faster as copies.
    pub fn copy(key: ChildKey, original: u32) -> Self {
        Self {
            key,
            action: ChildAction::Copy(original),
        }
    }

    /// Applies `object` to the child by server-side apply, and creates the child if it does not exist.
    pub fn apply(key: ChildKey, object: impl Borrow<Value>) -> Self {
        Self {
            key,
            action: ChildAction::Apply(json_text(object.borrow())),
        }
    }
}

impl Condition {
    /// Creates a condition. The host adds `lastTransitionTime` and `observedGeneration`.
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
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Event {
    /// Creates an event of type `Normal`.
    pub fn normal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            type_: EventType::Normal,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Creates an event of type `Warning`.
    pub fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            type_: EventType::Warning,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

impl Finding {
    /// Creates a finding of severity error: the object can't work. `field` is a path in the notation of kubectl; `message`
    /// states the problem and the remedy.
    pub fn error(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            field: field.into(),
            message: message.into(),
        }
    }

    /// Creates a finding of severity mistake: the object works, but very likely not as its author intends. A strict webhook
    /// refuses it.
    pub fn mistake(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Mistake,
            field: field.into(),
            message: message.into(),
        }
    }

    /// Creates a finding of severity warning: the object works but is unwise.
    pub fn warning(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            field: field.into(),
            message: message.into(),
        }
    }

    /// Returns whether the finding is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Returns field and message as one text.
    pub fn sentence(&self) -> String {
        match self.field.as_str() {
            "" => self.message.clone(),
            field => format!("{field}: {}", self.message),
        }
    }
}

impl Default for Plan {
    /// Returns a plan without children and with an empty status.
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
    /// Creates the error for an object of the host that this component can't parse. The host calls again later.
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(format!("an object could not be read: {error}"))
    }
}

impl Error {
    /// Returns the errors among the findings as [`Error::Invalid`].
    ///
    /// # Errors
    ///
    /// Returns an error if any finding is an error. Mistakes and warnings are ignored.
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
    /// Parses the parent.
    ///
    /// # Errors
    ///
    /// Returns an error if the parent is not valid JSON.
    pub fn parent_json(&self) -> Result<Value, Error> {
        Ok(serde_json::from_str(&self.parent)?)
    }

    /// Returns the children of one kind, sorted by name. Empty if the component does not declare the kind.
    pub fn children_of(&self, kind: &ResourceKind) -> &[ObservedObject] {
        self.children
            .iter()
            .find(|children| children.kind == *kind)
            .map_or(&[], |children| &children.objects)
    }

    /// Returns the child with this kind and name.
    pub fn child(&self, kind: &ResourceKind, name: &str) -> Option<&ObservedObject> {
        self.children_of(kind).iter().find(|child| child.key.name == name)
    }

    /// Returns the related object with this kind and name.
    pub fn related_object(&self, kind: &ResourceKind, name: &str) -> Option<&ObservedObject> {
        self.related_of(kind)
            .into_iter()
            .find(|object| object.key.name == name)
    }

    /// Returns the related objects of one kind.
    pub fn related_of(&self, kind: &ResourceKind) -> Vec<&ObservedObject> {
        let is = |key: &ChildKey| key.kind == kind.kind && key.api_version == kind.api_version;
        self.related.iter().filter(|object| is(&object.key)).collect()
    }
}

impl ObservedObject {
    /// Deserialises the object into `T`, which may contain only a part of its fields.
    ///
    /// # Errors
    ///
    /// Returns an error if the object does not match `T`.
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
    /// Parses the requested resource; for a deletion, the existing one.
    ///
    /// # Errors
    ///
    /// Returns an error if the object is not valid JSON.
    pub fn object_json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.object).map_err(|error| format!("the resource could not be read: {error}"))
    }

    /// Parses the resource before an update. Returns `None` for other operations.
    ///
    /// # Errors
    ///
    /// Returns an error if the object is not valid JSON.
    pub fn old_json(&self) -> Result<Option<Value>, String> {
        let old = self.old.as_deref().map(serde_json::from_str).transpose();
        old.map_err(|error| format!("the resource before the update could not be read: {error}"))
    }
}

impl ReviewRequest {
    /// Parses the parent.
    ///
    /// # Errors
    ///
    /// Returns an error if the parent is not valid JSON.
    pub fn parent_json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.parent).map_err(|error| format!("the parent could not be read: {error}"))
    }
}

/// Parses the object of a child in a list of children: of a copy, the object of its original with the name of the copy. Returns
/// `None` for a child that is kept, and for a copy without an original.
///
/// # Errors
///
/// Returns an error if the object is not valid JSON.
pub fn object_of(children: &[DesiredChild], child: &DesiredChild) -> Result<Option<Value>, String> {
    let ChildAction::Copy(original) = child.action else {
        return child.action.object_json();
    };
    match children.get(original as usize) {
        Some(DesiredChild {
            key,
            action: ChildAction::Create(text),
        }) => ChildAction::Create(text.replace(&key.name, &child.key.name)).object_json(),
        _ => Ok(None),
    }
}

impl ChildAction {
    /// Parses the object of the action. Returns `None` for [`ChildAction::Keep`] and [`ChildAction::Copy`]: a change of the
    /// object of a child also changes its copies.
    ///
    /// # Errors
    ///
    /// Returns an error if the object is not valid JSON.
    pub fn object_json(&self) -> Result<Option<Value>, String> {
        match self {
            Self::Keep | Self::Copy(_) => Ok(None),
            Self::Create(object) | Self::Apply(object) => serde_json::from_str(object)
                .map(Some)
                .map_err(|error| format!("a planned child could not be read: {error}")),
        }
    }

    /// Returns the same action with another object. [`ChildAction::Keep`] is returned unchanged. A copy becomes a child that is
    /// created from the object.
    #[must_use]
    pub fn with(&self, object: &Value) -> Self {
        match self {
            Self::Keep => Self::Keep,
            Self::Create(_) | Self::Copy(_) => Self::Create(json_text(object)),
            Self::Apply(_) => Self::Apply(json_text(object)),
        }
    }
}

impl AdmissionResponse {
    /// Allows the request.
    pub fn allow() -> Self {
        Self {
            verdict: Verdict::Allow,
            warnings: Vec::new(),
        }
    }

    /// Allows the request with a JSON Patch. [`with_changes`](Self::with_changes) creates the patch from [`Changes`].
    pub fn patch(patch: &Value) -> Self {
        Self {
            verdict: Verdict::Patch(json_text(patch)),
            warnings: Vec::new(),
        }
    }

    /// Adds changes to the response, unless it refuses the request with an error. A response can't contain both changes and
    /// findings, so mistakes become warnings, even if the webhook is strict.
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

    /// Refuses the request if the findings contain an error or a mistake. Findings of severity warning become warnings. If
    /// the webhook is not strict, the operator turns mistakes into warnings and allows the request.
    pub fn of_findings(findings: Vec<Finding>) -> Self {
        let is_warning = |finding: &Finding| finding.severity == Severity::Warning;
        let (warnings, problems): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_warning);
        Self {
            verdict: if problems.is_empty() {
                Verdict::Allow
            } else {
                Verdict::Refuse(problems)
            },
            warnings: warnings.iter().map(Finding::sentence).collect(),
        }
    }

    /// Creates a response like [`of_findings`](Self::of_findings), but turns findings that exist before the update into
    /// warnings: a policy that is installed later must not prevent users from scaling or deleting their resources. `before`
    /// are the findings for [`AdmissionRequest::old_json`].
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

    /// Refuses the request with one error. `message` states the problem and the remedy.
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
    fn existing_findings_become_warnings() {
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
    fn changes_are_not_added_to_a_refusal() {
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
    fn mistakes_become_warnings_only_beside_changes() {
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
        let refused = AdmissionResponse::of_findings(vec![error.clone(), mistake.clone(), unwise]);
        assert_eq!(refused.verdict, Verdict::Refuse(vec![error, mistake]));
        assert_eq!(refused.clone().with_changes(&changes), refused);
    }

    #[test]
    fn records_serialise_under_their_rust_names() {
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
    fn only_errors_make_an_object_invalid() {
        assert_eq!(Error::if_invalid(vec![Finding::warning("a", "b")]), Ok(()));
        let error = Finding::error("a", "b");
        let findings = vec![Finding::warning("c", "d"), error.clone()];
        assert_eq!(Error::if_invalid(findings), Err(Error::Invalid(vec![error])));
    }
}
