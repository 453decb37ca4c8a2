//! A child process with a log file: started, looked at, signalled and ended by its own id only.
//!
//! Invariant: when the value is dropped the process is gone and has been waited for, whatever state it was in.
//!
//! Signals go through the `kill` command, so that no unsafe code is needed; CPU time comes from `/proc`, which is why
//! this is for Linux only.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::poll;

/// `/proc/PID/stat` counts in USER_HZ, which Linux fixes at 100 for user space on all common architectures.
const CLOCK_TICKS_PER_S: f64 = 100.0;

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command whose standard output and error are appended to the file `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let open = || -> Result<File> {
            File::options()
                .create(true)
                .append(true)
                .open(log)
                .with_context(|| format!("cannot open the log {} of {name}", log.display()))
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_path_buf() })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that the process has written so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The exit status if the process has ended.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot look after {}", self.name))
    }

    /// An error, with the log, if the process has ended although it should be running.
    pub fn check_running(&mut self) -> Result<()> {
        match self.exit_status()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}); its log:\n{}", self.name, self.log()),
        }
    }

    /// User and system CPU seconds of all threads since the start, in steps of 10 ms.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        cpu_ticks(&stat)
            .map(|ticks| ticks as f64 / CLOCK_TICKS_PER_S)
            .with_context(|| format!("{path} has no CPU times: {stat}"))
    }

    /// Asks the process to stop (SIGTERM) and waits until it has.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().context("cannot run `kill`")?;
        if !sent.success() {
            bail!("`kill -TERM {pid}` for {} failed ({sent})", self.name);
        }
        let what = format!("end of {} after SIGTERM", self.name);
        poll::until(&what, deadline, async || self.exit_status()).await
    }

    /// Ends the process at once (SIGKILL) and waits for it.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.kill().and_then(|()| self.child.wait()).with_context(|| format!("cannot kill {}", self.name))?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// utime + stime: fields 14 and 15. The second field is the program's name in brackets and may itself hold anything,
/// so counting starts behind the last bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_counted_behind_the_programs_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 70 30 5 5 20 0 9 0 100 0 0";
        assert_eq!(cpu_ticks(stat), Some(100));
        assert_eq!(cpu_ticks("42 (a"), None);
    }

    #[tokio::test]
    async fn a_process_is_terminated_and_leaves_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo started; exec cat /dev/zero > /dev/null"]);
        let mut process = Process::start("reader", &mut command, &folder.path().join("log")).unwrap();
        let started = async || Ok(process.log().contains("started").then_some(()));
        poll::until("log line", Duration::from_secs(10), started).await.unwrap();
        process.check_running().unwrap();
        let status = process.terminate(Duration::from_secs(10)).await.unwrap();
        assert!(!status.success(), "a signal ended it: {status}");
        assert!(process.check_running().unwrap_err().to_string().contains("started"));
    }
}
