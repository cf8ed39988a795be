//! Components of tenants at the limits of their shape. The resources that a compiler takes for one can't be predicted:
//! it must end within the limits of its process, with a compiled component or with an error.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dask_operator_runtime::{
    Allocation, Cache, CallLimits, CompileLimits, CompilerProgram, Compiling, Component, Engine,
    EngineConfig, LoadErrorKind, Shape,
};
use rstest::rstest;

/// Parts of a component.
#[derive(Clone, Copy)]
struct Parts {
    /// Number of functions, all alike.
    functions: u32,
    /// Number of local variables of each function; all of them are changed.
    locals: u32,
    /// Number of nested loops around the changes.
    loops: u32,
    /// Number of nested blocks; a jump leads out of each.
    targets: u32,
    /// Number of values that the jump passes on.
    values: usize,
    /// Number of calls whose results are live until the last call.
    calls: usize,
}

const PLAIN: Parts = Parts {
    functions: 1,
    locals: 0,
    loops: 0,
    targets: 0,
    values: 0,
    calls: 0,
};

const BOUNDS: Shape = Shape::OF_TENANTS;

impl Parts {
    fn component(&self) -> Vec<u8> {
        let results = "i64 ".repeat(self.values);
        let functions = self.function().repeat(self.functions as usize);
        let text = format!(
            "(component
               (core module
                 (type $passed (func (result {results})))
                 (func $one (result i32) i32.const 1)
                 {functions})
               (instance $nothing)
               (export \"dask:operator/policy@0.1.0\" (instance $nothing)))"
        );
        wat::parse_str(text).expect("component text")
    }

    fn function(&self) -> String {
        let loops = self.loops as usize;
        let changed = |local: u32| format!("(local.set {local} (i64.add (local.get {local}) (i64.const 1)))");
        [
            "(func (param i32)".to_owned(),
            format!("(local {})", "i64 ".repeat(self.locals as usize)),
            "loop ".repeat(loops),
            (1..=self.locals).map(changed).collect(),
            self.jump(),
            "call $one ".repeat(self.calls),
            "i32.add ".repeat(self.calls.saturating_sub(1)),
            "drop ".repeat(self.calls.min(1)),
            "end ".repeat(loops),
            ")".to_owned(),
        ]
        .concat()
    }

    fn jump(&self) -> String {
        let targets = self.targets as usize;
        if targets == 0 {
            return String::new();
        }
        let labels: Vec<_> = (0..targets).map(|target| target.to_string()).collect();
        [
            "block (type $passed) ".repeat(targets),
            "i64.const 1 ".repeat(self.values),
            format!("local.get 0 br_table {} 0 ", labels.join(" ")),
            "end ".repeat(targets),
            "drop ".repeat(self.values),
        ]
        .concat()
    }
}

/// Compiles a component as one of a tenant, with less time, to keep the test short. The error is the reason why it was
/// not compiled.
fn compile(parts: Parts) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    let compiler = CompilerProgram {
        program: env!("CARGO_BIN_EXE_dask-operator").into(),
        arguments: vec!["compile".into(), "--cache-dir".into(), cache.clone().into()],
        memory: None,
    };
    let engine = Engine::new(EngineConfig {
        cache: Some(Cache {
            dir: cache.clone(),
            compiler: Some(compiler),
        }),
        allocation: Allocation::OnDemand,
        ..EngineConfig::default()
    })
    .expect("an engine");
    let mut compiling = Compiling::of_tenant("team-a");
    compiling.limits = CompileLimits {
        processor: Duration::from_secs(2),
        // A quarter of the memory of a container of the chart.
        memory: 512 << 20,
        ..compiling.limits
    };
    let error = Component::load_compiled(
        &engine,
        "test",
        &parts.component(),
        CallLimits::default(),
        &compiling,
    )
    .expect_err("the component implements no interface of the contract");
    match *error.reason {
        LoadErrorKind::Compiler(why) => {
            assert!(!is_compiled(&cache), "{why}");
            Err(why)
        }
        why => {
            assert!(is_compiled(&cache), "{why}");
            Ok(())
        }
    }
}

fn is_compiled(cache: &Path) -> bool {
    let files = fs::read_dir(cache).expect("the cache").flatten();
    let mut paths = files.map(|file| file.path());
    paths.any(|path| path.extension().is_some_and(|end| end == "cwasm"))
}

#[test]
fn components_far_from_the_limits_are_compiled() {
    let parts = Parts {
        functions: 3,
        locals: 3,
        loops: 2,
        targets: 4,
        values: 2,
        calls: 3,
    };
    assert_eq!(compile(parts), Ok(()));
}

/// A component of 20 kB for which a compiler without limits takes 3 GB.
#[test]
fn a_component_that_needs_too_much_memory_is_not_compiled() {
    let parts = Parts {
        targets: 4000,
        values: BOUNDS.values,
        ..PLAIN
    };
    compile(parts).expect_err("it takes too much memory");
}

#[rstest]
#[case::functions(Parts { functions: BOUNDS.functions - 1, ..PLAIN })]
#[case::locals(Parts { locals: BOUNDS.locals, ..PLAIN })]
#[case::loops(Parts { locals: 244, loops: 4096, ..PLAIN })]
#[case::locals_of_loops(Parts { locals: BOUNDS.locals, loops: 100, ..PLAIN })]
#[case::variables(Parts { locals: 1000, loops: 1000, ..PLAIN })]
#[case::targets(Parts { targets: BOUNDS.targets, ..PLAIN })]
#[case::values(Parts { targets: BOUNDS.targets, values: BOUNDS.values, ..PLAIN })]
#[case::functions_of_jumps(Parts { functions: 200, targets: 1000, values: BOUNDS.values, ..PLAIN })]
#[case::calls(Parts { calls: 60_000, ..PLAIN })]
#[case::all(Parts { functions: 10, locals: BOUNDS.locals, loops: 5000, targets: 10_000, values: BOUNDS.values, calls: 10_000 })]
fn a_compiler_ends_within_its_limits(#[case] parts: Parts) {
    if let Err(why) = compile(parts) {
        // The compiler observed its own limits, and the operator did not have to end it.
        assert!(!why.contains("it was not compiled after"), "{why}");
    }
}
