//! Route by which a program on this machine answers at the addresses of Services.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Adds the route, writes a line, and removes the route at the end of the input.
const SCRIPT: &str =
    r#"ip route replace local "$1" dev lo || exit; echo; cat >/dev/null; ip route delete local "$1" dev lo"#;

/// Child process that makes addresses local with a route. It removes the route when this is dropped, and also when this process
/// is killed, because its input ends then.
pub(super) struct LocalAddresses(Child);

impl LocalAddresses {
    /// Makes all addresses of a range local, such as `198.18.64.0/19`.
    pub(super) fn of(range: &str) -> Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "sh", range])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0) // a signal from the terminal must not end it before the route is removed
            .spawn()
            .context("starting sh")?;
        let output = child.stdout.take().context("sh has no output")?;
        let addresses = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(
            !line.is_empty(),
            "`ip route replace local {range} dev lo` failed: simulated schedulers need root and iproute2"
        );
        Ok(addresses)
    }
}

impl Drop for LocalAddresses {
    fn drop(&mut self) {
        // Closes the input of the process first.
        if let Err(error) = self.0.wait() {
            eprintln!("the process that removes the route of the simulated schedulers failed: {error}");
        }
    }
}
