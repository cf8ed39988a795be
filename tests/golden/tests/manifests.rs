//! Tests of rendered manifests, on a cluster where none of the objects exists yet.

use std::collections::BTreeMap;
use std::path::Path;

use dask_operator_golden_tests::files;
use dask_operator_golden_tests::logics::{self, Logics, plugins};
use dask_operator_plugin::testing::START;
use dask_operator_render::documents;
use dask_operator_render::render::{Rendered, render};
use serde_json::Value;

#[test]
fn rendered_manifests_match_the_golden_files() {
    let (native, components) = (
        logics::native(),
        logics::components().expect("the components load"),
    );
    let checked = files::check("manifests", "rendered", |manifest| {
        let native = rendered(manifest, &native);
        let components = rendered(manifest, &components);
        let name = manifest.display();
        assert_eq!(native, components, "{name}: native code and components differ");
        text(&native)
    });
    let manifests = checked.unwrap_or_else(|failures| panic!("{failures}"));
    assert!(manifests >= 35, "only {manifests} manifests");
}

fn rendered(manifest: &Path, logics: &Logics) -> Rendered {
    let (documents, errors) = documents::read(manifest, &mut std::io::empty());
    assert!(errors.is_empty(), "{}: {errors:?}", manifest.display());
    // The golden files must not depend on the path of the checkout.
    let documents = documents.into_iter().map(|mut document| {
        document.source.file = document.source.file.file_name().expect("a name").into();
        document
    });
    let plugins = plugins(logics, &settings(manifest)).expect("the kinds of the children");
    render(documents.collect(), &plugins, None, START)
}

fn settings(manifest: &Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(manifest.with_extension("settings.yaml"));
    text.map(|text| serde_saphyr::from_str(&text).expect("settings"))
        .unwrap_or_default()
}

/// Returns the messages as comments, followed by the objects.
fn text(rendered: &Rendered) -> String {
    let messages: String = rendered
        .messages
        .iter()
        .map(|message| format!("# {message}\n"))
        .collect();
    let object = |object: &Value| serde_saphyr::to_string(object).expect("YAML");
    let objects: Vec<String> = rendered.objects.iter().map(object).collect();
    messages + &objects.join("---\n")
}
