//! The calling VM as a host call sees it: its memory, its state, and the way to answer.
//!
//! Buffers are answered as Envoy does it: the module's own allocator gives the space, and nothing at all (a null
//! pointer) stands for an empty value.

use wasmtime::{Caller, Memory};

use crate::Status;
use crate::vm::VmState;
use crate::world::World;

/// Why a host call did not succeed: the module is told, or the callback ends here.
#[derive(Debug)]
pub(crate) enum Fail {
    Status(Status),
    Trap(wasmtime::Error),
}

impl From<Status> for Fail {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<wasmtime::Error> for Fail {
    fn from(trap: wasmtime::Error) -> Self {
        Self::Trap(trap)
    }
}

pub(crate) type Reply<T = ()> = Result<T, Fail>;

/// The return value of a host call.
pub(crate) fn status(reply: Reply) -> wasmtime::Result<u32> {
    match reply {
        Ok(()) => Ok(Status::Ok as u32),
        Err(Fail::Status(status)) => Ok(status as u32),
        Err(Fail::Trap(trap)) => Err(trap),
    }
}

pub(crate) struct Guest<'a> {
    caller: Caller<'a, VmState>,
}

impl<'a> Guest<'a> {
    /// Begins the host call that has this place in the table of counts.
    pub(crate) fn enter(caller: Caller<'a, VmState>, place: usize) -> Self {
        let mut guest = Self { caller };
        guest.world().hostcalls[place] += 1;
        guest
    }

    pub(crate) fn state(&mut self) -> &mut VmState {
        self.caller.data_mut()
    }

    pub(crate) fn world(&mut self) -> &mut World {
        self.caller.data_mut().world.as_mut().expect("the process lends its world for every callback")
    }

    fn memory(&self) -> Reply<Memory> {
        let missing = || wasmtime::Error::msg("host call before the module was initialised");
        Ok(self.caller.data().memory.ok_or_else(missing)?)
    }

    /// The module's bytes at `ptr`.
    pub(crate) fn bytes(&self, ptr: u32, len: u32) -> Reply<&[u8]> {
        let start = ptr as usize;
        let range = start..start.saturating_add(len as usize);
        Ok(self.memory()?.data(&self.caller).get(range).ok_or(Status::InvalidMemoryAccess)?)
    }

    pub(crate) fn vec(&self, ptr: u32, len: u32) -> Reply<Vec<u8>> {
        self.bytes(ptr, len).map(<[u8]>::to_vec)
    }

    pub(crate) fn text(&self, ptr: u32, len: u32) -> Reply<String> {
        self.bytes(ptr, len).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub(crate) fn write(&mut self, ptr: u32, bytes: &[u8]) -> Reply {
        let written = self.memory()?.write(&mut self.caller, ptr as usize, bytes);
        Ok(written.map_err(|_| Status::InvalidMemoryAccess)?)
    }

    pub(crate) fn write_u32(&mut self, ptr: u32, value: u32) -> Reply {
        self.write(ptr, &value.to_le_bytes())
    }

    pub(crate) fn write_u64(&mut self, ptr: u32, value: u64) -> Reply {
        self.write(ptr, &value.to_le_bytes())
    }

    /// Hands `value` over: copies it into space from the module's allocator and writes where and how long.
    pub(crate) fn give(&mut self, value: &[u8], ptr_out: u32, len_out: u32) -> Reply {
        let mut ptr = 0;
        if !value.is_empty() {
            let missing = || wasmtime::Error::msg("host call before the module was initialised");
            let allocate = self.caller.data().allocate.clone().ok_or_else(missing)?;
            ptr = allocate.call(&mut self.caller, value.len() as u32)?;
            if ptr == 0 {
                return Err(Status::InvalidMemoryAccess.into());
            }
            self.write(ptr, value)?;
        }
        self.write_u32(ptr_out, ptr)?;
        self.write_u32(len_out, value.len() as u32)
    }
}
