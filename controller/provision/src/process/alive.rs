//! Which processes live, by `/proc`: a process is its id together with its start time, so that an id that was used again is
//! another process. The mark in its environment says which instance a process is, should its id not be known.

use std::collections::BTreeMap;
use std::{fs, io};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// Variable in the environment of every instance: the manager's folder and the instance's id.
pub(super) const MARK: &str = "FOREBAY_INSTANCE";

/// One process, and no later one of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Process id, also of its process group.
    pub(super) pid: u32,
    /// When it started, in clock ticks since the machine did: field 22 of `/proc/PID/stat`.
    start_ticks: u64,
}

/// What `/proc/PID/stat` says.
pub(super) struct Stat {
    is_dead: bool,
    pub(super) process_group: u32,
    /// Processor time of it and of its children that ended, in clock ticks.
    pub(super) busy_ticks: u64,
    start_ticks: u64,
    pub(super) resident_pages: u64,
}

/// The process that has this id now; `None` when there is none, or it has ended and only waits to be fetched.
pub(super) fn identity(pid: u32) -> Option<Identity> {
    let stat = stat(pid).ok()??;
    (!stat.is_dead).then_some(Identity { pid, start_ticks: stat.start_ticks })
}

impl Identity {
    /// Whether this very process lives. Where it cannot be seen (no descriptor is left), it is not given up.
    pub(super) fn lives(self) -> bool {
        match stat(self.pid) {
            Ok(found) => found.is_some_and(|stat| !stat.is_dead && stat.start_ticks == self.start_ticks),
            Err(_) => true,
        }
    }

    /// Sends a signal to the process group, if this very process lives.
    pub(super) fn signal(self, signal: Signal) {
        if self.lives() {
            send(self.pid, signal);
        }
    }
}

/// Ends what is left of the group of a process whose end was not fetched yet, so that its id cannot be another's.
pub(super) fn end_group(pid: u32) {
    send(pid, Signal::KILL);
}

/// Leaders of process groups whose mark begins with `prefix`, by their mark.
pub(super) fn marked(prefix: &str) -> BTreeMap<String, u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let mark = environment.split(|byte| *byte == 0).find_map(|variable| {
            let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
            (name == MARK && value.starts_with(prefix)).then(|| value.to_owned())
        })?;
        let stat = stat(pid).ok()??;
        (!stat.is_dead && stat.process_group == pid).then_some((mark, pid))
    })
    .collect()
}

/// `None` where there is no such process.
pub(super) fn stat(pid: u32) -> io::Result<Option<Stat>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => Ok(parsed(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // It ended while it was read.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parsed(text: &str) -> Option<Stat> {
    // The name, in parentheses, may hold spaces and parentheses; what follows may not. Field 3 is the first after it.
    let (_, after_name) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let is_dead = matches!(*fields.first()?, "Z" | "X" | "x");
    let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Stat {
        is_dead,
        process_group: fields.get(2)?.parse().ok()?,
        // In user and kernel mode, and the same of children.
        busy_ticks: (11..=14).filter_map(number).sum(),
        start_ticks: number(19)?,
        resident_pages: number(21).unwrap_or(0),
    })
}

fn send(pid: u32, signal: Signal) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    // An error means that it is gone meanwhile: the next look says so.
    let _ = kill_process_group(pid, signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_its_id_and_its_start() {
        let own = identity(std::process::id()).expect("this process lives");
        assert!(own.lives());
        let later = Identity { start_ticks: own.start_ticks + 1, ..own };
        assert!(!later.lives(), "another process with the same id");
        assert!(identity(u32::MAX).is_none());
    }
}
