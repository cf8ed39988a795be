//! The contract's interfaces, by the names that components export them under.

use std::fmt;

/// The version of the contract that this host speaks.
pub(crate) const CONTRACT_VERSION: Version = Version {
    major: 0,
    minor: 1,
    patch: 0,
};

/// The package of the contract.
pub(crate) const PACKAGE: &str = "dask:operator";

/// What a component can stand for.
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
    /// Rules on top of the others.
    Policy,
}

impl Interface {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Cluster,
        Self::WorkerGroup,
        Self::Job,
        Self::Autoscaler,
        Self::Policy,
    ];

    /// Those that compute children: each looks after one kind of resource.
    pub const LOGIC: [Self; 4] = [Self::Cluster, Self::WorkerGroup, Self::Job, Self::Autoscaler];

    /// Its name in the contract: `cluster`, `worker-group`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::WorkerGroup => "worker-group",
            Self::Job => "job",
            Self::Autoscaler => "autoscaler",
            Self::Policy => "policy",
        }
    }

    /// The kind that it looks after; none for policies, which see all kinds.
    pub const fn kind(self) -> Option<&'static str> {
        match self {
            Self::Cluster => Some("DaskCluster"),
            Self::WorkerGroup => Some("DaskWorkerGroup"),
            Self::Job => Some("DaskJob"),
            Self::Autoscaler => Some("DaskAutoscaler"),
            Self::Policy => None,
        }
    }

    /// The interface of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.name() == name)
    }

    /// The interface that looks after this kind.
    pub fn from_kind(kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|interface| interface.kind() == Some(kind))
    }
}

/// As components export it: `dask:operator/cluster@0.1.0`.
impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&qualified(self.name()))
    }
}

/// The full name of one of the contract's interfaces.
pub(crate) fn qualified(name: &str) -> String {
    format!("{PACKAGE}/{name}@{CONTRACT_VERSION}")
}

/// A version of a WIT package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// Reads `0.1.0`. Versions with a pre-release or build part are never those
    /// of a released contract, and are none.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Self {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next()??,
        };
        parts.next().is_none().then_some(version)
    }

    /// Whether both speak the same contract: patch releases only add interfaces,
    /// and before 1.0 so do not even minor ones.
    fn compatible(self, other: Self) -> bool {
        self.major == other.major && (self.major > 0 || self.minor == other.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What the name of an import or export says about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// One of the contract's interfaces, in a version that this host speaks.
    Contract(&'a str),
    /// One of the contract's interfaces in another version, or without one.
    OtherVersion(&'a str),
    /// Something else.
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
    fn names(#[case] name: &str, #[case] expected: Name<'_>) {
        assert_eq!(Name::parse(name), expected);
    }

    #[test]
    fn this_host_speaks_the_version_in_wit() {
        let types = include_str!("../../../wit/types.wit");
        assert!(types.contains(&format!("package {PACKAGE}@{CONTRACT_VERSION};")));
    }

    #[test]
    fn names_and_kinds_lead_back() {
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
