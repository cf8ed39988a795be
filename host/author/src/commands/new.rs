//! `dask-operator plugin new`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dask_operator_runtime::Interface;

use super::{Done, Streams};
use crate::scaffold;

/// Writes a plugin crate to begin with: small, real, with a unit test and a test file. It has all that it needs beside it
/// (the SDK, the contract), so that it builds anywhere where there is Rust.
#[derive(Args, Clone, Debug)]
pub struct NewArgs {
    /// The plugin's name, as `worker-limit`.
    pub name: String,

    /// What it is: a rule on top of all that is decided, or the logic of one kind of resource.
    #[arg(long, value_enum, default_value_t = Kind::Policy)]
    pub kind: Kind,

    /// The folder to write it to. [default: the name]
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// What a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// It refuses and changes what people ask for and what is planned.
    Policy,
    /// It decides what a DaskCluster consists of.
    Cluster,
    /// It decides what a DaskWorkerGroup consists of.
    WorkerGroup,
    /// It decides what a DaskJob consists of.
    Job,
    /// It decides how many workers a DaskAutoscaler asks for.
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

pub(super) fn run(args: &NewArgs, streams: &mut Streams<'_>) -> Done {
    let folder = args.output.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    scaffold::write(&args.name, args.kind.into(), &folder)?;
    let folder = folder.display();
    writeln!(
        streams.out,
        "{folder}: a plugin crate. Its logic is in {folder}/src/lib.rs, its tests are there and in {folder}/tests.yaml.\n\n\
         Next:\n  cd {folder}\n  cargo test                    its unit tests\n  \
         dask-operator plugin build    the component\n  dask-operator plugin test     what it says of manifests"
    )?;
    Ok(true)
}
