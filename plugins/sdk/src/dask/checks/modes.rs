//! Check for file modes in volumes that are octal numbers written as decimal ones.

use serde_json::Value;

use super::{Checks, join};

/// Maximum mode.
const MAX: u64 = 0o777;

/// Common file modes.
const COMMON: [u64; 18] = [
    0o400, 0o440, 0o444, 0o500, 0o550, 0o555, 0o600, 0o640, 0o644, 0o660, 0o664, 0o666, 0o700, 0o750, 0o755,
    0o770, 0o775, 0o777,
];

/// Volumes, and sources of a projected volume, whose files have modes.
const SOURCES: [&str; 3] = ["secret", "configMap", "downwardAPI"];

/// Checks all file modes in a volume.
pub(super) fn check(checks: &mut Checks, volume: &Value, path: &str) {
    for name in SOURCES {
        let (source, field) = (&volume[name], join(path, name));
        mode(checks, &source["defaultMode"], &join(&field, "defaultMode"));
        items(checks, source, &field);
    }
    let (projected, field) = (&volume["projected"], join(path, "projected"));
    mode(checks, &projected["defaultMode"], &join(&field, "defaultMode"));
    let sources = projected["sources"].as_array().into_iter().flatten();
    for (at, source) in sources.enumerate() {
        for name in SOURCES {
            items(checks, &source[name], &format!("{field}.sources[{at}].{name}"));
        }
    }
}

/// Checks the file modes in the `items` of a source.
fn items(checks: &mut Checks, source: &Value, path: &str) {
    let items = source["items"].as_array().into_iter().flatten();
    for (at, item) in items.enumerate() {
        mode(checks, &item["mode"], &format!("{path}.items[{at}].mode"));
    }
}

fn mode(checks: &mut Checks, value: &Value, field: &str) {
    match (value, value.as_u64()) {
        (Value::Null, _) => {}
        (_, Some(number)) if number > MAX => {
            let remedy = match as_octal(&number.to_string()) {
                Some(meant) => format!("write 0{number}, or {meant}, which is the same as a decimal number"),
                None => "write one from 0 to 0777".to_owned(),
            };
            checks.error(
                field,
                format!(
                    "{number} can't be a mode, which is 0777 at most, or {MAX} as a decimal number: {remedy}"
                ),
            );
        }
        (_, Some(number)) => {
            let meant = as_octal(&number.to_string()).filter(|meant| COMMON.contains(meant));
            if let Some(meant) = meant
                && !COMMON.contains(&number)
            {
                checks.mistake(
                    field,
                    format!(
                        "{number} is a decimal number, and so the mode 0{number:o}: if 0{number} is meant, write that, or \
                         {meant}, which is the same as a decimal number"
                    ),
                );
            }
        }
        (Value::String(text), _) => {
            let remedy = match as_octal(text.trim_start_matches("0o")) {
                Some(meant) => format!("write {meant}, which is {text} as a decimal number"),
                None => "write one as 0644".to_owned(),
            };
            checks.error(
                field,
                format!("a mode must be a number, and \"{text}\" is text: {remedy}"),
            );
        }
        _ => checks.error(field, format!("{value} can't be a mode: write one as 0644")),
    }
}

/// Returns the mode that the digits represent as an octal number, or `None` if they are invalid or larger than 0777.
fn as_octal(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 8).ok().filter(|mode| *mode <= MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{messages, summary};
    use super::*;

    fn findings(volume: &Value) -> Checks {
        let mut checks = Checks::default();
        check(&mut checks, volume, "v");
        checks
    }

    #[test]
    fn reports_the_field_of_each_mode() {
        let item = json!([{"key": "a", "path": "a", "mode": 600}]);
        let sources = json!([{"secret": {"items": item}}, {"serviceAccountToken": {"path": "token"}}]);
        let volume = json!({
            "name": "v", "configMap": {"defaultMode": 755}, "projected": {"defaultMode": 400, "sources": sources},
            "csi": {"volumeAttributes": {"mode": "0755"}},
        });
        let found = summary(findings(&volume));
        assert_eq!(
            found,
            [
                "error v.configMap.defaultMode",
                "mistake v.projected.defaultMode",
                "error v.projected.sources[0].secret.items[0].mode",
            ]
        );
    }

    #[test]
    fn ignores_other_fields_with_the_same_name() {
        let claim = json!({"metadata": {"labels": {"mode": "fast"}, "annotations": {"defaultMode": "x"}}});
        for volume in [
            json!({"ephemeral": {"volumeClaimTemplate": claim}}),
            json!({"csi": {"volumeAttributes": {"mode": "0755"}}}),
            json!({"flexVolume": {"options": {"mode": "0755"}}}),
            json!({"projected": {"sources": [{"serviceAccountToken": {"mode": "x"}}]}}),
            json!({"secret": "s", "configMap": {"items": "x"}, "downwardAPI": null, "projected": {"sources": {}}}),
        ] {
            assert_eq!(findings(&volume).into_findings(), [], "{volume}");
        }
    }

    #[test]
    fn accepts_common_modes() {
        for mode in COMMON.iter().chain(&[0, 0o020, 0o111, 0o640, 288]) {
            let volume = json!({"secret": {"defaultMode": mode}});
            assert_eq!(findings(&volume).into_findings(), [], "{mode}");
        }
        assert_eq!(
            findings(&json!({"secret": {"defaultMode": null}})).into_findings(),
            []
        );
    }

    #[test]
    fn the_message_contains_the_decimal_number() {
        let messages = |mode: Value| messages(findings(&json!({"secret": {"defaultMode": mode}}))).join("; ");
        for (mode, part) in [
            (json!(755), "write 0755, or 493, which"),
            (json!(644), "write 0644, or 420, which"),
            (json!(888), "write one from 0 to 0777"),
            (
                json!(400),
                "the mode 0620: if 0400 is meant, write that, or 256, which",
            ),
            (
                json!(444),
                "the mode 0674: if 0444 is meant, write that, or 292, which",
            ),
            (json!("0644"), "write 420, which is 0644"),
            (json!("rw"), "write one as 0644"),
            (json!(-1), "-1 can't be a mode"),
            (json!(6.5), "6.5 can't be a mode"),
        ] {
            assert!(
                messages(mode.clone()).contains(part),
                "{mode}: {}",
                messages(mode.clone())
            );
        }
    }
}
