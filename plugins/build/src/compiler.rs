//! Which compiler can build for WebAssembly on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::component::TARGET;
use crate::environment;

/// Where the standard library for WebAssembly comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Std {
    /// The target is installed beside the compiler.
    Installed,
    /// Its sources are installed beside the compiler; cargo compiles them (98 s, once).
    Source,
}

/// A compiler that can build for [`TARGET`], with all that has to be named for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// The cargo that belongs to it.
    pub cargo: PathBuf,
    /// The compiler.
    pub rustc: PathBuf,
    /// Where its standard library comes from.
    pub std: Std,
    /// A linker, where the compiler does not bring its own.
    pub linker: Option<PathBuf>,
}

/// This machine has no compiler for WebAssembly.
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
    /// Looks for a compiler, in this order: one with the target installed; one with the sources of its
    /// standard library beside it. Among several it prefers the one that builds the caller (`CARGO`, set
    /// in build scripts), then the one on `PATH`, then the distribution's in `/usr`.
    ///
    /// It looks at folders and asks `rustc` on `PATH` where it lives; it starts nothing else.
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

    /// Cargo with this compiler and nothing of the outer build's environment. Both are named, because another
    /// cargo or compiler may come first on `PATH`.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(&self.cargo);
        environment::scrub(&mut cargo);
        cargo.env("RUSTC", &self.rustc);
        cargo
    }

    /// Cargo, set up to build for [`TARGET`]. Add packages and the target directory.
    pub(crate) fn cargo_build(&self) -> Command {
        let mut cargo = self.cargo();
        if let Some(linker) = &self.linker {
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        cargo.args(["build", "--target", TARGET]);
        if self.std == Std::Source {
            // Compiling the standard library is a nightly feature of cargo; sources and compiler are of one
            // release here, which is what it needs.
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

    /// The `rust-lld` that rustup's toolchains bring and distributions leave out.
    fn linker(&self) -> Option<PathBuf> {
        let hosts = std::fs::read_dir(self.rustlib()).ok()?;
        hosts
            .flatten()
            .map(|host| host.path().join("bin/rust-lld"))
            .find(|linker| linker.exists())
    }
}

/// Toolchains on this machine, the preferred one first.
fn toolchains(caller: Option<PathBuf>, on_path: Option<PathBuf>) -> Vec<Toolchain> {
    // <root>/bin/cargo; a proxy of rustup has no lib/rustlib beside it and is passed over later.
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

/// The folder of the toolchain whose `rustc` comes first on `PATH`.
fn path_sysroot() -> Option<PathBuf> {
    let mut rustc = Command::new("rustc");
    environment::scrub(&mut rustc);
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(sysroot.trim()))
}

/// A linker for WebAssembly: any toolchain's, else LLVM's on `PATH` or where Debian keeps it.
fn linker(toolchains: &[Toolchain]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    toolchains
        .iter()
        .find_map(Toolchain::linker)
        .or_else(|| wasm_ld(&on_path))
}

/// `wasm-ld` or the newest `wasm-ld-<version>` in these folders.
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
    fn installed_target_comes_before_sources() {
        let folder = tempfile::tempdir().expect("folder");
        let with_source = toolchain(&folder.path().join("a"), &[SOURCE, LLD]);
        let with_target = toolchain(&folder.path().join("b"), &[INSTALLED]);
        let compiler = Compiler::among(&[with_source.clone(), with_target]).expect("compiler");
        assert_eq!(compiler.std, Std::Installed);
        assert_eq!(compiler.rustc, folder.path().join("b/bin/rustc"));
        assert_eq!(compiler.linker, Some(folder.path().join("a").join(LLD)));

        let compiler = Compiler::among(&[with_source]).expect("compiler");
        assert_eq!(compiler.std, Std::Source);
        assert_eq!(compiler.linker, None, "it brings its own");
    }

    #[test]
    fn without_one_both_remedies_are_said() {
        let folder = tempfile::tempdir().expect("folder");
        let bare = toolchain(folder.path(), &[LLD]);
        let sentence = Compiler::among(&[bare]).expect_err("none").to_string();
        assert!(
            sentence.contains("rustup target add wasm32-unknown-unknown"),
            "{sentence}"
        );
        assert!(
            sentence.contains("apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src")
        );
        assert!(!sentence.contains('\n'));
    }

    #[test]
    fn caller_comes_first_and_once() {
        let found = toolchains(Some("/a/bin/cargo".into()), Some("/a".into()));
        assert_eq!(
            found,
            [Toolchain { root: "/a".into() }, Toolchain { root: "/usr".into() }]
        );
    }

    #[test]
    fn newest_linker_of_llvm() {
        let folder = tempfile::tempdir().expect("folder");
        for name in ["wasm-ld-14", "wasm-ld-19", "wasm-ld-x", "ld"] {
            std::fs::write(folder.path().join(name), "").expect("file");
        }
        let found = wasm_ld(&[folder.path().to_path_buf()]);
        assert_eq!(found, Some(folder.path().join("wasm-ld-19")));
    }
}
