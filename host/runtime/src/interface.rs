//! Interfaces of the contract, and the names under which components export them.

use std::fmt;

/// Version of the contract that this host implements.
pub(crate) const CONTRACT_VERSION: Version = Version {
    major: 0,
    minor: 1,
    patch: 0,
};

/// WIT package of the contract.
pub(crate) const PACKAGE: &str = "dask:operator";

/// Interface of the contract that a component can export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interface {
    /// The children of a `DaskCluster`.
    Cluster,
    /// The children of a `DaskWorkerGroup`.
    WorkerGroup,
    /// The children of a `DaskJob`.
    Job,
    /// The worker counts of a `DaskAutoscaler`.
    Autoscaler,
    /// Rules for the admission and the planned children of resources.
    Policy,
}

impl Interface {
    /// All interfaces.
    pub const ALL: [Self; 5] = [
        Self::Cluster,
        Self::WorkerGroup,
        Self::Job,
        Self::Autoscaler,
        Self::Policy,
    ];

    /// Interfaces that compute children. Each manages one kind of resource.
    pub const LOGIC: [Self; 4] = [Self::Cluster, Self::WorkerGroup, Self::Job, Self::Autoscaler];

    /// Returns the name of the interface in the contract: `cluster`, `worker-group`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::WorkerGroup => "worker-group",
            Self::Job => "job",
            Self::Autoscaler => "autoscaler",
            Self::Policy => "policy",
        }
    }

    /// Returns the kind that the interface manages, or `None` for policies, which apply to all kinds.
    pub const fn kind(self) -> Option<&'static str> {
        match self {
            Self::Cluster => Some("DaskCluster"),
            Self::WorkerGroup => Some("DaskWorkerGroup"),
            Self::Job => Some("DaskJob"),
            Self::Autoscaler => Some("DaskAutoscaler"),
            Self::Policy => None,
        }
    }

    /// Returns the interface with this name, or `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.name() == name)
    }

    /// Returns the interface that manages this kind, or `None` if there is none.
    pub fn from_kind(kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|interface| interface.kind() == Some(kind))
    }
}

/// Formats the full name under which components export the interface: `dask:operator/cluster@0.1.0`.
impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&qualified(self.name()))
    }
}

/// Returns the full name of an interface of the contract.
pub(crate) fn qualified(name: &str) -> String {
    format!("{PACKAGE}/{name}@{CONTRACT_VERSION}")
}

/// Version of a WIT package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// Parses a version like `0.1.0`. Returns `None` for versions with a pre-release or
    /// build part, which no released contract has.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Self {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next()??,
        };
        parts.next().is_none().then_some(version)
    }

    /// Returns whether both versions are of the same contract. Patch releases only add
    /// interfaces, and so do minor releases from version 1.0 on.
    fn compatible(self, other: Self) -> bool {
        self.major == other.major && (self.major > 0 || self.minor == other.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Parsed name of an import or export.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// Name of an interface of the contract, in a compatible version.
    Contract(&'a str),
    /// Version of an interface of the contract that is not compatible; `none` for a name without a version.
    OtherVersion(&'a str),
    /// Name outside of the contract.
    Foreign,
}

impl<'a> Name<'a> {
    pub(crate) fn parse(name: &'a str) -> Self {
        let Some(rest) = name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) else {
            return Self::Foreign;
        };
        match rest.split_once('@') {
            Some((interface, version))
                if Version::parse(version).is_some_and(|version| version.compatible(CONTRACT_VERSION)) =>
            {
                Self::Contract(interface)
            }
            Some((_, version)) => Self::OtherVersion(version),
            None => Self::OtherVersion("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("dask:operator/cluster@0.1.0", Name::Contract("cluster"))]
    #[case("dask:operator/cluster@0.1.7", Name::Contract("cluster"))]
    #[case("dask:operator/cluster@0.2.0", Name::OtherVersion("0.2.0"))]
    #[case("dask:operator/cluster@1.0.0", Name::OtherVersion("1.0.0"))]
    #[case("dask:operator/cluster@0.1.0-rc.1", Name::OtherVersion("0.1.0-rc.1"))]
    #[case("dask:operator/cluster", Name::OtherVersion("none"))]
    #[case("dask:operators/cluster@0.1.0", Name::Foreign)]
    #[case("wasi:cli/environment@0.2.3", Name::Foreign)]
    #[case("run", Name::Foreign)]
    fn parses_names(#[case] name: &str, #[case] expected: Name<'_>) {
        assert_eq!(Name::parse(name), expected);
    }

    #[test]
    fn the_contract_version_is_the_one_in_wit() {
        let types = include_str!("../../../wit/types.wit");
        assert!(types.contains(&format!("package {PACKAGE}@{CONTRACT_VERSION};")));
    }

    #[test]
    fn interfaces_are_found_by_name_and_kind() {
        for interface in Interface::ALL {
            assert_eq!(Interface::from_name(interface.name()), Some(interface));
        }
        for interface in Interface::LOGIC {
            assert_eq!(interface.kind().and_then(Interface::from_kind), Some(interface));
        }
        assert_eq!(
            Interface::WorkerGroup.to_string(),
            "dask:operator/worker-group@0.1.0"
        );
    }
}
