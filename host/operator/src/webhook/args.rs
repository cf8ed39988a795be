//! Command-line arguments of the webhook.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Arguments of the admission webhook.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Webhook")]
pub(crate) struct WebhookArgs {
    /// Serve the admission webhook at this address, such as 0.0.0.0:9443. [default: no webhook]
    #[arg(long = "webhook", value_name = "ADDRESS:PORT", env = "DASK_OPERATOR_WEBHOOK")]
    pub(crate) address: Option<SocketAddr>,

    /// Service through which the API server reaches the webhook. The certificate is issued for its names.
    #[arg(long = "webhook-service", value_name = "NAMESPACE/NAME", value_parser = service)]
    pub(crate) service: Option<Service>,

    /// Additional name or IP address that the certificate is issued for. Can be repeated.
    #[arg(long = "webhook-host", value_name = "NAME_OR_IP")]
    pub(crate) hosts: Vec<String>,

    /// Name of the MutatingWebhookConfiguration and ValidatingWebhookConfiguration that receive the CA bundle by which
    /// the API server trusts the certificate.
    #[arg(long = "webhook-configuration", value_name = "NAME")]
    pub(crate) configuration: Option<String>,

    /// Secret in which all replicas store their certificates.
    #[arg(long = "webhook-secret", value_name = "NAME", default_value = SECRET)]
    pub(crate) secret: String,

    /// Read tls.crt and tls.key from this folder, and reload them when they change, instead of issuing certificates. The
    /// folder can be a mounted Secret of cert-manager, for instance.
    #[arg(
        long = "webhook-certificate-folder",
        value_name = "FOLDER",
        conflicts_with = "configuration"
    )]
    pub(crate) certificate_folder: Option<PathBuf>,

    /// Validity of certificates: a number with s, m, h or d.
    #[arg(long = "webhook-certificate-validity", value_name = "TIME", default_value = "90d", value_parser = duration)]
    pub(crate) validity: Duration,

    /// Time before their expiry at which certificates are replaced.
    #[arg(long = "webhook-renew-before", value_name = "TIME", default_value = "30d", value_parser = duration)]
    pub(crate) renew_before: Duration,

    /// Refuse mistakes too: specs that run but are very likely not what the author wants. [default: mistakes are warnings]
    #[arg(long = "webhook-strict")]
    pub(crate) strict: bool,
}

/// Default name of the Secret.
pub(crate) const SECRET: &str = "dask-operator-webhook";

/// Namespace and name of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Namespace of the Service.
    pub(crate) namespace: String,
    /// Name of the Service.
    pub(crate) name: String,
}

impl WebhookArgs {
    /// Returns the DNS names and IP addresses that the certificate is issued for.
    #[must_use]
    pub(crate) fn names(&self) -> Vec<String> {
        let service = self.service.iter().flat_map(|Service { namespace, name }| {
            [format!("{name}.{namespace}.svc"), format!("{name}.{namespace}")]
        });
        service.chain(self.hosts.iter().cloned()).collect()
    }
}

fn service(text: &str) -> Result<Service, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Service {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }
        _ => Err("write NAMESPACE/NAME, such as dask-operator/dask-operator-webhook".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let invalid =
        || format!("{text:?} is not a duration: write a whole number with s, m, h or d, such as 90d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(invalid()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| invalid())?;
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("90d", Some(7_776_000))]
    #[case("2s", Some(2))]
    #[case("0s", None)]
    #[case("90", None)]
    #[case("d", None)]
    #[case("", None)]
    fn parses_durations(#[case] text: &str, #[case] seconds: Option<u64>) {
        assert_eq!(duration(text).ok(), seconds.map(Duration::from_secs));
    }

    #[test]
    fn certificates_cover_all_names() {
        let args = WebhookArgs {
            service: service("dask/hook").ok(),
            hosts: vec!["10.0.0.1".into()],
            ..WebhookArgs::default()
        };
        assert_eq!(args.names(), ["hook.dask.svc", "hook.dask", "10.0.0.1"]);
        assert!(service("hook").is_err() && service("/hook").is_err());
    }
}
