//! Tests of the cache of compiled components and of the compiler process.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{good, observation};
use dask_operator_runtime::{
    Cache, CallLimits, CompileLimits, Compiled, CompilerProgram, Compiling, Component, Engine, EngineConfig,
    Interface, LoadErrorKind, compile_permit,
};

fn load(cache: &Path) -> Component {
    let config = EngineConfig {
        cache: Some(cache.to_owned().into()),
        ..EngineConfig::default()
    };
    let engine = Engine::new(config).expect("an engine");
    let component = Component::load(&engine, "good", &good(), CallLimits::default()).expect("a component");
    component
        .plan(Interface::Cluster, &observation())
        .expect("a call")
        .expect("a plan");
    component
}

fn artefact(cache: &Path) -> PathBuf {
    let mut files = fs::read_dir(cache)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path());
    files
        .find(|path| path.extension().is_some_and(|end| end == "cwasm"))
        .expect("an artefact")
}

#[test]
fn uses_artefacts_again_unless_they_are_damaged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    assert!(matches!(load(&cache).compiled(), Compiled::Now(_)));
    assert!(matches!(load(&cache).compiled(), Compiled::Cached(_)));

    let artefact = artefact(&cache);
    let whole = fs::read(&artefact).expect("an artefact");

    // Damages one byte of code; the header stays intact.
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    fs::write(&artefact, &damaged).expect("written");
    assert!(matches!(load(&cache).compiled(), Compiled::Now(_)));
    assert!(matches!(load(&cache).compiled(), Compiled::Cached(_)));

    fs::write(&artefact, &whole[..middle]).expect("written");
    assert!(matches!(load(&cache).compiled(), Compiled::Now(_)));

    fs::remove_file(artefact.with_extension("sha256")).expect("removed");
    assert!(matches!(load(&cache).compiled(), Compiled::Now(_)));
    assert_eq!(fs::read(&artefact).expect("an artefact").len(), whole.len());
}

#[test]
fn loads_without_a_cache() {
    let engine = Engine::new(EngineConfig::default()).expect("an engine");
    let component = Component::load(&engine, "good", &good(), CallLimits::default()).expect("a component");
    assert!(matches!(component.compiled(), Compiled::Now(_)));
    let description = component.description();
    assert_eq!(
        (description.name.as_str(), description.version.as_str()),
        ("hostile", "1.0.0")
    );
    assert_eq!(component.interfaces(), [Interface::Cluster]);
}

#[test]
fn reports_an_unusable_cache_directory() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let config = EngineConfig {
        cache: Some(file.path().to_owned().into()),
        ..EngineConfig::default()
    };
    let error = Engine::new(config)
        .expect_err("a file is not a directory")
        .to_string();
    assert!(error.contains("not a directory"), "{error}");
}

/// Returns an engine that compiles with this program.
fn compiled_by(cache: &Path, program: &str, arguments: &[&str]) -> Engine {
    let config = EngineConfig {
        cache: Some(Cache {
            dir: cache.to_owned(),
            compiler: Some(CompilerProgram {
                program: program.into(),
                arguments: arguments.iter().map(Into::into).collect(),
                memory: None,
            }),
        }),
        ..EngineConfig::default()
    };
    Engine::new(config).expect("an engine")
}

/// Loads the good component with a compiler that is a shell script.
fn load_with(cache: &Path, script: &str) -> Result<Component, String> {
    load_with_settings(cache, script, &Compiling::default())
}

/// Loads the good component with a compiler that is a shell script, and with these settings.
fn load_with_settings(cache: &Path, script: &str, compiling: &Compiling) -> Result<Component, String> {
    let engine = compiled_by(cache, "/bin/sh", &["-c", script]);
    Component::load_compiled(&engine, "good", &good(), CallLimits::default(), compiling)
        .map_err(|error| error.to_string())
}

