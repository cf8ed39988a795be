//! Compiled components are kept, and used only when they are what was kept.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{good, observation};
use dask_operator_runtime::{
    Cache, CompileLimits, Compiled, Compiler, Compiling, Component, Engine, EngineConfig, Interface, Limits,
    Unfit, compile_turn,
};

fn load(cache: &Path) -> Component {
    let config = EngineConfig {
        cache: Some(cache.to_owned().into()),
        ..EngineConfig::default()
    };
    let engine = Engine::new(config).expect("an engine");
    let component = Component::load(&engine, "good", &good(), Limits::default()).expect("a component");
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
fn what_was_compiled_is_used_again_unless_it_is_damaged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    assert!(matches!(load(&cache).compiled(), Compiled::Now(_)));
    assert!(matches!(load(&cache).compiled(), Compiled::Cached(_)));

    let artefact = artefact(&cache);
    let whole = fs::read(&artefact).expect("an artefact");

    // One byte of code: the header is fine.
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
fn no_cache_is_fine() {
    let engine = Engine::new(EngineConfig::default()).expect("an engine");
    let component = Component::load(&engine, "good", &good(), Limits::default()).expect("a component");
    assert!(matches!(component.compiled(), Compiled::Now(_)));
    let description = component.description();
    assert_eq!(
        (description.name.as_str(), description.version.as_str()),
        ("hostile", "1.0.0")
    );
    assert_eq!(component.interfaces(), [Interface::Cluster]);
}

#[test]
fn a_cache_that_can_not_be_written_is_said() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let config = EngineConfig {
        cache: Some(file.path().to_owned().into()),
        ..EngineConfig::default()
    };
    let error = Engine::new(config)
        .expect_err("a file is no directory")
        .to_string();
    assert!(error.contains("not a directory"), "{error}");
}

/// An engine whose compiler is this program.
fn compiled_by(cache: &Path, program: &str, arguments: &[&str]) -> Engine {
    let config = EngineConfig {
        cache: Some(Cache {
            dir: cache.to_owned(),
            compiler: Some(Compiler {
                program: program.into(),
                arguments: arguments.iter().map(Into::into).collect(),
                memory: None,
            }),
        }),
        ..EngineConfig::default()
    };
    Engine::new(config).expect("an engine")
}

/// Loads with a compiler that is a shell script.
fn load_with(cache: &Path, script: &str) -> Result<Component, String> {
    load_so(cache, script, &Compiling::default())
}

fn load_so(cache: &Path, script: &str, compiling: &Compiling) -> Result<Component, String> {
    let engine = compiled_by(cache, "/bin/sh", &["-c", script]);
    Component::load_compiled(&engine, "good", &good(), Limits::default(), compiling)
        .map_err(|error| error.to_string())
}

#[test]
fn a_compiler_that_does_not_end_is_ended() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let compiling = Compiling {
        limits: CompileLimits {
            time: Duration::from_millis(200),
            ..CompileLimits::default()
        },
        owner: None,
    };
    let error = load_so(&dir.path().join("cache"), "exec sleep 600", &compiling).expect_err("it was ended");
    assert!(error.ends_with("it was not compiled after 0.2 s"), "{error}");
}

#[test]
fn a_compiler_is_told_what_it_may_take() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let said = |compiling: &Compiling| {
        let script = r#"cat >/dev/null; echo >&2 "$0 $*"; exit 1"#;
        load_so(&dir.path().join("cache"), script, compiling).expect_err("it failed")
    };
    let expected = "): --memory 805306368 --processor-seconds 30 --output 134217728 --owner team-a";
    let error = said(&Compiling::of_tenant("team-a"));
    assert!(error.contains(expected), "{error}");
    assert!(!said(&Compiling::default()).contains("--owner"));
}

#[test]
fn components_of_tenants_are_never_compiled_in_this_process() {
    let of_tenant = Compiling::of_tenant("team-a");
    let engine = Engine::new(EngineConfig::default()).expect("an engine");
    let loaded = Component::load_compiled(&engine, "good", &good(), Limits::default(), &of_tenant);
    assert!(loaded.is_err_and(|error| error.to_string().contains("--cache-dir")));
}

