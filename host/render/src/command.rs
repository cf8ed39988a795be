//! `dask-operator render`.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use dask_operator_runtime::Limits;
use serde_json::{Value, json};

use crate::documents::{self, Document};
use crate::plugins::{PluginArgs, PluginError, Plugins, engine};
use crate::render::render;

/// Prints the children of manifests, computed by the operator's components. Needs no cluster.
///
/// Warnings go to standard error. If a manifest is wrong, nothing is printed, every error is named
/// with its file and field, and the exit code is 1.
#[derive(Args, Clone, Debug)]
pub struct RenderArgs {
    /// A manifest: a file, a folder with *.yaml, *.yml and *.json, or - for standard input. Can be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// How to print.
    #[arg(short = 'o', long, value_enum, default_value_t = Format::Yaml)]
    pub output: Format,

    /// The namespace of objects that name none [default: default].
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,

    /// Take mistakes for errors: what runs and is very likely not what its author wants. As --webhook-strict does.
    #[arg(long)]
    pub strict: bool,

    /// Components and their settings.
    #[command(flatten)]
    pub plugins: PluginArgs,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Documents separated by `---`.
    Yaml,
    /// One `List`.
    Json,
}

/// Runs the command.
///
/// Gives whether all manifests are right; if not, why has been said on `err`.
///
/// # Errors
///
/// When the output can't be written.
pub fn run(
    args: &RenderArgs,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let loaded = engine(&args.plugins)
        .map_err(PluginError::from)
        .and_then(|(engine, uncached)| {
            Ok((
                Plugins::load(&engine, &args.plugins, Limits::default())?,
                uncached,
            ))
        });
    let plugins = match loaded {
        Ok((plugins, None)) => plugins,
        Ok((plugins, Some(why))) => {
            writeln!(err, "note: compiled components are not kept: {why}")?;
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
        rendered = rendered.strictly();
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

/// Writes objects in a format.
///
/// # Errors
///
/// When they can't be written.
pub fn print(format: Format, objects: &[Value], out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            serde_json::to_writer_pretty(&mut *out, &list)?;
            writeln!(out)
        }
        Format::Yaml => {
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
