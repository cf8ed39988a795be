//! Memory limit and usage of the container that this process runs in, read from its control group.

use std::fs;
use std::path::{Path, PathBuf};

/// Memory that all processes of a container share. If they use more, the kernel kills one of them or all. In Kubernetes it
/// kills all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerMemory {
    /// Limit, in bytes.
    limit: u64,
    /// File that contains the usage, in bytes.
    usage: PathBuf,
    /// File that contains the usage by type of memory.
    statistics: PathBuf,
    /// Name in [`Self::statistics`] of page-cache memory that was not used recently. The kernel reclaims it before it kills
    /// a process.
    reclaimable: &'static str,
}

/// Names that a version of control groups uses.
struct Names {
    /// File that contains the limit.
    limit: &'static str,
    /// File that contains the usage.
    usage: &'static str,
    /// Statistic of page-cache memory that was not used recently.
    reclaimable: &'static str,
}

const CGROUP_V1: Names = Names {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};

const CGROUP_V2: Names = Names {
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: "inactive_file",
};

/// Lower bound of the number by which version 1 of control groups represents that there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// Divisor of the limit: a container is nearly full if less than this fraction of its memory is left, and a process uses a
/// considerable part of it if it uses more than this fraction.
const FRACTION: u64 = 8;

impl ContainerMemory {
    /// Returns the memory of the container that this process runs in, or `None` if it has no limit.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::find(Path::new("/sys/fs/cgroup"), &groups)
    }

    /// Returns the memory of a process in these control groups, which are lines like `0::/a/b` or `4:memory:/a/b`.
    fn find(root: &Path, groups: &str) -> Option<Self> {
        let path_of = |wanted: &str| {
            groups.lines().find_map(|line| {
                let (_, group) = line.split_once(':')?;
                let (controllers, path) = group.split_once(':')?;
                let is_wanted = controllers.split(',').any(|controller| controller == wanted);
                is_wanted.then_some(path)
            })
        };
        let (names, root, path) = match path_of("memory") {
            Some(path) => (CGROUP_V1, root.join("memory"), path),
            None => (CGROUP_V2, root.to_owned(), path_of("")?),
        };
        // Inside a container, its own group may be mounted as the root.
        let folders = [root.join(path.trim_start_matches('/')), root];
        folders.iter().find_map(|folder| Self::of_group(folder, &names))
    }

    fn of_group(folder: &Path, names: &Names) -> Option<Self> {
        let limit = number(&folder.join(names.limit)).filter(|limit| *limit < NO_LIMIT)?;
        Some(Self {
            limit,
            usage: folder.join(names.usage),
            statistics: folder.join("memory.stat"),
            reclaimable: names.reclaimable,
        })
    }

    /// Returns the memory of a test's container, whose files are in this folder.
    #[cfg(test)]
    pub(crate) fn in_folder(folder: &Path, limit: u64, used: u64) -> std::io::Result<Self> {
        fs::write(folder.join(CGROUP_V2.limit), limit.to_string())?;
        fs::write(folder.join(CGROUP_V2.usage), used.to_string())?;
        Self::of_group(folder, &CGROUP_V2).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    /// Returns the limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns whether hardly any memory is left and this process uses a considerable part of it, so that killing it helps.
    pub(crate) fn is_exhausted_by(&self, process: u32) -> bool {
        self.is_nearly_full() && resident(process).is_some_and(|bytes| bytes > self.limit / FRACTION)
    }

    fn is_nearly_full(&self) -> bool {
        let Some(used) = number(&self.usage) else {
            return false;
        };
        let statistics = fs::read_to_string(&self.statistics).unwrap_or_default();
        let reclaimable = statistics.lines().find_map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            (name == self.reclaimable).then(|| bytes.trim().parse::<u64>().ok())?
        });
        used.saturating_sub(reclaimable.unwrap_or_default()) > self.limit - self.limit / FRACTION
    }
}

/// Returns the resident memory of a process, in bytes.
fn resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes = kilobytes.trim().strip_suffix(" kB")?;
    Some(kilobytes.trim().parse::<u64>().ok()? << 10)
}

/// Reads a number from a file. Returns `None` if the file can't be read or contains something else.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::v2("0::/pods/a\n", "pods/a", &CGROUP_V2, "1000", Some(1000))]
    #[case::v2_as_the_root("0::/pods/a\n", "", &CGROUP_V2, "1000", Some(1000))]
    #[case::v2_without_a_limit("0::/\n", "", &CGROUP_V2, "max", None)]
    #[case::v1("3:cpu,memory:/pods/a\n0::/\n", "memory/pods/a", &CGROUP_V1, "1000", Some(1000))]
    #[case::v1_as_the_root("3:memory:/pods/a\n", "memory", &CGROUP_V1, "1000", Some(1000))]
    #[case::v1_without_a_limit("3:memory:/\n", "memory", &CGROUP_V1, "9223372036854771712", None)]
    #[case::nothing("", "", &CGROUP_V2, "1000", None)]
    fn finds_the_limit(
        #[case] groups: &str,
        #[case] folder: &str,
        #[case] names: &Names,
        #[case] limit: &str,
        #[case] expected: Option<u64>,
    ) -> io::Result<()> {
        let root = tempfile::tempdir()?;
        let folder = root.path().join(folder);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(names.limit), format!("{limit}\n"))?;
        let found = ContainerMemory::find(root.path(), groups);
        assert_eq!(found.as_ref().map(ContainerMemory::limit), expected);
        let Some(found) = found else {
            return Ok(());
        };
        // Page-cache memory that was not used recently counts as available.
        for (used, reclaimable, expected) in [("100", "0", false), ("900", "0", true), ("900", "50", false)] {
            fs::write(folder.join(names.usage), used)?;
            let statistics = format!("anon 1\n{} {reclaimable}\n", names.reclaimable);
            fs::write(folder.join("memory.stat"), statistics)?;
            assert_eq!(found.is_nearly_full(), expected, "{used} {reclaimable}");
        }
        Ok(())
    }

    /// Killing a process that uses hardly any memory does not help.
    #[test]
    fn a_process_that_uses_little_does_not_exhaust_the_memory() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let process = std::process::id();
        for (limit, expected) in [(1000, true), (1 << 50, false)] {
            let memory = ContainerMemory::in_folder(folder.path(), limit, limit)?;
            assert!(memory.is_nearly_full());
            assert_eq!(memory.is_exhausted_by(process), expected, "{limit}");
        }
        Ok(())
    }
}