#[test]
fn kills_a_compiler_that_takes_too_long() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let compiling = Compiling {
        limits: CompileLimits {
            time: Duration::from_millis(200),
            ..CompileLimits::default()
        },
        owner: None,
    };
    let error = load_with_settings(&dir.path().join("cache"), "exec sleep 600", &compiling)
        .expect_err("the compiler was killed");
    assert!(error.ends_with("it was not compiled after 0.2 s"), "{error}");
}

#[test]
fn a_compiler_receives_its_limits_as_arguments() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let message = |compiling: &Compiling| {
        let script = r#"cat >/dev/null; echo >&2 "$0 $*"; exit 1"#;
        load_with_settings(&dir.path().join("cache"), script, compiling).expect_err("it failed")
    };
    let expected = "): --memory 805306368 --processor-seconds 30 --output 134217728 --owner team-a";
    let error = message(&Compiling::of_tenant("team-a"));
    assert!(error.contains(expected), "{error}");
    assert!(!message(&Compiling::default()).contains("--owner"));
}

#[test]
fn components_of_tenants_are_never_compiled_in_this_process() {
    let of_tenant = Compiling::of_tenant("team-a");
    let engine = Engine::new(EngineConfig::default()).expect("an engine");
    let loaded = Component::load_compiled(&engine, "good", &good(), CallLimits::default(), &of_tenant);
    assert!(loaded.is_err_and(|error| error.to_string().contains("--cache-dir")));
}

#[test]
fn a_separate_process_compiles() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (source, cache) = (dir.path().join("source"), dir.path().join("cache"));
    load(&source);
    let script = format!(
        "head -c 8 | grep -q asm && cat > {0}/rest && cp {1}/* {0}/",
        cache.display(),
        source.display()
    );
    let component = load_with(&cache, &script).expect("a component");
    assert!(matches!(component.compiled(), Compiled::Now(_)));
    assert!(cache.join("rest").exists(), "the script compiled");
    let component = load_with(&cache, "exit 1").expect("a component");
    assert!(matches!(component.compiled(), Compiled::Cached(_)));
}

#[test]
fn reports_the_failure_of_a_compiler() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let failed = |script: &str| load_with(&dir.path().join("cache"), script).expect_err("it failed");
    let error = failed("cat >/dev/null; echo >&2 error: not valid: what a mess; exit 1");
    assert!(
        error.starts_with("good (") && error.ends_with("): not valid: what a mess"),
        "{error}"
    );
    let error = failed("cat >/dev/null; echo >&2 error: the disk is full; exit 75");
    assert!(
        error.ends_with("): it was not compiled: the disk is full"),
        "{error}"
    );
    let error = failed("kill -9 $$");
    assert!(
        error.ends_with("the compiler was ended by signal 9, maybe for want of memory"),
        "{error}"
    );
    let error = failed("kill -XCPU $$");
    assert!(
        error.ends_with("compiling it takes more than 300 s of a processor"),
        "{error}"
    );
    let error = failed("exit 3");
    assert!(
        error.ends_with("the compiler failed (exit status: 3) and said nothing"),
        "{error}"
    );
}

/// Otherwise a few components whose compilers are killed while they write the code fill the disk.
#[test]
fn removes_the_temporary_files_of_a_failed_compiler() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    for end in ["exit 1", "kill -9 $$"] {
        let folder = cache.display();
        let script = format!(
            "cat >/dev/null; echo >'{folder}/a-0.cwasm.'$$'-ThreadId(1).tmp'; echo >'{folder}/b-0.cwasm.1-ThreadId(1).tmp'; {end}"
        );
        load_with(&cache, &script).expect_err("it failed");
        let left = fs::read_dir(&cache).expect("a directory").flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["b-0.cwasm.1-ThreadId(1).tmp"], "{end}");
    }
}

