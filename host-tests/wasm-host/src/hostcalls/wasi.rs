//! The part of WASI preview 1 that Envoy offers and a Rust module may want: clocks, standard output and error,
//! randomness (seeded), an empty environment, and exit (a trap).

use super::{Imports, host_calls};
use crate::guest::{Fail, Guest, Reply};
use crate::{LogLevel, Status};

/// WASI error numbers.
const SUCCESS: u32 = 0;
const BAD_FILE: u32 = 8;
const FAULT: u32 = 21;
const NOT_SUPPORTED: u32 = 58;

/// Most pieces of one `fd_write`; cuts off a hostile count.
const MAX_PIECES: u32 = 1024;

pub(super) fn link(imports: &mut Imports) -> wasmtime::Result<()> {
    host_calls!(imports, "wasi_snapshot_preview1", errno, {
        clock_time_get(clock: u32, _precision: u64, time_out: u32) => clock_time_get;
        fd_write(file: u32, pieces: u32, count: u32, written_out: u32) => fd_write;
        fd_read(_file: u32, _pieces: u32, _count: u32, _read_out: u32) => |_: &mut Guest<'_>, _, _, _, _| Ok(BAD_FILE);
        fd_seek(_file: u32, _offset: i64, _whence: u32, _position_out: u32) => |_: &mut Guest<'_>, _, _, _, _| Ok(BAD_FILE);
        fd_close(_file: u32) => |_: &mut Guest<'_>, _| Ok(BAD_FILE);
        fd_fdstat_get(_file: u32, _stat_out: u32) => |_: &mut Guest<'_>, _, _| Ok(BAD_FILE);
        fd_prestat_get(_file: u32, _stat_out: u32) => |_: &mut Guest<'_>, _, _| Ok(BAD_FILE);
        fd_prestat_dir_name(_file: u32, _ptr: u32, _len: u32) => |_: &mut Guest<'_>, _, _, _| Ok(BAD_FILE);
        environ_sizes_get(count_out: u32, bytes_out: u32) => no_strings;
        environ_get(_list_out: u32, _bytes_out: u32) => |_: &mut Guest<'_>, _, _| Ok(SUCCESS);
        args_sizes_get(count_out: u32, bytes_out: u32) => no_strings;
        args_get(_list_out: u32, _bytes_out: u32) => |_: &mut Guest<'_>, _, _| Ok(SUCCESS);
        random_get(ptr: u32, len: u32) => random_get;
        sched_yield() => |_: &mut Guest<'_>| Ok(SUCCESS);
    });
    host_calls!(imports, "wasi_snapshot_preview1", std::convert::identity, {
        proc_exit(code: u32) => |_: &mut Guest<'_>, code: u32| -> wasmtime::Result<()> {
            Err(wasmtime::Error::msg(format!("the module called proc_exit({code})")))
        };
    });
    Ok(())
}

fn errno(reply: Reply<u32>) -> wasmtime::Result<u32> {
    match reply {
        Ok(errno) => Ok(errno),
        Err(Fail::Status(_)) => Ok(FAULT),
        Err(Fail::Trap(trap)) => Err(trap),
    }
}

/// Clock 0 is the wall clock, clock 1 the steady one.
fn clock_time_get(guest: &mut Guest<'_>, clock: u32, _precision: u64, time_out: u32) -> Reply<u32> {
    let now = guest.world().clock;
    let time_ns = match clock {
        0 => now.wall_ns,
        1 => now.steady_ns,
        _ => return Ok(NOT_SUPPORTED),
    };
    guest.write_u64(time_out, time_ns)?;
    Ok(SUCCESS)
}

/// One log line per write: standard output as info, standard error as error.
fn fd_write(guest: &mut Guest<'_>, file: u32, pieces: u32, count: u32, written_out: u32) -> Reply<u32> {
    let level = match file {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return Ok(BAD_FILE),
    };
    let mut text = Vec::new();
    for piece in 0..count.min(MAX_PIECES) {
        let at = pieces.checked_add(piece * 8).ok_or(Status::InvalidMemoryAccess)?;
        let [a, b, c, d, e, f, g, h] = *guest.bytes(at, 8)? else {
            return Ok(FAULT);
        };
        let (ptr, len) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        text.extend_from_slice(guest.bytes(ptr, len)?);
    }
    let vm = guest.state().vm;
    guest.world().log(vm, level, text.strip_suffix(b"\n").unwrap_or(&text));
    guest.write_u32(written_out, text.len() as u32)?;
    Ok(SUCCESS)
}

fn no_strings(guest: &mut Guest<'_>, count_out: u32, bytes_out: u32) -> Reply<u32> {
    guest.write_u32(count_out, 0)?;
    guest.write_u32(bytes_out, 0)?;
    Ok(SUCCESS)
}

fn random_get(guest: &mut Guest<'_>, ptr: u32, len: u32) -> Reply<u32> {
    // Refuse before generating: a hostile length must not cost the host its memory.
    guest.bytes(ptr, len)?;
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while bytes.len() < len as usize {
        bytes.extend_from_slice(&guest.world().next_random().to_le_bytes());
    }
    guest.write(ptr, &bytes[..len as usize])?;
    Ok(SUCCESS)
}
