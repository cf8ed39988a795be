//! Search for a compiler on this machine that can build for WebAssembly.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::component::TARGET;
use crate::environment;

/// The source of the standard library for WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Std {
    /// The target is installed beside the compiler.
    Installed,
    /// The sources are installed beside the compiler; cargo compiles them (98 s, once).
    Source,
}

/// A compiler that can build for [`TARGET`], with the programs and options that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// The path of cargo in the same toolchain.
    pub cargo: PathBuf,
    /// The path of rustc.
    pub rustc: PathBuf,
    /// The source of its standard library.
    pub std: Std,
    /// The path of a linker; `None` if the toolchain contains its own.
    pub linker: Option<PathBuf>,
}

/// The error if no compiler on this machine can build for WebAssembly.
#[derive(Debug, thiserror::Error)]
#[error(
    "no Rust compiler here can build for WebAssembly: run `rustup target add {TARGET}`, or on Debian \
     `apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src`"
)]
pub struct CompilerNotFound;

/// A Rust toolchain: a folder with `bin/rustc`, `bin/cargo` and `lib/rustlib`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Toolchain {
    root: PathBuf,
}

impl Compiler {
    /// Finds a compiler. A toolchain with the target installed is preferred to one with only the sources of the
    /// standard library. Among equals, the toolchain that builds the caller comes first (`CARGO`, set in build
    /// scripts), then the one on `PATH`, then the distribution's in `/usr`.
    ///
    /// Reads folders and runs `rustc --print sysroot` with the `rustc` on `PATH`; starts no other program.
    ///
    /// # Errors
    ///
    /// Returns an error if no toolchain has the target or the sources of its standard library.
    pub fn find() -> Result<Self, CompilerNotFound> {
        let toolchains = toolchains(std::env::var_os("CARGO").map(PathBuf::from), path_sysroot());
        Self::among(&toolchains)
    }

    fn among(toolchains: &[Toolchain]) -> Result<Self, CompilerNotFound> {
        let chosen = [Std::Installed, Std::Source].into_iter().find_map(|std| {
            let toolchain = toolchains.iter().find(|toolchain| toolchain.has(std))?;
            let linker = if toolchain.linker().is_some() {
                None
            } else {
                linker(toolchains)
            };
            Some(Self {
                cargo: toolchain.program("cargo"),
                rustc: toolchain.program("rustc"),
                std,
                linker,
            })
        });
        chosen.ok_or(CompilerNotFound)
    }

    /// Returns a cargo command that uses this compiler and inherits nothing of the outer build's environment. Both
    /// programs are given by path, because another cargo or compiler may come first on `PATH`.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(&self.cargo);
        environment::scrub(&mut cargo);
        cargo.env("RUSTC", &self.rustc);
        cargo
    }

    /// Returns a cargo command that builds for [`TARGET`]. The caller adds packages and the target directory.
    pub(crate) fn cargo_build(&self) -> Command {
        let mut cargo = self.cargo();
        if let Some(linker) = &self.linker {
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        cargo.args(["build", "--target", TARGET]);
        if self.std == Std::Source {
            // Compiling the standard library is a nightly feature of cargo. It requires that sources and compiler are of
            // the same release, which is the case here.
            cargo.env("RUSTC_BOOTSTRAP", "1");
            cargo.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="]);
        }
        cargo
    }
}

impl Toolchain {
    fn program(&self, name: &str) -> PathBuf {
        self.root.join("bin").join(name)
    }

    fn rustlib(&self) -> PathBuf {
        self.root.join("lib/rustlib")
    }

    fn has(&self, std: Std) -> bool {
        let needed = match std {
            Std::Installed => self.rustlib().join(TARGET).join("lib"),
            Std::Source => self.rustlib().join("src/rust/library/std/Cargo.toml"),
        };
        needed.exists() && self.program("rustc").exists() && self.program("cargo").exists()
    }

    /// Returns the toolchain's `rust-lld`, which rustup's toolchains contain and distributions omit.
    fn linker(&self) -> Option<PathBuf> {
        let hosts = std::fs::read_dir(self.rustlib()).ok()?;
        hosts
            .flatten()
            .map(|host| host.path().join("bin/rust-lld"))
            .find(|linker| linker.exists())
    }
}