#[test]
fn a_process_of_its_own_compiles() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    load(&theirs);
    let script = format!(
        "head -c 8 | grep -q asm && cat > {0}/rest && cp {1}/* {0}/",
        ours.display(),
        theirs.display()
    );
    let component = load_with(&ours, &script).expect("a component");
    assert!(matches!(component.compiled(), Compiled::Now(_)));
    assert!(ours.join("rest").exists(), "the script compiled");
    let component = load_with(&ours, "exit 1").expect("a component");
    assert!(matches!(component.compiled(), Compiled::Cached(_)));
}

#[test]
fn a_compiler_that_fails_is_said() {
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

/// Else a few components fill the disk that are killed while their code is written.
#[test]
fn what_a_compiler_that_fails_was_writing_is_removed() {
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

/// A stand-in for a compiler notes when it begins and ends.
#[test]
fn components_of_tenants_are_compiled_one_after_the_other() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("log");
    // For want of memory, so that it is tried again.
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
                Component::load_compiled(engine, "good", &good(), Limits::default(), &compiling)
                    .expect_err("it failed");
            });
        }
    });
    let said = fs::read_to_string(&log).expect("a log");
    assert_eq!(said, "begin\nend\nbegin\nend\n");
}

#[test]
fn who_has_a_turn_to_compile_waits_for_nobody() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = compiled_by(
        &dir.path().join("cache"),
        "/bin/sh",
        &["-c", "cat >/dev/null; kill -9 $$"],
    );
    let wasm = good();
    let (one, other) = (Compiling::of_tenant("team-a"), Compiling::of_tenant("team-b"));
    let turn = compile_turn(&engine, &wasm, &one);
    assert!(turn.is_some());
    // What is of nobody is compiled beside others.
    assert!(compile_turn(&engine, &wasm, &Compiling::default()).is_none());
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| compile_turn(&engine, &wasm, &other).is_some());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waits.is_finished());
        Component::load_in_turn(&engine, "good", &wasm, Limits::default(), &one, turn)
            .expect_err("it failed");
        assert!(waits.join().expect("it ends"), "the turn is given back");
    });
    assert!(compile_turn(&engine, &wasm, &one).is_some());
}

/// It would do so without a limit, whoever the component is of.
#[test]
fn where_another_process_shall_compile_this_one_never_does() {
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
            let error = Component::load_compiled(&engine, "good", &good(), Limits::default(), &compiling)
                .expect_err("nothing compiled");
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.reason.reason(), "HostExhausted");
        }
    }
}

#[test]
fn what_can_not_be_compiled_is_not_compiled_again_for_any_tenant() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("log");
    let script = format!(
        "cat >/dev/null; echo begin >>'{}'; echo >&2 a mess; exit 1",
        log.display()
    );
    let engine = compiled_by(&dir.path().join("cache"), "/bin/sh", &["-c", &script]);
    let failed = |compiling: &Compiling| {
        Component::load_compiled(&engine, "good", &good(), Limits::default(), compiling)
            .expect_err("it failed")
    };
    let said = |compiling: &Compiling| failed(compiling).to_string();
    let begun = || fs::read_to_string(&log).expect("a log").lines().count();
    for owner in ["team-a", "team-a", "team-b"] {
        let said = said(&Compiling::of_tenant(owner));
        let expected = "a mess; the same bytes are not compiled again for 10 minutes: push another version";
        assert!(said.ends_with(expected), "{said}");
        assert_eq!(begun(), 1);
    }
    let again = failed(&Compiling::of_tenant("team-a")).reason;
    assert!(matches!(*again, Unfit::NotAgain(_)), "{again:?}");
    for times in 2..4 {
        let said = said(&Compiling::default());
        assert!(
            said.ends_with("a mess"),
            "an administrator tries as often as he likes: {said}"
        );
        assert_eq!(begun(), times);
    }
}
