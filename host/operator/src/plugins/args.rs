//! Arguments about plugin resources.

use std::path::PathBuf;

use clap::Args;
use dask_operator_runtime::{Interface, Limits};
use dask_operator_sources::oci::Roots;
use dask_operator_sources::{Pattern, SourceError};

use super::rights::parse_limits;
use super::{Sources, TenantRights};

/// Where DaskPlugin and ClusterDaskPlugin resources may get components from.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Plugin resources")]
pub struct SourceArgs {
    /// What a ClusterDaskPlugin may name as its source: configmap, file, an image's repository, or its
    /// beginning as ghcr.io/acme/*. Can be repeated.
    #[arg(long = "allow-plugin-source", value_name = "PATTERN", default_value = "*")]
    pub cluster: Vec<Pattern>,

    /// What a DaskPlugin, which users of a namespace write, may name as its source. Can be repeated; `none` for
    /// nothing at all.
    #[arg(long = "allow-tenant-plugin-source", value_name = "PATTERN", default_value = "configmap",
          value_parser = tenant_pattern)]
    pub tenants: Vec<Option<Pattern>>,

    /// What a DaskPlugin may stand for: policy, cluster, worker-group, job, autoscaler; `none` for nothing. Logic decides what
    /// pods a Dask resource becomes, whatever was said about its spec at admission.
    #[arg(long = "allow-tenant-interfaces", value_name = "INTERFACES", value_delimiter = ',', default_value = "policy",
          value_parser = tenant_interface)]
    pub tenant_interfaces: Vec<Option<Interface>>,

    /// What a call of a DaskPlugin may use at most, as memory=64Mi,milliseconds=1000,output=8Mi: the default.
    #[arg(long = "tenant-plugin-limits", value_name = "LIMITS", value_parser = parse_limits)]
    pub tenant_limits: Option<Limits>,

    /// A folder that plugin resources may name files in. Can be repeated.
    #[arg(long = "plugin-folder", value_name = "FOLDER")]
    pub folders: Vec<PathBuf>,

    /// Certificates (PEM) of authorities that registries may have theirs from, beside those that the system trusts.
    #[arg(long = "plugin-ca-file", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// A host that credentials of a registry may be sent to for a token, over https, when the registry says so. The
    /// registry's own is always allowed. Can be repeated.
    #[arg(long = "plugin-auth-host", value_name = "HOST")]
    pub auth_hosts: Vec<String>,
}

impl SourceArgs {
    /// The same, read and checked.
    ///
    /// # Errors
    ///
    /// When the file with certificates can't be read.
    pub fn sources(&self) -> Result<Sources, SourceError> {
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

/// A pattern, or `none`.
fn tenant_pattern(text: &str) -> Result<Option<Pattern>, String> {
    if text == "none" {
        return Ok(None);
    }
    text.parse().map(Some)
}

/// An interface, or `none`.
fn tenant_interface(text: &str) -> Result<Option<Interface>, String> {
    if text == "none" {
        return Ok(None);
    }
    let names = Interface::ALL.map(Interface::name).join(", ");
    let found = Interface::from_name(text).ok_or_else(|| format!("write {names}, or none"))?;
    Ok(Some(found))
}
