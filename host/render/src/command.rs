//! The `dask-operator render` command.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use dask_operator_runtime::CallLimits;
use serde_json::{Value, json};

use crate::documents::{self, Document};
use crate::render::render;
use dask_operator_components::load::{AllowedKindArgs, PluginArgs, PluginLoadError, load};

/// Prints the children of manifests, computed by the operator's components. Needs no cluster.
///
/// Warnings are written to standard error. If a manifest is invalid, no children are printed, each error is reported
/// with its file and field, and the exit code is 1.
#[derive(Args, Clone, Debug)]
pub struct RenderArgs {
    /// Manifest to read: a file, a folder with *.yaml, *.yml and *.json files, or - for standard input. Can be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Output format.
    #[arg(short = 'o', long, value_enum, default_value_t = OutputFormat::Yaml)]
    pub output: OutputFormat,

    /// Namespace of objects that do not set one [default: default].
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,

    /// Treat mistakes as errors, as --webhook-strict does. A mistake is a setting that works but is very likely not intended.
    #[arg(long)]
    pub strict: bool,

    /// Components and their settings.
    #[command(flatten)]
    pub plugins: PluginArgs,

    /// Kinds of children.
    #[command(flatten)]
    pub allowed_kinds: AllowedKindArgs,
}

/// Output format of the children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// YAML documents separated by `---`.
    Yaml,
    /// One JSON object of kind `List`.
    Json,
}

/// Runs the command.
///
/// Returns true if all manifests are valid. If not, the errors have been written to `err`.
///
/// # Errors
///
/// Returns an error if the output can't be written.
pub fn run(
    args: &RenderArgs,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let loaded = args.plugins.engine().map_err(PluginLoadError::from);
    let loaded = loaded.and_then(|cached| {
        let allowed_kinds = args.allowed_kinds.kinds();
        let plugins = load(
            &cached.engine,
            &args.plugins,
            allowed_kinds,
            CallLimits::default(),
        )?;
        Ok((plugins, cached.cache_problem))
    });
    let plugins = match loaded {
        Ok((plugins, None)) => plugins,
        Ok((plugins, Some(reason))) => {
            writeln!(err, "note: compiled components are not cached: {reason}")?;
            plugins
        }
        Err(error) => {
            writeln!(err, "error: {error}")?;
            return Ok(false);
        }
    };
    let mut all: Vec<Document> = Vec::new();
    let mut failed = false;
    for file in &args.files {
        let (documents, errors) = documents::read(file, stdin);
        if documents.is_empty() && errors.is_empty() {
            writeln!(err, "note: {}", documents::nothing(file))?;
        }
        for error in errors {
            writeln!(err, "error: {error}")?;
            failed = true;
        }
        all.extend(documents);
    }
    let mut rendered = render(all, &plugins, args.namespace.as_deref(), now());
    if args.strict {
        rendered = rendered.with_strictness();
    }
    for message in &rendered.messages {
        writeln!(err, "{message}")?;
    }
    failed |= rendered.failed();
    if !failed {
        print(args.output, &rendered.objects, out)?;
    }
    Ok(!failed)
}

/// Writes objects to `out` in the given format.
///
/// # Errors
///
/// Returns an error if `out` can't be written.
pub fn print(format: OutputFormat, objects: &[Value], out: &mut dyn Write) -> io::Result<()> {
    match format {
        OutputFormat::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            serde_json::to_writer_pretty(&mut *out, &list)?;
            writeln!(out)
        }
        OutputFormat::Yaml => {
            for (i, object) in objects.iter().enumerate() {
                if i > 0 {
                    writeln!(out, "---")?;
                }
                let text = serde_saphyr::to_string(object).map_err(io::Error::other)?;
                writeln!(out, "{}", text.trim_end())?;
            }
            Ok(())
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
