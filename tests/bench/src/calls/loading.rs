//! Time and memory for loading the default components, each time in a new process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use dask_operator_components::ALL;
use dask_operator_runtime::{Allocation, CallLimits, Component};
use serde::{Deserialize, Serialize};

use crate::process::Memory;

/// Arguments of the process that loads the default components and prints [`Loaded`] as JSON.
#[derive(Args)]
pub(crate) struct LoadComponents {
    /// Folder of compiled components. It is created if it does not exist.
    #[arg(long)]
    cache: PathBuf,
}

/// Time and memory for loading the default components.
#[derive(Serialize, Deserialize)]
pub(super) struct Loaded {
    /// Time from the creation of the engine until all components were loaded.
    pub(super) seconds: f64,
    /// Resident memory of the process while all components are loaded, in bytes.
    pub(super) resident: f64,
}

impl LoadComponents {
    /// Loads the components and prints the result.
    #[expect(clippy::print_stdout, reason = "the parent process reads the output")]
    pub(crate) fn run(&self) -> Result<()> {
        let start = Instant::now();
        let engine = super::engine(&self.cache, Allocation::OnDemand)?;
        let load = |embedded: &dask_operator_components::Embedded| {
            let digest = embedded.sha256.into();
            Component::load_known(
                &engine,
                embedded.name,
                embedded.bytes,
                digest,
                CallLimits::default(),
            )
        };
        let components = ALL.into_iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let loaded = Loaded {
            seconds: start.elapsed().as_secs_f64(),
            resident: Memory::of(std::process::id())?.resident as f64,
        };
        println!("{}", serde_json::to_string(&loaded)?);
        drop(components);
        Ok(())
    }

    /// Loads the components in a new process.
    pub(super) fn run_in_a_process(cache: &Path) -> Result<Loaded> {
        let output = Command::new(std::env::current_exe()?)
            .args(["load-components", "--cache"])
            .arg(cache)
            .stderr(Stdio::inherit())
            .output()
            .context("starting a process that loads components")?;
        ensure!(
            output.status.success(),
            "the process that loads components ended with {}",
            output.status
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
