//! Status codes of the ABI: what every host call returns.
//!
//! Source: proxy-wasm ABI 0.2.1, `proxy_status_t`.

/// Result of a host call, with the ABI's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// No such key, header, property, queue or function.
    NotFound = 1,
    /// An argument is outside what the call takes, or the map is not there in this phase.
    BadArgument = 2,
    /// A pointer and length lie outside the module's memory.
    InvalidMemoryAccess = 6,
    /// The queue holds nothing.
    Empty = 7,
    /// The value was changed by somebody else since it was read.
    CasMismatch = 8,
    /// The host failed.
    InternalFailure = 10,
    /// The host does not offer this call.
    Unimplemented = 12,
}
