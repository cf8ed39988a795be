//! Preparation of a manifest for planning: sets its name, applies defaults and validates it.

use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::Value;

use crate::documents::DASK_GROUP;

use super::{Level, PreparedResource, Renderer, uid};
use dask_operator_evaluator::fields::FIELDS;
use dask_operator_evaluator::findings::retain_for_author;
use dask_operator_evaluator::manifest::{generated_name, receive};
use dask_operator_evaluator::suggest::did_you_mean;

/// API group of Dask Gateway, which has its own DaskCluster kind.
const GATEWAY_GROUP: &str = "gateway.dask.org";

/// Kinds of the operator's plugin resources, which have no children.
const PLUGINS: [&str; 2] = ["DaskPlugin", "ClusterDaskPlugin"];

/// Minimum similarity, from 0 to 1, at which an unknown API group counts as a misspelling of the Dask group.
const MIN_SIMILARITY: f64 = 0.85;

/// Namespace of objects that do not set one, unless the caller gives another.
const DEFAULT_NAMESPACE: &str = "default";

impl Renderer<'_> {
    /// Completes, defaults and validates an object, and adds it to `resources`. Returns its index there, or `None` if it can't
    /// be used; the reason has then been reported.
    ///
    /// `written` is true for an object from a manifest and false for a planned child. For a child, only errors are reported:
    /// warnings have already been reported for the resource that the child belongs to.
    pub(super) fn prepare(&mut self, source: &str, mut object: Value, written: bool) -> Option<usize> {
        let dask = self.dask_kind(source, &object)?;
        let received = match written {
            true => receive(dask, &mut object),
            false => Vec::new(),
        };
        let (errors, mut dropped): (Vec<_>, Vec<_>) = received
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error);
        // The component may have a more specific message about the name.
        let (mut name_errors, mut errors): (Vec<_>, Vec<_>) = errors
            .into_iter()
            .partition(|finding| finding.field == "metadata.name" && object["metadata"]["name"].is_string());
        let is_namespace_known = self.namespace.is_some() || !object["metadata"]["namespace"].is_null();
        let Some(title) = self.identify(dask, source, &mut object) else {
            let title = dask.kind();
            if !errors.iter().any(|finding| is_about_name(&finding.field)) {
                self.report(
                    Level::Error,
                    source,
                    title,
                    "metadata.name",
                    "it is missing: give the resource a name",
                );
            }
            errors.append(&mut dropped);
            self.report_findings(source, title, errors);
            return None;
        };

        if written {
            let mut unknown = FIELDS.unknown(dask, &object);
            unknown.extend(FIELDS.of_kubernetes(dask, &object));
            let (refused, others): (Vec<_>, Vec<_>) = unknown
                .into_iter()
                .partition(|finding| finding.severity == Severity::Error);
            errors.extend(refused);
            dropped.extend(others);
        }
        let is_accepted = errors.is_empty();
        self.report_findings(source, &title, errors);
        let mut is_valid = true;
        let plugin = self.plugins.logic.of(dask).clone();
        let given = object.clone();
        match plugin.logic.default(&object.to_string(), &plugin.settings) {
            Err(failure) => {
                self.report_failure(source, &title, &failure);
                return None;
            }
            Ok(Err(error)) => {
                self.report_error(source, &title, error);
                is_valid = false;
            }
            Ok(Ok(defaulted)) => match serde_json::from_str(&defaulted) {
                Ok(defaulted) => object = defaulted,
                Err(error) => {
                    self.report(
                        Level::Error,
                        source,
                        &title,
                        "",
                        format!("the component's `default` gave no JSON: {error}"),
                    );
                    return None;
                }
            },
        }
        match plugin.logic.validate(
            &object_to_validate(&object, is_namespace_known),
            None,
            &plugin.settings,
        ) {
            Err(failure) => {
                self.report_failure(source, &title, &failure);
                return None;
            }
            // If `default` failed, its error has been reported.
            Ok(mut findings) if is_valid => {
                findings.retain(|finding| written || finding.severity == Severity::Error);
                if written {
                    // Values that the API server refuses by the schema, unless the component reports an error for the field.
                    let mut invalid_values = FIELDS.values(dask, &object);
                    invalid_values.append(&mut name_errors);
                    invalid_values.retain(|error| !is_refused(&findings, &error.field));
                    findings.append(&mut invalid_values);
                }
                is_valid = !findings.iter().any(|finding| finding.severity == Severity::Error);
                retain_for_author(&mut findings, &given, &object);
                // The component may have a more specific message about a field.
                dropped.retain(|finding| !findings.iter().any(|other| other.field == finding.field));
                self.report_findings(source, &title, dropped);
                self.report_findings(source, &title, findings);
            }
            Ok(findings) => {
                name_errors.retain(|error| !is_refused(&findings, &error.field));
                self.report_findings(source, &title, name_errors);
            }
        }
        let parent = match Parent::from_object(&object) {
            Ok(parent) => parent,
            Err(error) => {
                if is_valid {
                    self.report(Level::Error, source, &title, "", error.to_string());
                }
                return None;
            }
        };
        self.resources.push(PreparedResource {
            source: source.to_owned(),
            parent,
            object,
            is_valid: is_valid && is_accepted,
            written,
            replaced: false,
        });
        Some(self.resources.len() - 1)
    }

    /// Returns the Dask kind of an object; `None` if it is no Dask resource. The reason has then been reported.
    fn dask_kind(&mut self, source: &str, object: &Value) -> Option<DaskKind> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (api_version, kind) = (text("/apiVersion"), text("/kind"));
        let title = format!("{kind} {}", text("/metadata/name"));
        let title = title.trim();
        if api_version.is_empty() || kind.is_empty() {
            let missing = if kind.is_empty() { "kind" } else { "apiVersion" };
            self.report(
                Level::Error,
                source,
                title,
                missing,
                "it is missing: every manifest has apiVersion and kind",
            );
            return None;
        }
        let dask = DaskKind::from_kind(kind);
        if !api_version.starts_with(DASK_GROUP) {
            if dask.is_some() && is_misspelt(api_version) {
                let text = format!("{api_version:?} has no {kind}: write {DASK_API_VERSION}");
                self.report(Level::Error, source, title, "apiVersion", text);
            } else {
                let text = format!("skipped: {api_version} {kind} is no Dask resource");
                self.report(Level::Note, source, title, "", text);
            }
            return None;
        }
        let is_plugin = PLUGINS.contains(&kind);
        if dask.is_none() && !is_plugin {
            let text = format!(
                "{kind:?} is unknown; {}",
                did_you_mean(kind, DaskKind::ALL.map(DaskKind::kind))
            );
            self.report(Level::Error, source, title, "kind", text);
            return None;
        }
        if api_version != DASK_API_VERSION {
            let text = format!("{api_version:?} is unknown: write {DASK_API_VERSION}");
            self.report(Level::Error, source, title, "apiVersion", text);
            return None;
        }
        if is_plugin {
            let text = format!("skipped: a {kind} has no children");
            self.report(Level::Note, source, title, "", text);
        }
        dask
    }

    /// Sets the name, the namespace and the uid that the API server would set, and returns the title for messages. Returns
    /// `None` if the object has no name.
    fn identify(&mut self, kind: DaskKind, source: &str, object: &mut Value) -> Option<String> {
        let metadata = object.get_mut("metadata")?.as_object_mut()?;
        let text = |field: &str| {
            let text = metadata.get(field).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let namespace =
            text("namespace").unwrap_or_else(|| self.namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned());
        let (name, is_generated) = match (text("name"), text("generateName")) {
            (Some(name), _) => (name, false),
            // A name that is not a string has already been reported.
            (None, Some(prefix))
                if metadata
                    .get("name")
                    .is_none_or(|name| name.is_null() || name == "") =>
            {
                let key = (kind, namespace.clone(), prefix.clone());
                let number = self.generated.entry(key).or_default();
                *number += 1;
                (generated_name(&prefix, *number), true)
            }
            _ => return None,
        };
        // Only the API server assigns real uids. A uid derived from the name makes the names of the children reproducible.
        metadata.insert("uid".into(), uid(kind.kind(), &namespace, &name).into());
        metadata.insert("namespace".into(), namespace.into());
        metadata.insert("name".into(), name.as_str().into());
        let title = format!("{} {name}", kind.kind());
        if is_generated {
            let text = format!(
                "the API server appends five characters to it, and the name is `{name}` here: create the resource with \
                 `kubectl create`, because `kubectl apply` needs `metadata.name`"
            );
            self.report(Level::Note, source, &title, "metadata.generateName", text);
        }
        Some(title)
    }
}

/// Returns the object to validate as JSON. The namespace is removed if it is unknown, because `kubectl apply` or another
/// tool sets it.
fn object_to_validate(object: &Value, is_namespace_known: bool) -> String {
    if is_namespace_known {
        return object.to_string();
    }
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    object.to_string()
}

/// Returns true if the findings contain an error for the field.
fn is_refused(findings: &[Finding], field: &str) -> bool {
    let mut errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    errors.any(|finding| finding.field == field)
}

/// Returns true if a finding for this field explains why an object has no name.
fn is_about_name(field: &str) -> bool {
    matches!(field, "metadata" | "metadata.name" | "metadata.generateName")
}

/// Returns true if `api_version` is most likely a misspelling of the Dask API version. The kind must be a Dask kind.
fn is_misspelt(api_version: &str) -> bool {
    // A version without a group belongs to Kubernetes' core group, which has no Dask kinds.
    let Some((group, _)) = api_version.split_once('/') else {
        return true;
    };
    let group = group.trim().to_ascii_lowercase();
    let similarity = strsim::normalized_damerau_levenshtein(&group, DASK_GROUP.trim_end_matches('/'));
    group != GATEWAY_GROUP && (group == "dask.org" || similarity >= MIN_SIMILARITY)
}
