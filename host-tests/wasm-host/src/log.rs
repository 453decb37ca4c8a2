//! What modules wrote: `proxy_log`, and standard output and error through WASI.

use crate::VmId;

/// Level of a log line, with the ABI's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum LogLevel {
    /// Level 0.
    Trace = 0,
    /// Level 1.
    Debug = 1,
    /// Level 2, also what standard output becomes.
    Info = 2,
    /// Level 3.
    Warn = 3,
    /// Level 4, also what standard error becomes.
    Error = 4,
    /// Level 5.
    Critical = 5,
}

impl LogLevel {
    /// The level with this number, if there is one.
    pub(crate) fn from_abi(number: u32) -> Option<Self> {
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical]
            .into_iter()
            .find(|level| *level as u32 == number)
    }
}

/// One line that a VM wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Steady time of the line, ns.
    pub at_ns: u64,
    /// Who wrote it.
    pub vm: VmId,
    /// Its level.
    pub level: LogLevel,
    /// Its text; invalid UTF-8 is replaced.
    pub text: String,
}
