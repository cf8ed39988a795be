//! Arguments of `dask-operator run`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dask_operator_components::load::PluginArgs;
use http::Uri;
use http::uri::Scheme;
use kube::core::Selector;

use crate::client::resource::ResourceType;
use crate::leader_election::LeaseArgs;
use crate::plugins::load::args::SourceArgs;
use crate::selection::selector;
use crate::webhook::args::WebhookArgs;

const RUN_EXAMPLES: &str = "\
Examples:
  dask-operator run
      all namespaces of the cluster that KUBECONFIG, the usual file or the pod's
      service account names
  dask-operator run --namespace team-a --namespace team-b
      two namespaces only
  dask-operator run --install-crds --bind 127.0.0.1:8080
      define the Dask resources first; health and metrics for this machine only
  dask-operator run --plugin worker-group=mine.wasm --setting worker-group.key=value
      use your own component for worker groups

Environment:
  KUBECONFIG   the kubeconfig, as for kubectl
  RUST_LOG     which log lines are written, as `info,dask_operator=debug`";

/// Runs the operator.
///
/// The operator watches the Dask resources of a cluster and creates, updates and deletes the objects that belong to
/// them. It can be stopped at any time and continues from the state of the cluster when it is started again.
#[derive(Args, Clone, Debug)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// Watch this namespace. Can be repeated. [default: all namespaces]
    #[arg(short = 'n', long = "namespace", value_name = "NAMESPACE", value_parser = namespace)]
    pub(crate) namespaces: Vec<String>,

    /// Watch all namespaces. This is the default.
    #[arg(short = 'A', long, conflicts_with = "namespaces")]
    pub(crate) all_namespaces: bool,

    /// Manage only namespaces whose labels match this selector, also when labels change: {matchLabels: {team: data}}.
    /// [default: all namespaces]
    #[arg(long, value_name = "SELECTOR", value_parser = selector, conflicts_with = "namespaces")]
    pub(crate) namespace_selector: Option<Selector>,

    /// Context of the kubeconfig. [default: its current context]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Create or update the definitions of the Dask resources (CRDs) before starting.
    #[arg(long)]
    pub(crate) install_crds: bool,

    /// Address that serves /healthz, /readyz and /metrics. [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDRESS:PORT", env = "DASK_OPERATOR_BIND")]
    pub(crate) bind: Option<SocketAddr>,

    /// Maximum number of resources that are reconciled at the same time.
    #[arg(long, value_name = "NUMBER", default_value_t = 16, value_parser = at_least_one)]
    pub(crate) concurrency: usize,

    /// Maximum number of write requests that are in flight at the same time.
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = at_least_one)]
    pub(crate) writes_in_flight: usize,

    /// Allow components that an administrator configures to create children of this kind too, as
    /// cert-manager.io/v1/Certificate. Can be repeated. The operator needs the permissions for it. Kinds that grant permissions
    /// or hold secrets are not allowed.
    #[arg(long = "allow-child", value_name = "APIVERSION/KIND", value_parser = ResourceType::of_child,
          help_heading = "Components")]
    pub(crate) allow_child: Vec<ResourceType>,

    /// Allow all components to create children of this kind too, also those of a DaskPlugin, which the users of a
    /// namespace create. Can be repeated. [default: none]
    #[arg(long = "allow-tenant-child", value_name = "APIVERSION/KIND", value_parser = ResourceType::of_child,
          help_heading = "Components")]
    pub(crate) allow_tenant_child: Vec<ResourceType>,

    /// Write the newest request about each Dask resource into this folder, for `dask-operator plugin run -f`: the
    /// admission requests to the webhook and the observations that components receive. Intended for plugin authors.
    /// Manifests may contain secrets.
    #[arg(long, value_name = "FOLDER", help_heading = "Components")]
    pub(crate) record_requests: Option<PathBuf>,

    /// Components and their settings.
    #[command(flatten)]
    pub(crate) plugins: PluginArgs,

    /// Leader election among several replicas.
    #[command(flatten)]
    pub(crate) lease: LeaseArgs,

    /// Sources that plugin resources may load components from.
    #[command(flatten)]
    pub(crate) sources: SourceArgs,

    /// The admission webhook.
    #[command(flatten)]
    pub(crate) webhook: WebhookArgs,

    /// Format of the log lines.
    #[arg(long, value_enum, default_value_t = LogFormat::Plain, help_heading = "Log")]
    pub(crate) log_format: LogFormat,

    /// Log decisions and their reasons.
    #[arg(short, long, help_heading = "Log")]
    pub(crate) verbose: bool,

    /// Log everything.
    #[arg(short, long, help_heading = "Log")]
    pub(crate) debug: bool,

    /// Log warnings and errors only.
    #[arg(short, long, help_heading = "Log", conflicts_with_all = ["verbose", "debug"])]
    pub(crate) quiet: bool,

    /// Arguments of the previous operator.
    #[command(flatten)]
    pub(crate) former: FormerArgs,
}

/// Arguments of the previous operator, which are accepted so that the values of its chart still work.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Of the previous operator")]
pub(crate) struct FormerArgs {
    /// URL of the health endpoint, as http://0.0.0.0:8080/healthz: its address is used for --bind.
    #[arg(long, value_name = "URL", value_parser = liveness)]
    pub(crate) liveness: Option<SocketAddr>,

    /// Has no effect: this operator has no peering.
    #[arg(long)]
    pub(crate) standalone: bool,

    /// Has no effect: this operator has no peering.
    #[arg(long, value_name = "NAME")]
    pub(crate) peering: Option<String>,

    /// Has no effect: this operator has no peering.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) priority: Option<i64>,

    /// Has no effect: this operator has no peering.
    #[arg(long)]
    pub(crate) dev: bool,
}