/// The compiler is a script that logs when it begins and ends.
#[test]
fn components_of_tenants_are_compiled_one_at_a_time() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("log");
    // The script ends as a compiler that is out of memory, so that the compilation is attempted again.
    let script = format!(
        "cat >/dev/null; echo begin >>'{0}'; sleep 0.2; echo end >>'{0}'; kill -9 $$",
        log.display()
    );
    let engine = compiled_by(&dir.path().join("cache"), "/bin/sh", &["-c", &script]);
    std::thread::scope(|scope| {
        for owner in ["team-a", "team-b"] {
            let compiling = Compiling::of_tenant(owner);
            let engine = &engine;
            scope.spawn(move || {
                Component::load_compiled(engine, "good", &good(), CallLimits::default(), &compiling)
                    .expect_err("it failed");
            });
        }
    });
    let lines = fs::read_to_string(&log).expect("a log");
    assert_eq!(lines, "begin\nend\nbegin\nend\n");
}

#[test]
fn loading_with_a_compile_permit_does_not_wait() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = compiled_by(
        &dir.path().join("cache"),
        "/bin/sh",
        &["-c", "cat >/dev/null; kill -9 $$"],
    );
    let wasm = good();
    let (one, other) = (Compiling::of_tenant("team-a"), Compiling::of_tenant("team-b"));
    let permit = compile_permit(&engine, &wasm, &one);
    assert!(permit.is_some());
    // A component without an owner needs no permit.
    assert!(compile_permit(&engine, &wasm, &Compiling::default()).is_none());
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| compile_permit(&engine, &wasm, &other).is_some());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waits.is_finished());
        Component::load_with_permit(&engine, "good", &wasm, CallLimits::default(), &one, permit)
            .expect_err("it failed");
        assert!(waits.join().expect("the thread ends"), "the permit is released");
    });
    assert!(compile_permit(&engine, &wasm, &one).is_some());
}

/// A compilation in this process would have no resource limits. This holds for components with and without an owner.
#[test]
fn never_compiles_in_this_process_if_a_compiler_is_configured() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (program, expected) in [
        (
            "/does/not/exist",
            "): it was not compiled: /does/not/exist can't do it: ",
        ),
        (
            "/bin/sh",
            "): it was not compiled: the compiler has put nothing into the cache that can be used",
        ),
    ] {
        for compiling in [Compiling::default(), Compiling::of_tenant("team-a")] {
            let engine = compiled_by(&dir.path().join("cache"), program, &["-c", "cat >/dev/null"]);
            let error = Component::load_compiled(&engine, "good", &good(), CallLimits::default(), &compiling)
                .expect_err("nothing compiled");
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.reason.reason().as_str(), "HostExhausted");
        }
    }
}

#[test]
fn a_failed_compilation_is_not_repeated_for_any_tenant() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("log");
    let script = format!(
        "cat >/dev/null; echo begin >>'{}'; echo >&2 a mess; exit 1",
        log.display()
    );
    let engine = compiled_by(&dir.path().join("cache"), "/bin/sh", &["-c", &script]);
    let failed = |compiling: &Compiling| {
        Component::load_compiled(&engine, "good", &good(), CallLimits::default(), compiling)
            .expect_err("it failed")
    };
    let message = |compiling: &Compiling| failed(compiling).to_string();
    let begun = || fs::read_to_string(&log).expect("a log").lines().count();
    for owner in ["team-a", "team-a", "team-b"] {
        let message = message(&Compiling::of_tenant(owner));
        let expected = "a mess; the same bytes are not compiled again for 10 minutes: push another version";
        assert!(message.ends_with(expected), "{message}");
        assert_eq!(begun(), 1);
    }
    let again = failed(&Compiling::of_tenant("team-a")).reason;
    assert!(matches!(*again, LoadErrorKind::NotAgain(_)), "{again:?}");
    for times in 2..4 {
        let message = message(&Compiling::default());
        assert!(
            message.ends_with("a mess"),
            "each attempt of an administrator compiles again: {message}"
        );
        assert_eq!(begun(), times);
    }
}
