//! The subcommand `dask-operator plugin test`.

use std::path::{Path, PathBuf};

use clap::Args;
use dask_operator_components::load::AllowedKindArgs;

use super::{CommandResult, Streams};
use crate::error::AuthorError;
use crate::registry::read;
use crate::simulation::Simulator;
use crate::test_file::TestFile;

/// Runs test files, which contain manifests or observations and the expected outcome.
///
/// The exit code is 1 if a test fails.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Test files. [default: tests.yaml]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The component. [default: the component that each test file names]
    #[arg(long, value_name = "FILE")]
    pub component: Option<PathBuf>,

    /// Kinds of children.
    #[command(flatten)]
    pub allowed_kinds: AllowedKindArgs,
}

pub(super) fn run(args: &TestArgs, streams: &mut Streams<'_>) -> CommandResult {
    let default = [PathBuf::from("tests.yaml")];
    let files = if args.files.is_empty() {
        &default[..]
    } else {
        &args.files
    };
    let simulator = Simulator::new(args.allowed_kinds.kinds())?;
    let (mut passed, mut failed) = (0_usize, 0_usize);
    for path in files {
        let file = TestFile::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let component = match (&args.component, &file.component) {
            (Some(component), _) => component.clone(),
            (None, Some(component)) => folder.join(component),
            (None, None) => {
                let message = "it names no `component`: write its file there, or give --component";
                return Err(AuthorError::file(path, message));
            }
        };
        let bytes = read(&component).map_err(|error| match error {
            AuthorError::Io { path, error } if error.kind() == std::io::ErrorKind::NotFound => {
                AuthorError::file(
                    path,
                    "there is no component: build it first, with `dask-operator plugin build`",
                )
            }
            error => error,
        })?;
        writeln!(streams.out, "{}", path.display())?;
        for report in file.run(folder, &simulator, &component.display().to_string(), &bytes)? {
            let verdict = if report.problems.is_empty() {
                "ok  "
            } else {
                "FAIL"
            };
            writeln!(streams.out, "  {verdict}  {}", report.name)?;
            for problem in &report.problems {
                writeln!(streams.out, "          {problem}")?;
            }
            *(if report.problems.is_empty() {
                &mut passed
            } else {
                &mut failed
            }) += 1;
        }
    }
    writeln!(streams.out, "\n{passed} passed, {failed} failed")?;
    Ok(failed == 0)
}
