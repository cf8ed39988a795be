//! The memory of the container that this process runs in.

use std::fs;
use std::path::{Path, PathBuf};

/// Memory that all processes of a container have together. If they take more, the kernel ends one of them, or all: where
/// Kubernetes runs them, all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerMemory {
    limit: u64,
    /// The file that says how much is used.
    used: PathBuf,
    /// The file that says what for.
    uses: PathBuf,
    /// What it calls files that nobody has looked at of late: the kernel drops them before it ends anybody.
    dropped: &'static str,
}

/// How a version of control groups calls it.
struct Names {
    limit: &'static str,
    used: &'static str,
    dropped: &'static str,
}

const FIRST: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    dropped: "total_inactive_file",
};

const SECOND: Names = Names {
    limit: "memory.max",
    used: "memory.current",
    dropped: "inactive_file",
};

/// What the first version calls no limit is more than that.
const NO_LIMIT: u64 = 1 << 60;

/// A container is nearly full when less than this part of its memory is left; a process has taken much when it has more.
const PART: u64 = 8;

impl ContainerMemory {
    /// That of this process; none where it has no limit.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::find(Path::new("/sys/fs/cgroup"), &groups)
    }

    /// That of a process in these control groups, lines as `0::/a/b` or `4:memory:/a/b`.
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
            Some(path) => (FIRST, root.join("memory"), path),
            None => (SECOND, root.to_owned(), path_of("")?),
        };
        // A container may see its own group as the root.
        let folders = [root.join(path.trim_start_matches('/')), root];
        folders.iter().find_map(|folder| Self::of_group(folder, &names))
    }

    fn of_group(folder: &Path, names: &Names) -> Option<Self> {
        let limit = number(&folder.join(names.limit)).filter(|limit| *limit < NO_LIMIT)?;
        Some(Self {
            limit,
            used: folder.join(names.used),
            uses: folder.join("memory.stat"),
            dropped: names.dropped,
        })
    }

    /// A container of a test, whose files are in this folder.
    #[cfg(test)]
    pub(crate) fn in_folder(folder: &Path, limit: u64, used: u64) -> std::io::Result<Self> {
        fs::write(folder.join(SECOND.limit), limit.to_string())?;
        fs::write(folder.join(SECOND.used), used.to_string())?;
        Self::of_group(folder, &SECOND).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    /// How many bytes there are.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether hardly any of it is left, and this process has taken much of it, so that it helps to end it.
    pub(crate) fn is_used_up_by(&self, process: u32) -> bool {
        self.is_nearly_full() && resident(process).is_some_and(|bytes| bytes > self.limit / PART)
    }

    fn is_nearly_full(&self) -> bool {
        let Some(used) = number(&self.used) else {
            return false;
        };
        let uses = fs::read_to_string(&self.uses).unwrap_or_default();
        let dropped = uses.lines().find_map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            (name == self.dropped).then(|| bytes.trim().parse::<u64>().ok())?
        });
        used.saturating_sub(dropped.unwrap_or_default()) > self.limit - self.limit / PART
    }
}

/// Memory that a process has, in bytes.
fn resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes = kilobytes.trim().strip_suffix(" kB")?;
    Some(kilobytes.trim().parse::<u64>().ok()? << 10)
}

/// The number that is in a file.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::second("0::/pods/a\n", "pods/a", &SECOND, "1000", Some(1000))]
    #[case::second_as_the_root("0::/pods/a\n", "", &SECOND, "1000", Some(1000))]
    #[case::second_without_a_limit("0::/\n", "", &SECOND, "max", None)]
    #[case::first("3:cpu,memory:/pods/a\n0::/\n", "memory/pods/a", &FIRST, "1000", Some(1000))]
    #[case::first_as_the_root("3:memory:/pods/a\n", "memory", &FIRST, "1000", Some(1000))]
    #[case::first_without_a_limit("3:memory:/\n", "memory", &FIRST, "9223372036854771712", None)]
    #[case::nothing("", "", &SECOND, "1000", None)]
    fn the_limit_is_found(
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
        // Files that nobody looks at are no memory that is missing.
        for (used, dropped, expected) in [("100", "0", false), ("900", "0", true), ("900", "50", false)] {
            fs::write(folder.join(names.used), used)?;
            let uses = format!("anon 1\n{} {dropped}\n", names.dropped);
            fs::write(folder.join("memory.stat"), uses)?;
            assert_eq!(found.is_nearly_full(), expected, "{used} {dropped}");
        }
        Ok(())
    }

    /// To end a process that has hardly anything does not help.
    #[test]
    fn who_has_little_does_not_use_it_up() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let process = std::process::id();
        for (limit, expected) in [(1000, true), (1 << 50, false)] {
            let memory = ContainerMemory::in_folder(folder.path(), limit, limit)?;
            assert!(memory.is_nearly_full());
            assert_eq!(memory.is_used_up_by(process), expected, "{limit}");
        }
        Ok(())
    }
}
