//! A manifest becomes a resource that can be planned for: named, defaulted and checked.

use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::Value;

use super::{Known, Level, Renderer, uid};
use crate::fields::{FIELDS, instead};
use crate::findings::keep_for_author;
use crate::manifest::{generated_name, receive};

/// What the `apiVersion` of all Dask resources begins with.
pub(crate) const DASK_GROUP: &str = "kubernetes.dask.org/";

/// The group of Dask Gateway, which has a DaskCluster of its own.
const GATEWAY_GROUP: &str = "gateway.dask.org";

/// Kinds of the operator that have no children.
const PLUGINS: [&str; 2] = ["DaskPlugin", "ClusterDaskPlugin"];

/// How alike another group and that of the Dask resources must be for one to be a mistake for the other.
const ALIKE: f64 = 0.85;

/// Where objects go that name no namespace, unless it is known.
const DEFAULT_NAMESPACE: &str = "default";

impl Renderer<'_> {
    /// Completes, defaults and checks an object; gives its place in `known`. Of one that isn't
    /// `written` by somebody but planned, only errors are said: what is unwise in it was said of
    /// what it comes from.
    pub(super) fn prepare(&mut self, source: &str, mut object: Value, written: bool) -> Option<usize> {
        let dask = self.dask_kind(source, &object)?;
        let received = match written {
            true => receive(dask, &mut object),
            false => Vec::new(),
        };
        let (wrong, mut dropped): (Vec<_>, Vec<_>) = received
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error);
        // The component may say more of the name.
        let (mut of_name, mut wrong): (Vec<_>, Vec<_>) = wrong
            .into_iter()
            .partition(|finding| finding.field == "metadata.name" && object["metadata"]["name"].is_string());
        let is_namespace_known = self.namespace.is_some() || !object["metadata"]["namespace"].is_null();
        let Some(title) = self.identify(dask, source, &mut object) else {
            let title = dask.kind();
            if !wrong.iter().any(|finding| is_about_name(&finding.field)) {
                self.say(
                    Level::Error,
                    source,
                    title,
                    "metadata.name",
                    "it is missing: give the resource a name",
                );
            }
            wrong.append(&mut dropped);
            self.findings(source, title, wrong);
            return None;
        };

        if written {
            let mut unknown = FIELDS.unknown(dask, &object);
            unknown.extend(FIELDS.of_kubernetes(dask, &object));
            let (errors, others): (Vec<_>, Vec<_>) = unknown
                .into_iter()
                .partition(|finding| finding.severity == Severity::Error);
            wrong.extend(errors);
            dropped.extend(others);
        }
        let is_right = wrong.is_empty();
        self.findings(source, &title, wrong);
        let mut fit = true;
        let logic = self.deciders.logic(dask);
        let settings = self.deciders.settings(dask);
        let given = object.clone();
        match logic.default(&object.to_string(), settings) {
            Err(failure) => {
                self.failure(source, &title, &failure);
                return None;
            }
            Ok(Err(error)) => {
                self.error(source, &title, error);
                fit = false;
            }
            Ok(Ok(defaulted)) => match serde_json::from_str(&defaulted) {
                Ok(defaulted) => object = defaulted,
                Err(error) => {
                    self.say(
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
        match logic.validate(&judged(&object, is_namespace_known), None, settings) {
            Err(failure) => {
                self.failure(source, &title, &failure);
                return None;
            }
            // What kept it from being defaulted has been said.
            Ok(mut findings) if fit => {
                findings.retain(|finding| written || finding.severity == Severity::Error);
                if written {
                    // The API server's refusals by the definition, where the component has none of its own.
                    let mut others = FIELDS.values(dask, &object);
                    others.append(&mut of_name);
                    others.retain(|wrong| !is_refused(&findings, &wrong.field));
                    findings.append(&mut others);
                }
                fit = !findings.iter().any(|finding| finding.severity == Severity::Error);
                keep_for_author(&mut findings, &given, &object);
                // The component may say more of a field.
                dropped.retain(|finding| !findings.iter().any(|other| other.field == finding.field));
                self.findings(source, &title, dropped);
                self.findings(source, &title, findings);
            }
            Ok(findings) => {
                of_name.retain(|wrong| !is_refused(&findings, &wrong.field));
                self.findings(source, &title, of_name);
            }
        }
        let parent = match Parent::from_object(&object) {
            Ok(parent) => parent,
            Err(error) => {
                if fit {
                    self.say(Level::Error, source, &title, "", error.to_string());
                }
                return None;
            }
        };
        self.known.push(Known {
            source: source.to_owned(),
            parent,
            object,
            fit: fit && is_right,
            written,
            replaced: false,
        });
        Some(self.known.len() - 1)
    }

    /// Which Dask resource an object is. None where it is none; why was said.
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
            self.say(
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
            if dask.is_some() && is_mistaken(api_version) {
                let text = format!("{api_version:?} has no {kind}: write {DASK_API_VERSION}");
                self.say(Level::Error, source, title, "apiVersion", text);
            } else {
                let text = format!("skipped: {api_version} {kind} is no Dask resource");
                self.say(Level::Note, source, title, "", text);
            }
            return None;
        }
        let is_plugin = PLUGINS.contains(&kind);
        if dask.is_none() && !is_plugin {
            let text = format!(
                "{kind:?} is unknown; {}",
                instead(kind, DaskKind::ALL.map(DaskKind::kind))
            );
            self.say(Level::Error, source, title, "kind", text);
            return None;
        }
        if api_version != DASK_API_VERSION {
            let text = format!("{api_version:?} is unknown: write {DASK_API_VERSION}");
            self.say(Level::Error, source, title, "apiVersion", text);
            return None;
        }
        if is_plugin {
            let text = format!("skipped: a {kind} has no children");
            self.say(Level::Note, source, title, "", text);
        }
        dask
    }

    /// Gives an object the name, the namespace and the uid that the API server would give it, and returns its title. None
    /// where it has no name.
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
            // What is there and is no text has been said.
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
        // Only the API server gives uids; this one makes names the same each time.
        metadata.insert("uid".into(), uid(kind.kind(), &namespace, &name).into());
        metadata.insert("namespace".into(), namespace.into());
        metadata.insert("name".into(), name.as_str().into());
        let title = format!("{} {name}", kind.kind());
        if is_generated {
            let text = format!(
                "the API server appends five characters to it, and the name is `{name}` here: create the resource with \
                 `kubectl create`, because `kubectl apply` needs `metadata.name`"
            );
            self.say(Level::Note, source, &title, "metadata.generateName", text);
        }
        Some(title)
    }
}

/// The text of an object that is to be validated: without a namespace where `kubectl apply` or another tool will name it.
fn judged(object: &Value, is_namespace_known: bool) -> String {
    if is_namespace_known {
        return object.to_string();
    }
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    object.to_string()
}

/// Whether there is an error about a field among findings.
fn is_refused(findings: &[Finding], field: &str) -> bool {
    let mut errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    errors.any(|finding| finding.field == field)
}

/// Whether a finding about this field says why an object has no name.
fn is_about_name(field: &str) -> bool {
    matches!(field, "metadata" | "metadata.name" | "metadata.generateName")
}

/// Whether an `apiVersion` is most probably a mistake for that of the Dask resources, where the kind is one of theirs.
fn is_mistaken(api_version: &str) -> bool {
    // What has no group is of Kubernetes' core, which has no such kinds.
    let Some((group, _)) = api_version.split_once('/') else {
        return true;
    };
    let group = group.trim().to_ascii_lowercase();
    let likeness = strsim::normalized_damerau_levenshtein(&group, DASK_GROUP.trim_end_matches('/'));
    group != GATEWAY_GROUP && (group == "dask.org" || likeness >= ALIKE)
}
