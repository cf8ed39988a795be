//! Imports and exports of a component, read from its bytes before it is compiled.

use dask_operator_core::text;
use wasmparser::{Chunk, Encoding, Parser, Payload};

use crate::interface::Name;
use crate::{Interface, LoadErrorKind};

/// Interfaces of the contract that a component may import: the log, and the types
/// that all interfaces share.
const IMPORTS: [&str; 2] = ["log", "types"];

/// Maximum number of imports and exports of a component. A component for this host has fewer than ten.
const MAX_NAMES: usize = 1000;

/// Maximum length of a name in a message, in bytes. Names of the contract are shorter.
const MAX_NAME_BYTES: usize = 300;

/// Returns the interfaces of the contract that a component exports. Returns an error if the
/// bytes are not a component, if it exports none of the interfaces or another version of
/// them, or if it has a forbidden import.
pub(crate) fn interfaces(wasm: &[u8]) -> Result<Vec<Interface>, LoadErrorKind> {
    if !wasm.starts_with(b"\0asm") {
        return Err(LoadErrorKind::NotWasm {
            hint: looks_like(wasm),
        });
    }
    let (imports, exports) = names(wasm)?;
    for import in &imports {
        match Name::parse(import) {
            Name::Contract(interface) if IMPORTS.contains(&interface) => {}
            Name::OtherVersion(version) => return Err(other_version(import, version)),
            Name::Contract(_) | Name::Foreign => {
                return Err(LoadErrorKind::ForbiddenImport {
                    import: import.clone(),
                });
            }
        }
    }
    let mut interfaces = Vec::new();
    for export in &exports {
        match Name::parse(export) {
            Name::Contract(interface) => interfaces.extend(Interface::from_name(interface)),
            Name::OtherVersion(version) => return Err(other_version(export, version)),
            Name::Foreign => {}
        }
    }
    if interfaces.is_empty() {
        return Err(LoadErrorKind::NoInterface { exports });
    }
    interfaces.sort();
    interfaces.dedup();
    Ok(interfaces)
}

/// Returns the names of a component's own imports and exports. Skips its nested modules and components, which the compiler
/// checks.
fn names(wasm: &[u8]) -> Result<(Vec<String>, Vec<String>), LoadErrorKind> {
    let invalid = |error: wasmparser::BinaryReaderError| LoadErrorKind::Invalid(error.to_string());
    let truncated = || LoadErrorKind::Invalid("it is truncated".to_owned());
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut parser = Parser::new(0);
    let mut rest = wasm;
    loop {
        let Chunk::Parsed { consumed, payload } = parser.parse(rest, true).map_err(invalid)? else {
            return Err(truncated());
        };
        rest = rest.get(consumed..).ok_or_else(truncated)?;
        match payload {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } => {
                return Err(LoadErrorKind::CoreModule);
            }
            Payload::ModuleSection { unchecked_range, .. }
            | Payload::ComponentSection { unchecked_range, .. } => {
                rest = rest.get(unchecked_range.len()..).ok_or_else(truncated)?;
            }
            Payload::ComponentImportSection(section) => {
                for import in section.into_iter().take(MAX_NAMES + 1) {
                    imports.push(text::line(import.map_err(invalid)?.name.name, MAX_NAME_BYTES));
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.into_iter().take(MAX_NAMES + 1) {
                    exports.push(text::line(export.map_err(invalid)?.name.name, MAX_NAME_BYTES));
                }
            }
            _ if imports.len() + exports.len() > MAX_NAMES => {
                return Err(LoadErrorKind::Invalid(format!(
                    "it has more than {MAX_NAMES} imports and exports"
                )));
            }
            Payload::End(_) => return Ok((imports, exports)),
            _ => {}
        }
    }
}

fn other_version(name: &str, version: &str) -> LoadErrorKind {
    LoadErrorKind::OtherVersion {
        name: name.to_owned(),
        version: version.to_owned(),
    }
}

/// Recognises formats that are commonly used by mistake instead of a component.
fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    let start = bytes.trim_ascii_start();
    if bytes.is_empty() {
        Some("it is empty")
    } else if start.starts_with(b"(component") || start.starts_with(b"(module") || start.starts_with(b";;") {
        Some("it looks like WebAssembly text; turn it into a binary with `wasm-tools parse`")
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        Some("it is compressed with gzip")
    } else if bytes.starts_with(b"\x7fELF") {
        Some("it is a program for this machine, or a component compiled for it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn refusal(wat: &str) -> String {
        let wasm = wat::parse_str(wat).expect("component text");
        interfaces(&wasm).expect_err("not a plugin").to_string()
    }

    #[rstest]
    #[case(b"", "it is empty")]
    #[case(b"(component)", "wasm-tools parse")]
    #[case(b"\x1f\x8b\x08", "gzip")]
    #[case(b"\x7fELF", "a program")]
    #[case(b"hello", "not WebAssembly")]
    #[case(b"\0asm\x0d\0\x01\0\xff", "not valid")]
    fn rejects_bytes_that_are_not_a_component(#[case] bytes: &[u8], #[case] expected: &str) {
        let error = interfaces(bytes).expect_err("not a component").to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[rstest]
    #[case("(module)", "core module, not a component")]
    #[case("(component)", "it exports nothing")]
    #[case(
        r#"(component (import "wasi:cli/environment@0.2.3" (instance)))"#,
        "imports `wasi:cli/environment@0.2.3`"
    )]
    #[case(
        r#"(component (import "dask:operator/cluster@0.1.0" (instance)))"#,
        "for components to export"
    )]
    #[case(
        r#"(component (import "dask:operator/log@0.2.0" (instance)))"#,
        "of version 0.2.0"
    )]
    fn rejects_components_of_another_contract(#[case] wat: &str, #[case] expected: &str) {
        let error = refusal(wat);
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn limits_the_number_of_names_and_the_length_of_messages() {
        let exports = |count: usize, name: &str| -> String {
            (0..count)
                .map(|i| format!(r#"(export "a{i}:{name}/b" (instance $empty))"#))
                .collect()
        };
        let many = format!("(component (instance $empty) {})", exports(1001, "x"));
        assert_eq!(
            refusal(&many),
            "not valid: it has more than 1000 imports and exports"
        );
        let some = format!("(component (instance $empty) {})", exports(50, &"y".repeat(1000)));
        let message = refusal(&some);
        assert!(message.ends_with("… and 40 more"), "{message}");
        assert!(message.len() < 5000, "{}", message.len());
    }

    #[test]
    fn ignores_names_of_nested_components() {
        let wasm = wat::parse_str(
            r#"(component
                (component (import "wasi:cli/environment@0.2.3" (instance)))
                (core module (import "env" "f" (func)))
                (import "dask:operator/log@0.1.0" (instance))
                (instance $empty)
                (export "dask:operator/job@0.1.0" (instance $empty))
                (export "extra:thing/other@1.0.0" (instance $empty)))"#,
        )
        .expect("component text");
        assert_eq!(interfaces(&wasm).expect("a plugin"), [Interface::Job]);
    }
}
