//! Command-line arguments about plugin resources.

use std::path::PathBuf;

use clap::Args;
use dask_operator_runtime::{CallLimits, Interface};
use dask_operator_sources::oci::Roots;
use dask_operator_sources::{Pattern, SourceError};

use crate::plugins::rights::TenantRights;
use crate::plugins::rights::parse_limits;
use crate::plugins::sources::Sources;

/// Sources and limits of DaskPlugin and ClusterDaskPlugin resources.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Plugin resources")]
pub(crate) struct SourceArgs {
    /// Source that a ClusterDaskPlugin may name: configmap, file, the repository of an image, or a prefix of it as
    /// ghcr.io/acme/*. Can be repeated.
    #[arg(long = "allow-plugin-source", value_name = "PATTERN", default_value = "*")]
    pub(crate) cluster: Vec<Pattern>,

    /// Source that a DaskPlugin, which users of a namespace write, may name. Can be repeated; `none` allows no source.
    #[arg(long = "allow-tenant-plugin-source", value_name = "PATTERN", default_value = "configmap",
          value_parser = tenant_pattern)]
    pub(crate) tenants: Vec<Option<Pattern>>,

    /// Interfaces that a DaskPlugin may implement: policy, cluster, worker-group, job, autoscaler; `none` allows none. Logic
    /// determines the pods of a Dask resource, whatever admission policies decided about its spec.
    #[arg(long = "allow-tenant-interfaces", value_name = "INTERFACES", value_delimiter = ',', default_value = "policy",
          value_parser = tenant_interface)]
    pub(crate) tenant_interfaces: Vec<Option<Interface>>,

    /// Limits of a call of a DaskPlugin. The default is memory=64Mi,milliseconds=1000,output=8Mi.
    #[arg(long = "tenant-plugin-limits", value_name = "LIMITS", value_parser = parse_limits)]
    pub(crate) tenant_limits: Option<CallLimits>,

    /// Folder in which plugin resources may name files. Can be repeated.
    #[arg(long = "plugin-folder", value_name = "FOLDER")]
    pub(crate) folders: Vec<PathBuf>,

    /// File with PEM certificates of authorities to trust for registries, in addition to those that the system trusts.
    #[arg(long = "plugin-ca-file", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Host to which registry credentials may be sent over https for a token, if the registry names it. The registry's own host
    /// is always allowed. Can be repeated.
    #[arg(long = "plugin-auth-host", value_name = "HOST")]
    pub(crate) auth_hosts: Vec<String>,
}

impl SourceArgs {
    /// Returns the parsed and checked sources.
    ///
    /// # Errors
    ///
    /// Returns an error if the file with certificates can't be read.
    pub(crate) fn sources(&self) -> Result<Sources, SourceError> {
        let roots = self.ca_file.as_deref().map(Roots::from_file).transpose()?;
        let usual = TenantRights::default();
        Ok(Sources {
            cluster: self.cluster.clone(),
            tenants: self.tenants.iter().flatten().cloned().collect(),
            folders: self.folders.clone(),
            roots: roots.unwrap_or_default(),
            auth_hosts: self.auth_hosts.clone(),
            rights: TenantRights {
                interfaces: self.tenant_interfaces.iter().flatten().copied().collect(),
                limits: self.tenant_limits.unwrap_or(usual.limits),
            },
        })
    }
}

/// Parses a pattern, or `none`.
fn tenant_pattern(text: &str) -> Result<Option<Pattern>, String> {
    if text == "none" {
        return Ok(None);
    }
    text.parse().map(Some)
}

/// Parses the name of an interface, or `none`.
fn tenant_interface(text: &str) -> Result<Option<Interface>, String> {
    if text == "none" {
        return Ok(None);
    }
    let names = Interface::ALL.map(Interface::name).join(", ");
    let found = Interface::from_name(text).ok_or_else(|| format!("write {names}, or none"))?;
    Ok(Some(found))
}
