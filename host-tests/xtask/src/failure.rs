//! What went wrong in a step, and what the user can do about it.
//!
//! A failure always carries an exit code: that of the child that failed, so that scripts see what the child said, or 1
//! when no child ran, or 2 for a wrong command line. The remedy is a command to copy, never advice in general.

use std::ffi::OsStr;
use std::fmt;
use std::process::{Command, ExitStatus};

/// One failed step.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The operation and why it failed.
    pub(crate) what: String,
    /// The command, or commands, that put it right.
    pub(crate) remedy: Option<String>,
    /// What this process exits with.
    pub(crate) exit_code: u8,
}

impl Failure {
    /// A failure of our own, with no child process behind it.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None, exit_code: 1 }
    }

    /// A command line that cannot be understood.
    pub(crate) fn usage(what: &str, usage: &str) -> Self {
        Self { what: format!("{what}\n\n{usage}"), remedy: None, exit_code: 2 }
    }

    /// Adds, or replaces, the command that the user can run.
    pub(crate) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  to put it right:\n    {}", remedy.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}

/// Runs a command with our own standard streams; a child that fails is a [`Failure`] with the child's exit code.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let line = command_line(command);
    println!("    $ {line}");
    let status = command.status().map_err(|error| Failure::new(format!("cannot start `{line}`: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure { what: format!("`{line}` failed ({status})"), remedy: None, exit_code: exit_code_of(status) })
}

/// Runs a command for its standard output; `None` when it cannot be started or fails, for probes where both mean "no".
pub(crate) fn probe(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as one would type it, with the environment that was set for it.
fn command_line(command: &Command) -> String {
    let environment = command
        .get_envs()
        .filter_map(|(name, value)| value.map(|value| format!("{}={}", name.display(), quoted(value))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    environment.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{word}'") }
}

/// The child's exit code; a child that a signal ended counts as 1, since it left no code.
fn exit_code_of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_of_a_child_is_passed_on() {
        let failure = run(Command::new("sh").args(["-c", "exit 78"])).unwrap_err();
        assert_eq!(failure.exit_code, 78);
        assert!(failure.what.contains("sh -c 'exit 78'"), "{}", failure.what);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let failure = run(&mut Command::new("forebay-no-such-program")).unwrap_err();
        assert_eq!(failure.exit_code, 1);
        assert!(failure.what.contains("forebay-no-such-program"), "{}", failure.what);
    }

    #[test]
    fn the_remedy_is_printed_as_lines_to_copy() {
        let failure = Failure::new("no pip").with_remedy("first\nsecond");
        assert_eq!(failure.to_string(), "no pip\n  to put it right:\n    first\n    second");
    }
}
