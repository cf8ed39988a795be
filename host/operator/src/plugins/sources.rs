//! Sources of plugins that an administrator allows.

use std::path::PathBuf;

use dask_operator_sources::allowed::{self, Source};
use dask_operator_sources::{Pattern, oci};

use crate::plugins::error::{LoadFailure, LoadReason};
use crate::plugins::resource::Resource;
use crate::plugins::rights::TenantRights;

/// Allowed sources of plugins, and the rights of DaskPlugins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// Sources of ClusterDaskPlugins.
    pub(crate) cluster: Vec<Pattern>,
    /// Sources of DaskPlugins, which tenants write.
    pub(crate) tenants: Vec<Pattern>,
    /// Folders that files must be in.
    pub(crate) folders: Vec<PathBuf>,
    /// Certificate authorities that are trusted for registries, in addition to those of the system.
    pub(crate) roots: oci::Roots,
    /// Hosts that credentials may be sent to for a token, in addition to the registry's own.
    pub(crate) auth_hosts: Vec<String>,
    /// Rights of DaskPlugins.
    pub(crate) rights: TenantRights,
}

impl Sources {
    /// Returns an error if a plugin's source is not allowed.
    pub(super) fn check(&self, resource: &Resource) -> Result<(), LoadFailure> {
        let patterns = if resource.id.namespace.is_some() {
            &self.tenants
        } else {
            &self.cluster
        };
        let source = &resource.spec.source;
        match (&source.oci, &source.file, &source.config_map) {
            (Some(oci), _, _) => allowed::check(patterns, Source::Image(&oci.image.parse()?))?,
            (_, Some(_), _) => allowed::check(patterns, Source::File)?,
            (_, _, Some(_)) => allowed::check(patterns, Source::ConfigMap)?,
            (None, None, None) => {
                return Err(LoadFailure::new(
                    LoadReason::NoSource,
                    "spec.source is empty: it holds one of oci, file and configMap",
                ));
            }
        }
        Ok(())
    }
}
