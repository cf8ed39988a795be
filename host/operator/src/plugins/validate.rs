//! Admission checks of plugin resources, before anything is fetched.

use dask_operator_api::{ClusterDaskPlugin, DaskPlugin};
use dask_operator_evaluator::logic::title;
use dask_operator_runtime::{Component, Interface};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::plugins::catalog::Catalog;
use crate::plugins::limits;
use crate::plugins::resource::{PluginKind, Resource};
use crate::plugins::sources::Sources;
use crate::plugins::time_budget::TenantComponent;

/// Findings about a plugin resource at admission. Each is a pair of the field and the message; the field is empty if the message
/// names it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    /// Reasons why the resource could never become active here.
    pub(crate) refusals: Vec<(String, String)>,
    /// Fields that can't be checked yet, or whose value has no effect.
    pub(crate) warnings: Vec<(String, String)>,
}

/// Returns the reasons why a `DaskPlugin`, or a `ClusterDaskPlugin` if `of_cluster`, could never become active here: a source
/// that is not allowed, or invalid limits or an invalid selector. If its component is in the `catalog` already, also settings
/// that the component refuses and interfaces that it lacks. Blocks the thread.
#[must_use]
pub(crate) fn check(sources: &Sources, catalog: &Catalog, object: &Value, of_cluster: bool) -> Remarks {
    let resource = if of_cluster {
        read::<ClusterDaskPlugin>(object)
    } else {
        read::<DaskPlugin>(object)
    };
    let mut remarks = Remarks::default();
    let resource = match resource {
        Ok(resource) => resource,
        Err(refusal) => {
            remarks.refusals.push(refusal);
            return remarks;
        }
    };
    let checked = resource.check();
    let is_fine = checked.is_ok();
    if let Err(failure) = checked {
        remarks.refusals.push((String::new(), failure.message));
    }
    if let Err(failure) = sources.check(&resource) {
        remarks.refusals.push(("spec.source".to_owned(), failure.message));
    }
    let wanted = resource.spec.limits.as_ref();
    let most = sources.rights.max_limits(&resource);
    match limits::limits(wanted, &most) {
        Err(failure) => remarks.refusals.push((String::new(), failure.message)),
        Ok(_) => remarks.warnings.extend(limits::beyond(wanted, &most)),
    }
    let spec = &resource.spec;
    let loaded = catalog.loaded(&resource.id, &spec.source, spec.digest.as_deref());
    if loaded.is_none() {
        let named = spec.interfaces.iter().flatten();
        let named: Vec<_> = named
            .filter_map(|interface| Interface::from_name(interface.name()))
            .collect();
        if let Err(failure) = sources.rights.check(&resource, &named) {
            remarks.refusals.push((String::new(), failure.message));
        }
    }
    match loaded {
        Some(component) if is_fine => check_component(component, &resource, sources, &mut remarks),
        None if spec
            .settings
            .as_ref()
            .is_some_and(|settings| !settings.is_empty()) =>
        {
            let message = "they are checked when the component is loaded, which it is not yet: the condition Ready will \
                           say whether they are right";
            remarks.warnings.push((SETTINGS.to_owned(), message.to_owned()));
        }
        _ => {}
    }
    remarks
}

const SETTINGS: &str = "spec.settings";

/// Checks whether the component supports the interfaces and settings that the resource requests.
fn check_component(component: &Component, resource: &Resource, sources: &Sources, remarks: &mut Remarks) {
    let wanted = resource.requested_interfaces(&title(component), component.interfaces());
    if let Err(failure) = wanted.and_then(|wanted| sources.rights.check(resource, &wanted)) {
        remarks.refusals.push((String::new(), failure.message));
    }
    let settings = resource.settings();
    let said = match resource.id.namespace {
        Some(_) => {
            TenantComponent { inner: component }.call(|component| component.validate_settings(&settings))
        }
        None => component.validate_settings(&settings),
    };
    match said {
        Ok(findings) => remarks.refusals.extend(findings.into_iter().map(|finding| {
            let field = match finding.field.as_str() {
                "" => SETTINGS.to_owned(),
                field if field.starts_with('[') => format!("{SETTINGS}{field}"),
                field => format!("{SETTINGS}.{field}"),
            };
            (field, format!("{} (says {})", finding.message, title(component)))
        })),
        // A failure here is no reason to refuse the resource: it must be possible to replace a broken component.
        Err(error) => remarks
            .warnings
            .push((SETTINGS.to_owned(), format!("they can't be checked: {error}"))),
    }
}