/// Returns the toolchains on this machine, in order of preference and without duplicates.
fn toolchains(caller: Option<PathBuf>, on_path: Option<PathBuf>) -> Vec<Toolchain> {
    // <root>/bin/cargo. A rustup proxy has no lib/rustlib beside it, so `Toolchain::has` rejects it later.
    let of_caller = caller.and_then(|cargo| Some(cargo.parent()?.parent()?.to_path_buf()));
    let mut found: Vec<Toolchain> = Vec::new();
    for root in [of_caller, on_path, Some(PathBuf::from("/usr"))]
        .into_iter()
        .flatten()
    {
        let toolchain = Toolchain { root };
        if !found.contains(&toolchain) {
            found.push(toolchain);
        }
    }
    found
}

/// Returns the folder of the toolchain whose `rustc` comes first on `PATH`.
fn path_sysroot() -> Option<PathBuf> {
    let mut rustc = Command::new("rustc");
    environment::scrub(&mut rustc);
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(sysroot.trim()))
}

/// Returns a linker for WebAssembly: the one of any toolchain, else LLVM's on `PATH`, where Debian installs it.
fn linker(toolchains: &[Toolchain]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    toolchains
        .iter()
        .find_map(Toolchain::linker)
        .or_else(|| wasm_ld(&on_path))
}

/// Returns the path of `wasm-ld`, or of the newest `wasm-ld-<version>`, in these folders.
fn wasm_ld(folders: &[PathBuf]) -> Option<PathBuf> {
    let version = |path: &Path| -> Option<u32> {
        let name = path.file_name()?.to_str()?;
        if name == "wasm-ld" {
            Some(u32::MAX)
        } else {
            name.strip_prefix("wasm-ld-")?.parse().ok()
        }
    };
    let files = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten();
    files
        .map(|file| file.path())
        .filter(|path| version(path).is_some())
        .max_by_key(|path| version(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(root: &Path, parts: &[&str]) -> Toolchain {
        for part in ["bin/rustc", "bin/cargo"].iter().chain(parts) {
            let path = root.join(part);
            std::fs::create_dir_all(path.parent().expect("has a parent")).expect("folder");
            std::fs::write(path, "").expect("file");
        }
        Toolchain {
            root: root.to_path_buf(),
        }
    }

    const INSTALLED: &str = "lib/rustlib/wasm32-unknown-unknown/lib/libstd.rlib";
    const SOURCE: &str = "lib/rustlib/src/rust/library/std/Cargo.toml";
    const LLD: &str = "lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld";

    #[test]
    fn prefers_an_installed_target_to_sources() {
        let folder = tempfile::tempdir().expect("folder");
        let with_source = toolchain(&folder.path().join("a"), &[SOURCE, LLD]);
        let with_target = toolchain(&folder.path().join("b"), &[INSTALLED]);
        let compiler = Compiler::among(&[with_source.clone(), with_target]).expect("compiler");
        assert_eq!(compiler.std, Std::Installed);
        assert_eq!(compiler.rustc, folder.path().join("b/bin/rustc"));
        assert_eq!(compiler.linker, Some(folder.path().join("a").join(LLD)));

        let compiler = Compiler::among(&[with_source]).expect("compiler");
        assert_eq!(compiler.std, Std::Source);
        assert_eq!(compiler.linker, None, "the toolchain contains a linker");
    }

    #[test]
    fn the_error_names_both_remedies() {
        let folder = tempfile::tempdir().expect("folder");
        let bare = toolchain(folder.path(), &[LLD]);
        let message = Compiler::among(&[bare]).expect_err("no compiler").to_string();
        assert!(
            message.contains("rustup target add wasm32-unknown-unknown"),
            "{message}"
        );
        assert!(
            message.contains("apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src")
        );
        assert!(!message.contains('\n'));
    }

    #[test]
    fn lists_the_callers_toolchain_first_and_once() {
        let found = toolchains(Some("/a/bin/cargo".into()), Some("/a".into()));
        assert_eq!(
            found,
            [Toolchain { root: "/a".into() }, Toolchain { root: "/usr".into() }]
        );
    }

    #[test]
    fn finds_the_newest_linker_of_llvm() {
        let folder = tempfile::tempdir().expect("folder");
        for name in ["wasm-ld-14", "wasm-ld-19", "wasm-ld-x", "ld"] {
            std::fs::write(folder.path().join(name), "").expect("file");
        }
        let found = wasm_ld(&[folder.path().to_path_buf()]);
        assert_eq!(found, Some(folder.path().join("wasm-ld-19")));
    }
}
