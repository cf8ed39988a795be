//! The default components read the fields of specs by the names in `dask::fields`. These tests compare the names with the CRDs.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use dask_operator_plugin::dask::fields::{ALL, Field, Object};
use serde_json::Value;

/// Folders of the code that reads specs, below `plugins`.
const FOLDERS: [&str; 5] = ["cluster", "worker-group", "job", "autoscaler", "sdk"];

/// Fields that objects of Kubernetes have too, so that the code may read them from these by a literal.
const COMMON: [&str; 3] = ["metadata", "spec", "type"];

/// Functions that read a field by its name.
const READERS: [&str; 5] = ["member(", "object(", "workers(", "whole_number(", "duration("];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the schema of an object at `path` of a kind of resource, from its CRD.
fn schema(kind: &str, path: &str) -> Result<Value, Box<dyn Error>> {
    let file = root().join("crds").join(format!("{}.yaml", kind.to_lowercase()));
    let crd: Value = serde_saphyr::from_str(&fs::read_to_string(file)?)?;
    let mut schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for name in path.split('.') {
        schema = &schema["properties"][name];
    }
    Ok(schema.clone())
}

/// Returns the fields and values of an object that the CRDs do not have.
fn unknown(object: &Object) -> Result<Vec<String>, Box<dyn Error>> {
    let mut unknown = Vec::new();
    for (kind, path) in object.places {
        let schema = schema(kind, path)?;
        for field in object.fields {
            let property = &schema["properties"][field.name];
            if !property.is_object() {
                unknown.push(format!("{kind} {path}.{}", field.name));
            }
            let values = property["enum"].as_array().map_or(&[][..], Vec::as_slice);
            let strange = field
                .values
                .iter()
                .filter(|value| !values.iter().any(|known| known == *value));
            unknown.extend(strange.map(|value| format!("{kind} {path}.{}: {value}", field.name)));
        }
    }
    Ok(unknown)
}

#[test]
fn the_crds_have_all_fields_and_values() -> Result<(), Box<dyn Error>> {
    for object in ALL {
        assert!(!object.places.is_empty() && !object.fields.is_empty());
        assert_eq!(unknown(object)?, [""; 0]);
    }
    Ok(())
}

#[test]
fn typing_errors_are_found() -> Result<(), Box<dyn Error>> {
    let object = |places, fields| unknown(&Object { places, fields });
    const FIELDS: &[Field] = &[
        Field {
            name: "schedulerUpdate",
            values: &["Recreate", "Recreated"],
        },
        Field {
            name: "idleTimeouts",
            values: &[],
        },
        Field {
            name: "suspend",
            values: &["yes"],
        },
    ];
    assert_eq!(
        object(&[("DaskCluster", "spec")], FIELDS)?,
        [
            "DaskCluster spec.schedulerUpdate: Recreated",
            "DaskCluster spec.idleTimeouts",
            "DaskCluster spec.suspend: yes",
        ]
    );
    assert_eq!(
        object(&[("DaskJob", "spec.clusters.spec")], &FIELDS[1..2])?.len(),
        1
    );
    Ok(())
}

/// Returns the expressions in a line that read one of the fields by a literal.
fn literals(line: &str) -> Vec<String> {
    let names = ALL
        .iter()
        .flat_map(|object| object.fields)
        .map(|field| field.name);
    let names: BTreeSet<&str> = names.filter(|name| !COMMON.contains(name)).collect();
    let mut found = Vec::new();
    for name in names {
        let forms = [
            format!("[\"{name}\"]"),
            format!("get(\"{name}\")"),
            format!("get_mut(\"{name}\")"),
            format!("entry(\"{name}\")"),
        ];
        found.extend(forms.into_iter().filter(|form| line.contains(form)));
        if READERS.iter().any(|reader| line.contains(reader)) && line.contains(&format!(", \"{name}\", ")) {
            found.push(format!("\"{name}\""));
        }
    }
    // Pod specs belong to Kubernetes.
    if line.replace("pod_spec[\"", "").contains("spec[\"") {
        found.push("spec[\"".to_owned());
    }
    found
}

/// Adds the sources in a folder and the folders below it, without tests.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_test = [
            "tests",
            "tests.rs",
            "testing.rs",
            "simulation.rs",
            "properties.rs",
        ]
        .iter()
        .any(|name| path.file_name().is_some_and(|file| file == *name));
        match path.is_dir() {
            _ if is_test => {}
            true => sources(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

#[test]
fn components_read_no_field_by_a_literal() -> Result<(), Box<dyn Error>> {
    assert_eq!(literals("cluster.spec[\"schedulerUpdate\"]").len(), 2);
    assert_eq!(literals("cluster.spec[\"schedulerUpdates\"]"), ["spec[\""]);
    assert_eq!(literals("checks.object(spec, \"worker\", path)"), ["\"worker\""]);
    assert_eq!(literals("pod_spec[\"containers\"]"), [""; 0]);
    let mut files = Vec::new();
    for folder in FOLDERS {
        sources(&root().join("plugins").join(folder).join("src"), &mut files)?;
    }
    assert!(files.len() > 50, "{}", files.len());
    for file in files {
        let text = fs::read_to_string(&file)?;
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            assert_eq!(literals(line), [""; 0], "{}: {}", file.display(), line.trim());
        }
    }
    Ok(())
}