impl FormerArgs {
    /// Returns the names of the given arguments that have no effect.
    #[must_use]
    pub(crate) fn without_effect(&self) -> Vec<&'static str> {
        let given = [
            (self.standalone, "--standalone"),
            (self.peering.is_some(), "--peering"),
            (self.priority.is_some(), "--priority"),
            (self.dev, "--dev"),
        ];
        given
            .into_iter()
            .filter_map(|(given, name)| given.then_some(name))
            .collect()
    }
}

/// Format of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for humans.
    #[value(alias = "full")]
    Plain,
    /// One JSON object a line.
    Json,
}

fn namespace(text: &str) -> Result<String, String> {
    if dask_operator_core::rfc1123::is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("name one namespace (patterns are not understood); repeat the argument for more".into())
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "write a number from 1".into())
}

fn liveness(text: &str) -> Result<SocketAddr, String> {
    let url: Option<Uri> = text.parse().ok();
    let url = url.filter(|url| url.scheme() == Some(&Scheme::HTTP));
    let address = url.and_then(|url| {
        let address = url.authority()?.as_str().replace("localhost", "127.0.0.1");
        address.parse().ok()
    });
    address.ok_or_else(|| "write a URL as http://0.0.0.0:8080/healthz".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use dask_operator_runtime::Interface;
    use rstest::rstest;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: RunArgs,
    }

    fn run_args(args: &[&str]) -> Result<RunArgs, clap::Error> {
        Cli::try_parse_from(["run"].iter().chain(args)).map(|cli| cli.args)
    }

    #[rstest]
    #[case(&["--liveness=http://0.0.0.0:8080/healthz", "--verbose", "--all-namespaces"])]
    #[case(&["--namespace=my-namespace"])]
    #[case(&["--standalone", "--dev", "--priority=100", "--peering=x", "--debug", "--log-format=full"])]
    #[case(&["-A", "-q", "--log-format=json"])]
    fn accepts_the_arguments_of_the_previous_operator(#[case] args: &[&str]) {
        assert!(run_args(args).is_ok());
    }

    #[rstest]
    #[case("http://0.0.0.0:8081/healthz", "0.0.0.0:8081")]
    #[case("http://localhost:8080", "127.0.0.1:8080")]
    #[case("http://[::]:8080/healthz?x=y", "[::]:8080")]
    fn the_liveness_url_sets_the_bind_address(#[case] url: &str, #[case] expected: &str) {
        let args = run_args(&[&format!("--liveness={url}")]);
        let address = args.ok().and_then(|args| args.former.liveness);
        assert_eq!(
            address.map(|address| address.to_string()).as_deref(),
            Some(expected)
        );
    }

    #[rstest]
    #[case(&["--namespace=team-*"], "patterns are not understood")]
    #[case(&["--namespace-selector={team: data}"], "a selector has no field `team`")]
    #[case(&["--namespace-selector={matchLabels: {team: data}}", "-n=a"], "cannot be used with")]
    #[case(&["--liveness=8080"], "write a URL as http://0.0.0.0:8080/healthz")]
    #[case(&["--liveness=https://0.0.0.0:8080/"], "write a URL as http://0.0.0.0:8080/healthz")]
    #[case(&["--liveness=http://0.0.0.0/healthz"], "write a URL as http://0.0.0.0:8080/healthz")]
    #[case(&["--liveness=http://user@0.0.0.0:8080/"], "write a URL as http://0.0.0.0:8080/healthz")]
    #[case(&["--liveness=http://example.org:8080/"], "write a URL as http://0.0.0.0:8080/healthz")]
    #[case(&["--concurrency=0"], "write a number from 1")]
    #[case(&["--allow-child=Secret"], "write API version and kind")]
    #[case(&["--allow-child=v1/Secret"], "no component may create it")]
    #[case(&["--allow-tenant-child=rbac.authorization.k8s.io/v1/RoleBinding"], "no component may create it")]
    #[case(&["--lease=a", "--lease-seconds=2"], "2 is not in 3..=300")]
    #[case(&["--lease-namespace=a"], "--lease <NAME>")]
    #[case(&["--allow-plugin-source=ghcr.io"], "write configmap, file, an image's repository")]
    #[case(&["--allow-tenant-interfaces=policy,logic"], "write cluster, worker-group, job, autoscaler, policy, or none")]
    #[case(&["--tenant-plugin-limits=memory=much"], "write memory=64Mi, milliseconds=1000 or output=8Mi")]
    fn invalid_arguments_are_explained(#[case] args: &[&str], #[case] expected: &str) {
        let error = run_args(args).map(drop).map_err(|error| error.to_string());
        assert!(
            error.as_ref().is_err_and(|error| error.contains(expected)),
            "{error:?}"
        );
    }

    #[rstest]
    #[case(&[], &[Interface::Policy])]
    #[case(&["--allow-tenant-interfaces=none"], &[])]
    #[case(&["--allow-tenant-interfaces=policy,job"], &[Interface::Policy, Interface::Job])]
    fn the_tenant_interfaces_are_parsed(#[case] args: &[&str], #[case] expected: &[Interface]) {
        let args = run_args(args).unwrap_or_else(|error| panic!("{error}"));
        let sources = args.sources.sources().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(sources.rights.interfaces, expected);
        assert_eq!(
            sources.rights.limits,
            crate::plugins::TenantRights::default().limits
        );
    }

    #[test]
    fn arguments_without_effect_are_listed() {
        let args = run_args(&["--standalone", "--priority=1"]);
        assert_eq!(
            args.map(|args| args.former.without_effect()).ok(),
            Some(vec!["--standalone", "--priority"])
        );
    }
}
