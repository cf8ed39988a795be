//! Environment variables that must not reach an inner cargo.
//!
//! A build script runs with dozens of variables that describe the *outer* build: its compiler, its flags, its
//! wrapper (clippy is one), its target directory. An inner build for another target must not see them. It must see
//! the configuration of the user: proxies, registries, the home directory of cargo.

use std::ffi::OsString;
use std::process::Command;

/// Prefixes of variables that are preserved although they match [`FOREIGN_PREFIXES`]: access to registries, and the
/// job server through which the outer and the inner build share the processors.
const PRESERVED_PREFIXES: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_MAKEFLAGS",
    "CARGO_TERM_",
];

/// Prefixes of variables of the outer build.
const FOREIGN_PREFIXES: [&str; 7] = [
    "CARGO",
    "CLIPPY_",
    "DEP_",
    "RUSTC",
    "RUSTDOC",
    "RUSTFLAGS",
    "__CARGO",
];

/// Names of variables of the outer build. `LD_LIBRARY_PATH` is one of them because cargo and rustup add the libraries
/// of the outer compiler to it, which another compiler would load.
const FOREIGN: [&str; 11] = [
    "DEBUG",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "HOST",
    "LD_LIBRARY_PATH",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
    "TARGET",
];

/// Returns whether the inner build must not see this variable.
fn is_foreign(name: &str) -> bool {
    if PRESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return false;
    }
    FOREIGN.contains(&name) || FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Removes the outer build's variables from the environment of `command`.
pub(crate) fn scrub(command: &mut Command) {
    scrub_of(command, std::env::vars_os());
}

fn scrub_of(command: &mut Command, variables: impl Iterator<Item = (OsString, OsString)>) {
    for (name, _) in variables {
        if name.to_str().is_some_and(is_foreign) {
            command.env_remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_the_outer_build_but_not_the_registries() {
        for foreign in [
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_NAME",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_CFG_TARGET_OS",
            "CARGO_FEATURE_STD",
            "CARGO_PROFILE_RELEASE_DEBUG",
            "CLIPPY_ARGS",
            "CLIPPY_CONF_DIR",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_LINKER",
            "RUSTDOC",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "LD_LIBRARY_PATH",
            "OUT_DIR",
            "TARGET",
        ] {
            assert!(is_foreign(foreign), "{foreign} reaches the inner build");
        }
        for preserved in [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_PROXY",
            "https_proxy",
            "CARGO_MAKEFLAGS",
        ] {
            assert!(
                !is_foreign(preserved),
                "{preserved} does not reach the inner build"
            );
        }
    }

    #[test]
    fn removes_only_foreign_variables() {
        let mut command = Command::new("true");
        let variables = [("RUSTC_WRAPPER", "sccache"), ("HOME", "/root")];
        scrub_of(
            &mut command,
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        let removed: Vec<_> = command.get_envs().collect();
        assert_eq!(removed, [("RUSTC_WRAPPER".as_ref(), None)]);
    }
}
