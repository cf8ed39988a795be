//! The subcommand `dask-operator plugin new`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dask_operator_runtime::Interface;

use super::{CommandResult, Streams};
use crate::scaffold;

/// Creates a plugin crate: a small working example with a unit test and a test file. The crate includes the SDK and the
/// contract, so that it builds wherever Rust is installed.
#[derive(Args, Clone, Debug)]
pub struct NewArgs {
    /// Name of the plugin, for example `worker-limit`.
    pub name: String,

    /// Kind of plugin: a policy, or the logic of one kind of resource.
    #[arg(long, value_enum, default_value_t = Kind::Policy)]
    pub kind: Kind,

    /// The folder to create the crate in. [default: the name]
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// Kind of plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Refuses or changes requests and plans.
    Policy,
    /// Decides the children of a DaskCluster.
    Cluster,
    /// Decides the children of a DaskWorkerGroup.
    WorkerGroup,
    /// Decides the children of a DaskJob.
    Job,
    /// Decides the number of workers that a DaskAutoscaler requests.
    Autoscaler,
}

impl From<Kind> for Interface {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Policy => Self::Policy,
            Kind::Cluster => Self::Cluster,
            Kind::WorkerGroup => Self::WorkerGroup,
            Kind::Job => Self::Job,
            Kind::Autoscaler => Self::Autoscaler,
        }
    }
}

pub(super) fn run(args: &NewArgs, streams: &mut Streams<'_>) -> CommandResult {
    let folder = args.output.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    scaffold::write(&args.name, args.kind.into(), &folder)?;
    let folder = folder.display();
    writeln!(
        streams.out,
        "{folder}: a plugin crate. Its logic is in {folder}/src/lib.rs, its tests are there and in {folder}/tests.yaml.\n\n\
         Next:\n  cd {folder}\n  cargo test                    its unit tests\n  \
         dask-operator plugin build    the component\n  dask-operator plugin test     its test file"
    )?;
    Ok(true)
}
