//! One fixed piece of memory for the value that every request asks the host for, so that the request path neither
//! allocates nor frees for it.
//!
//! It is offered before a host call, given out at most once for that offer, and taken by the caller; until the caller
//! drops it nobody else gets it. A value that is longer, or a second one meanwhile, comes from the allocator.

use std::cell::{Cell, UnsafeCell};

/// Enough for about 100 usual headers.
const SCRATCH_BYTES: usize = 8 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Offered,
    Given,
}

struct Scratch {
    state: Cell<State>,
    bytes: UnsafeCell<[u8; SCRATCH_BYTES]>,
}

// SAFETY: the module runs on one thread; wasm32-unknown-unknown without atomics has no other.
unsafe impl Sync for Scratch {}

static SCRATCH: Scratch = Scratch { state: Cell::new(State::Free), bytes: UnsafeCell::new([0; SCRATCH_BYTES]) };

/// A value that the host returned.
#[derive(Debug)]
pub(crate) enum Returned {
    /// Its length in the scratch memory.
    Scratch(InUse),
    /// In memory of its own.
    Own(Vec<u8>),
}

/// The scratch memory, in use; free again when dropped.
#[derive(Debug)]
pub(crate) struct InUse(usize);

impl Default for Returned {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl Returned {
    /// The value.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            // SAFETY: only the holder of the one `InUse` reads, and nobody writes before it is dropped; `take` has
            // checked the length.
            Self::Scratch(InUse(len)) => unsafe { std::slice::from_raw_parts(SCRATCH.bytes.get().cast(), *len) },
            Self::Own(bytes) => bytes,
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        SCRATCH.state.set(State::Free);
    }
}

/// The next value that fits may lie here; `false` while the memory is in use.
pub(super) fn offer() -> bool {
    let free = SCRATCH.state.get() == State::Free;
    if free {
        SCRATCH.state.set(State::Offered);
    }
    free
}

/// Memory for a value of `size` bytes, if it was offered and is enough.
pub(super) fn give(size: usize) -> Option<*mut u8> {
    if SCRATCH.state.get() != State::Offered || size == 0 || size > SCRATCH_BYTES {
        return None;
    }
    SCRATCH.state.set(State::Given);
    Some(SCRATCH.bytes.get().cast())
}

/// Ends an offer that was made: the value, if the host says to have put it here.
pub(super) fn take(data: *const u8, len: usize) -> Option<Returned> {
    if SCRATCH.state.get() == State::Given && data == SCRATCH.bytes.get().cast() && len <= SCRATCH_BYTES {
        return Some(Returned::Scratch(InUse(len)));
    }
    SCRATCH.state.set(State::Free);
    None
}
