//! Logs, time, timer, buffers, properties, contexts.
//!
//! Buffers: the two configurations (readable while the root starts, as in Envoy) and the body of the call answer
//! being delivered. Bodies of proxied streams do not exist in this host.

use super::{Imports, host_calls};
use crate::guest::{Guest, Reply, status};
use crate::stream::Phase;
use crate::vm::AfterCall;
use crate::{LogLevel, Status};

/// Buffer types of the ABI that this host has.
const RESPONSE_BODY: u32 = 1;
const CALL_RESPONSE_BODY: u32 = 4;
const VM_CONFIGURATION: u32 = 6;
const PLUGIN_CONFIGURATION: u32 = 7;

pub(super) fn link(imports: &mut Imports) -> wasmtime::Result<()> {
    host_calls!(imports, "env", status, {
        proxy_log(level: u32, ptr: u32, len: u32) => log;
        proxy_get_log_level(level_out: u32) => |guest: &mut Guest<'_>, out| guest.write_u32(out, LogLevel::Trace as u32);
        proxy_get_current_time_nanoseconds(time_out: u32) => get_current_time;
        proxy_set_tick_period_milliseconds(period_ms: u32) => set_tick_period;
        proxy_get_buffer_bytes(kind: u32, start: u32, max: u32, ptr_out: u32, len_out: u32) => get_buffer;
        proxy_set_buffer_bytes(_kind: u32, _start: u32, _size: u32, _ptr: u32, _len: u32)
            => |_: &mut Guest<'_>, _, _, _, _, _| Err(Status::NotFound.into());
        proxy_get_property(path: u32, path_len: u32, ptr_out: u32, len_out: u32) => get_property;
        proxy_set_property(path: u32, path_len: u32, ptr: u32, len: u32) => set_property;
        proxy_set_effective_context(context: u32) => set_effective_context;
        proxy_done() => done;
        proxy_get_status(code_out: u32, ptr_out: u32, len_out: u32) => get_status;
        proxy_call_foreign_function(_name: u32, _name_len: u32, _ptr: u32, _len: u32, _ptr_out: u32, _len_out: u32)
            => |_: &mut Guest<'_>, _, _, _, _, _, _| Err(Status::NotFound.into());
    });
    Ok(())
}

fn log(guest: &mut Guest<'_>, level: u32, ptr: u32, len: u32) -> Reply {
    let level = LogLevel::from_abi(level).ok_or(Status::BadArgument)?;
    let text = guest.vec(ptr, len)?;
    let vm = guest.state().vm;
    guest.world().log(vm, level, &text);
    Ok(())
}

fn get_current_time(guest: &mut Guest<'_>, time_out: u32) -> Reply {
    let wall_ns = guest.world().clock.wall_ns;
    guest.write_u64(time_out, wall_ns)
}

fn set_tick_period(guest: &mut Guest<'_>, period_ms: u32) -> Reply {
    let arming = guest.world().next_arming();
    let now_ns = guest.world().clock.steady_ns;
    let state = guest.state();
    let root = state.effective_root();
    let root = state.roots.get_mut(&root).ok_or(Status::BadArgument)?;
    root.tick_period_ms = period_ms;
    root.due = (period_ms > 0).then(|| (now_ns + u64::from(period_ms) * 1_000_000, arming));
    Ok(())
}

fn get_buffer(guest: &mut Guest<'_>, kind: u32, start: u32, max: u32, ptr_out: u32, len_out: u32) -> Reply {
    let state = guest.state();
    let buffer = match kind {
        RESPONSE_BODY => state
            .streams
            .get(&state.effective_context)
            .filter(|stream| stream.phase == Phase::ResponseBody)
            .map(|stream| &stream.response_body),
        CALL_RESPONSE_BODY => state.call_response.as_ref().map(|answer| &answer.body),
        VM_CONFIGURATION => Some(&state.configuration),
        PLUGIN_CONFIGURATION => state.starting.and_then(|root| state.roots.get(&root)).map(|root| &root.configuration),
        _ => None,
    };
    let buffer = buffer.ok_or(Status::NotFound)?;
    let start = start as usize;
    let end = start.checked_add(max as usize).ok_or(Status::BadArgument)?.min(buffer.len());
    let part = buffer.get(start..end).ok_or(Status::BadArgument)?.to_vec();
    if part.is_empty() {
        // Envoy answers Ok here and leaves the outputs as they were.
        return Ok(());
    }
    guest.give(&part, ptr_out, len_out)
}

fn get_property(guest: &mut Guest<'_>, path: u32, path_len: u32, ptr_out: u32, len_out: u32) -> Reply {
    let path = guest.vec(path, path_len)?;
    let own = guest.state().effective_stream().and_then(|stream| {
        let found = stream.filter_state.get(&path).or_else(|| stream.properties.get(&path));
        found.cloned()
    });
    let value = own.or_else(|| guest.world().properties.get(&path).cloned()).ok_or(Status::NotFound)?;
    guest.give(&value, ptr_out, len_out)
}

/// Writes filter state of the stream; a root has none.
fn set_property(guest: &mut Guest<'_>, path: u32, path_len: u32, ptr: u32, len: u32) -> Reply {
    let path = guest.vec(path, path_len)?;
    let value = guest.vec(ptr, len)?;
    let stream = guest.state().effective_stream().ok_or(Status::NotFound)?;
    stream.filter_state.insert(path, value);
    Ok(())
}

fn set_effective_context(guest: &mut Guest<'_>, context: u32) -> Reply {
    let state = guest.state();
    if !state.streams.contains_key(&context) && !state.roots.contains_key(&context) {
        return Err(Status::BadArgument.into());
    }
    state.effective_context = context;
    Ok(())
}

/// Ends a root that answered "not yet" in `proxy_on_done`.
fn done(guest: &mut Guest<'_>) -> Reply {
    let state = guest.state();
    let context = state.effective_root();
    if !state.roots.get(&context).is_some_and(|root| root.draining) {
        return Err(Status::NotFound.into());
    }
    state.after_call.push(AfterCall::RootDone(context));
    Ok(())
}

/// Status of the last gRPC call: there are none.
fn get_status(guest: &mut Guest<'_>, code_out: u32, ptr_out: u32, len_out: u32) -> Reply {
    guest.write_u32(code_out, 0)?;
    guest.give(&[], ptr_out, len_out)
}