fn read<K: PluginKind + DeserializeOwned>(object: &Value) -> Result<Resource, (String, String)> {
    let object: Result<K, _> = serde_json::from_value(object.clone());
    object.map(PluginKind::read).map_err(|error| {
        (
            String::new(),
            format!("it can't be read as a {}: {error}", K::kind(&())),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dask_operator_runtime::{CallLimits, Engine, EngineConfig};
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::key::PluginId;
    use crate::plugins::entry::LoadedComponent;
    use crate::plugins::entry::{Entry, Scope};

    #[rstest]
    #[case::fine(json!({"source": {"configMap": {"name": "a", "key": "b"}}}), &[])]
    #[case::source(
        json!({"source": {"oci": {"image": "ghcr.io/other/policy:1"}}, "limits": {"memory": "much"}}),
        &["spec.source: ", ": spec.limits.memory: \"much\" is no amount of bytes: write it as 64Mi"]
    )]
    #[case::selector(
        json!({"source": {"configMap": {"name": "a", "key": "b"}},
               "selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
        &[": spec.selector makes no sense"]
    )]
    #[case::settings(
        json!({"source": {"configMap": {"name": "a", "key": "b"}}, "settings": {"a": "a".repeat(300_000)}}),
        &[": spec.settings: they have 300008 bytes, and may have 262144"]
    )]
    #[case::interfaces(
        json!({"source": {"configMap": {"name": "a", "key": "b"}}, "interfaces": ["policy", "job"]}),
        &[": spec.interfaces: a DaskPlugin may not stand for job here, but for policy"]
    )]
    #[case::no_source(json!({}), &[": it can't be read as a DaskPlugin: missing field `source`"])]
    fn refuses_specs_that_can_never_become_active(#[case] spec: Value, #[case] expected: &[&str]) {
        let configmap = "configmap".parse().unwrap_or_else(|error| panic!("{error}"));
        let sources = Sources {
            tenants: vec![configmap],
            ..Sources::default()
        };
        let object = json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskPlugin",
            "metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        let said = check(&sources, &Catalog::default(), &object, false);
        let said: Vec<_> = said
            .refusals
            .iter()
            .map(|(field, text)| format!("{field}: {text}"))
            .collect();
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(expected), "{said}");
        }
    }

    fn plugin(name: &str, spec: &Value) -> Value {
        json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "ClusterDaskPlugin", "metadata": {"name": name}, "spec": spec})
    }

    fn texts(said: &[(String, String)]) -> Vec<String> {
        said.iter()
            .map(|(field, text)| format!("{field}: {text}"))
            .collect()
    }

    #[test]
    fn a_loaded_component_checks_settings() {
        let everything = "*".parse().unwrap_or_else(|error| panic!("{error}"));
        let sources = Sources {
            cluster: vec![everything],
            ..Sources::default()
        };
        let engine = Engine::new(EngineConfig::default()).unwrap_or_else(|error| panic!("{error}"));
        let component = Component::load(
            &engine,
            "default",
            dask_operator_components::WORKER_GROUP.bytes,
            CallLimits::default(),
        );
        let component = component.unwrap_or_else(|error| panic!("{error}"));
        let digest = component.digest().to_string();
        let source = json!({"file": {"path": "/plugins/a.wasm"}});
        let loaded = Entry {
            id: PluginId {
                namespace: None,
                name: "a".into(),
            },
            scope: Scope::default(),
            order: 0,
            logic: BTreeMap::new(),
            policy: None,
            loaded: Some(LoadedComponent {
                component: component.clone(),
                source: serde_json::from_value(source.clone()).unwrap_or_default(),
            }),
        };
        let wrong = json!({"workload": "boat"});
        let mut spec = json!({"source": source, "settings": wrong});
        let of_defaults = Catalog::default().made_of(vec![component]);
        let in_force = Catalog::default().with(vec![loaded], BTreeMap::new());
        let said = |catalog: &Catalog, name: &str, spec: &Value| {
            let said = check(&sources, catalog, &plugin(name, spec), true);
            (texts(&said.refusals), texts(&said.warnings))
        };

        let (refusals, warnings) = said(&in_force, "a", &spec);
        assert_eq!(
            (refusals.len(), warnings.len()),
            (1, 0),
            "{refusals:?} {warnings:?}"
        );
        assert!(
            refusals[0].starts_with("spec.settings.workload: ")
                && refusals[0].contains("(says worker-group "),
            "{refusals:?}"
        );
        // Another plugin may receive other bytes from the same source.
        let (refusals, warnings) = said(&in_force, "b", &spec);
        assert!(refusals.is_empty() && warnings[0].starts_with("spec.settings: they are checked when"));
        let (refusals, _) = said(&of_defaults, "a", &spec);
        assert!(refusals.is_empty(), "{refusals:?}");
        // The digest identifies the same bytes, whatever their source.
        spec["digest"] = digest.into();
        for catalog in [&in_force, &of_defaults] {
            assert_eq!(said(catalog, "b", &spec).0.len(), 1);
        }
        spec["interfaces"] = json!(["policy"]);
        spec["settings"] = json!({"workload": "deployment"});
        let (refusals, _) = said(&of_defaults, "b", &spec);
        assert!(
            refusals[0].starts_with(": spec.interfaces: worker-group "),
            "{refusals:?}"
        );
    }
}
