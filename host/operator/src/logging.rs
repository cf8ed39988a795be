//! Setup of the operator's log.

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;

use crate::args::{LogFormat, RunArgs};

/// Log filter for libraries. Their messages are not logged, because their errors are returned and are logged here with
/// the object that they concern.
const LIBRARIES: &str =
    "kube_client=off,kube_runtime=off,hyper=warn,hyper_util=warn,rustls=warn,tower=warn,wasmtime=warn";

/// Starts logging to standard error, as configured by `args`. `RUST_LOG` takes precedence.
pub(crate) fn start(args: &RunArgs) {
    let level = match (args.quiet, args.verbose, args.debug) {
        (true, _, _) => format!("warn,{LIBRARIES}"),
        (_, _, true) => "debug".to_owned(),
        (_, true, _) => format!("info,dask_operator=debug,{LIBRARIES}"),
        _ => format!("info,{LIBRARIES}"),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(args.debug);
    match args.log_format {
        LogFormat::Plain => log
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .compact()
            .init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
