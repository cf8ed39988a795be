//! Tests of the page about conditions, `docs/reference/conditions.md`.

use dask_operator_golden_tests::{conditions, files};
use serde_json::Value;

#[test]
fn the_page_is_up_to_date() {
    let page = files::folder("../../docs/reference/conditions.md");
    if let Some(difference) = files::compare(&page, &conditions::page()) {
        panic!("{difference}\ndocs/reference/conditions.md differs from the code: run `make generate`");
    }
}

/// Reads a golden file or its input.
fn read(folder: &str, name: &str) -> Value {
    let text = std::fs::read_to_string(files::folder(folder).join(name)).expect("a file");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{folder}/{name}: {error}"))
}

#[test]
fn conditions_of_plans_are_documented() {
    let all = conditions::all();
    let mut checked = 0;
    for path in files::inputs(&files::folder("plans")).expect("plans") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let kind = &read("observations", name)["parent"]["kind"];
        let plan = read("plans", name);
        // `TYPE STATUS REASON: MESSAGE`
        for condition in plan["conditions"].as_array().into_iter().flatten() {
            let words: Vec<_> = condition
                .as_str()
                .expect("a text")
                .split([' ', ':'])
                .take(3)
                .collect();
            let [type_, _, reason] = words[..] else {
                panic!("{name}: {condition}");
            };
            let documented = all.iter().find(|documented| documented.name == type_);
            let documented = documented.unwrap_or_else(|| panic!("{name}: {type_} is not documented"));
            let kinds = documented.kinds;
            assert!(
                kinds.is_empty() || kinds.iter().any(|documented| kind == documented),
                "{name}: {type_} is not documented for {kind}"
            );
            assert!(
                !documented.other_reasons.is_empty()
                    || documented.reasons.iter().any(|(word, _)| *word == reason),
                "{name}: the reason {reason} of {type_} is not documented"
            );
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} conditions");
}
