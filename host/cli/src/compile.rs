//! `dask-operator compile`: the process that the operator starts to compile a component.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use dask_operator_runtime::{
    Allocation, COMPILER_FAILED, Engine, EngineConfig, LoadError, LoadErrorKind, ProcessLimits,
    compile_into_cache,
};

/// Compiles the component on standard input into a cache. The operator starts itself as a separate process for this, so
/// that the memory of the compiler is returned to the system when the process ends.
#[derive(Args, Debug)]
pub(crate) struct CompileArgs {
    /// Folder of the cache of compiled components.
    #[arg(long, value_name = "FOLDER")]
    cache_dir: PathBuf,

    /// Owner of the component.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,

    /// Limit of the address space of this process.
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,

    /// Limit of the processor time of all threads of this process together.
    #[arg(long, value_name = "SECONDS")]
    processor_seconds: Option<u64>,

    /// Limit of the size of the compiled component.
    #[arg(long, value_name = "BYTES")]
    output: Option<u64>,
}

/// Compiles the component on standard input. This is the process that a [`CompilerProgram`](dask_operator_runtime::CompilerProgram)
/// starts.
pub(crate) fn compile(args: CompileArgs) -> anyhow::Result<ExitCode> {
    let why = match compiled(args) {
        Ok(Ok(())) => return Ok(ExitCode::SUCCESS),
        // The caller knows which component it is.
        Ok(Err(error)) if !matches!(*error.reason, LoadErrorKind::NotCompiled(_)) => {
            anyhow::bail!("{}", error.reason)
        }
        Ok(Err(error)) => error.reason.to_string(),
        Err(error) => format!("{error:#}"),
    };
    writeln!(io::stderr(), "error: {why}")?;
    Ok(ExitCode::from(COMPILER_FAILED))
}

/// Returns the result of the compilation, or an error if this process could not start it.
fn compiled(args: CompileArgs) -> anyhow::Result<Result<(), LoadError>> {
    let limits = ProcessLimits {
        memory: args.memory,
        processor_seconds: args.processor_seconds,
        output: args.output,
    };
    limits.impose().context("the limits of the compiler")?;
    let mut wasm = Vec::new();
    io::stdin().read_to_end(&mut wasm)?;
    let engine = Engine::new(EngineConfig {
        cache: Some(args.cache_dir.into()),
        // A pool takes more addresses than the limit allows, and no component runs in this process.
        allocation: Allocation::OnDemand,
        ..EngineConfig::default()
    })?;
    Ok(compile_into_cache(&engine, &wasm, args.owner.as_deref()))
}
