//! What can go wrong in driving the host, as opposed to what a module is told by a status.

use crate::{LogLine, RootId, StreamId, VmId};

/// Errors of this crate's public methods.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The bytes are not a module that this host can compile.
    #[error("compiling the module: {source:#}")]
    Compile {
        /// wasmtime's reason.
        source: wasmtime::Error,
    },
    /// The module asks for a function that no proxy-wasm 0.2.1 host has.
    #[error("linking the module: unknown import `{module}.{name}`")]
    UnknownImport {
        /// Import module, usually `env`.
        module: String,
        /// Function name.
        name: String,
    },
    /// An import exists under that name with another signature.
    #[error("linking the module: {source:#}")]
    Link {
        /// wasmtime's reason.
        source: wasmtime::Error,
    },
    /// The module lacks something that every proxy-wasm module exports.
    #[error("instantiating {vm}: the module does not export {what}")]
    MissingExport {
        /// The VM that was being made.
        vm: VmId,
        /// What is missing.
        what: &'static str,
    },
    /// The VM could not be made.
    #[error("instantiating {vm}: {source:#}")]
    Instantiate {
        /// The VM that was being made.
        vm: VmId,
        /// wasmtime's reason.
        source: wasmtime::Error,
    },
    /// `proxy_on_vm_start` or `proxy_on_configure` answered false.
    #[error("{callback} of {vm} answered false; its log:{}", lines(.logs))]
    Refused {
        /// The VM that was being started or reconfigured.
        vm: VmId,
        /// Which callback.
        callback: &'static str,
        /// Everything this VM logged.
        logs: Vec<LogLine>,
    },
    /// A callback trapped; the VM is failed and gets no further callback.
    #[error("{callback} of {vm} trapped: {message}; its log:{}", lines(.logs))]
    Trapped {
        /// The VM, now failed.
        vm: VmId,
        /// Which callback.
        callback: &'static str,
        /// wasmtime's message and backtrace.
        message: String,
        /// Everything this VM logged.
        logs: Vec<LogLine>,
    },
    /// The VM trapped earlier.
    #[error("{vm} is failed since an earlier trap")]
    VmFailed {
        /// The VM.
        vm: VmId,
    },
    /// The VM was killed, or never existed in this process.
    #[error("no {vm} in this process")]
    NoSuchVm {
        /// The VM.
        vm: VmId,
    },
    /// The root was removed, or never existed.
    #[error("no {root} in this process")]
    NoSuchRoot {
        /// The root.
        root: RootId,
    },
    /// The stream has ended, or never existed.
    #[error("no {stream} in this process")]
    NoSuchStream {
        /// The stream.
        stream: StreamId,
    },
    /// The call was answered before, or whoever made it is gone.
    #[error("no open HTTP call {token} of {vm}")]
    NoSuchCall {
        /// Who called.
        vm: VmId,
        /// Its token.
        token: u32,
    },
}

fn lines(logs: &[LogLine]) -> String {
    match logs {
        [] => " (empty)".to_owned(),
        logs => logs.iter().map(|line| format!("\n  {:?} {}", line.level, line.text)).collect(),
    }
}
