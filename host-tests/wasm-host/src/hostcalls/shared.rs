//! Shared data and shared queues; the rules are in `shared_data.rs` and `shared_queue.rs`.

use super::{Imports, host_calls};
use crate::guest::{Guest, Reply, status};
use crate::{RootId, SharedDataCall, Status};

pub(super) fn link(imports: &mut Imports) -> wasmtime::Result<()> {
    host_calls!(imports, "env", status, {
        proxy_get_shared_data(key: u32, key_len: u32, ptr_out: u32, len_out: u32, cas_out: u32) => get_shared_data;
        proxy_set_shared_data(key: u32, key_len: u32, ptr: u32, len: u32, cas: u32) => set_shared_data;
        proxy_register_shared_queue(name: u32, name_len: u32, token_out: u32) => register_queue;
        proxy_resolve_shared_queue(vm_id: u32, vm_id_len: u32, name: u32, name_len: u32, token_out: u32) => resolve_queue;
        proxy_enqueue_shared_queue(token: u32, ptr: u32, len: u32) => enqueue;
        proxy_dequeue_shared_queue(token: u32, ptr_out: u32, len_out: u32) => dequeue;
    });
    Ok(())
}

/// Lets the fault-injection hook see the access; its status, if it gives one, ends the call.
fn injected(guest: &mut Guest<'_>, call: SharedDataCall<'_>) -> Option<Status> {
    let world = guest.world();
    let mut hook = world.shared_data_hook.take()?;
    let answer = hook(call, &mut world.shared_data);
    world.shared_data_hook = Some(hook);
    answer
}

fn not_ok(status: Status) -> Reply {
    if status == Status::Ok { Ok(()) } else { Err(status.into()) }
}

fn get_shared_data(guest: &mut Guest<'_>, key: u32, key_len: u32, ptr_out: u32, len_out: u32, cas_out: u32) -> Reply {
    let key = guest.vec(key, key_len)?;
    let vm_id = guest.state().vm_id.clone();
    if let Some(answer) = injected(guest, SharedDataCall::Get { vm_id: &vm_id, key: &key }) {
        return not_ok(answer);
    }
    let entry = guest.world().shared_data.get(&vm_id, &key).ok_or(Status::NotFound)?.clone();
    guest.give(&entry.value, ptr_out, len_out)?;
    guest.write_u32(cas_out, entry.cas)
}

fn set_shared_data(guest: &mut Guest<'_>, key: u32, key_len: u32, ptr: u32, len: u32, cas: u32) -> Reply {
    let (key, value) = (guest.vec(key, key_len)?, guest.vec(ptr, len)?);
    let vm_id = guest.state().vm_id.clone();
    let call = SharedDataCall::Set { vm_id: &vm_id, key: &key, value: &value, cas };
    if let Some(answer) = injected(guest, call) {
        return not_ok(answer);
    }
    not_ok(guest.world().shared_data.set(&vm_id, &key, &value, cas))
}

fn register_queue(guest: &mut Guest<'_>, name: u32, name_len: u32, token_out: u32) -> Reply {
    let name = guest.vec(name, name_len)?;
    let state = guest.state();
    let consumer = RootId { vm: state.vm, context: state.effective_root() };
    let vm_id = state.vm_id.clone();
    let token = guest.world().queues.register(&vm_id, name, consumer);
    guest.write_u32(token_out, token)
}

/// An empty `vm_id` means the caller's own.
fn resolve_queue(guest: &mut Guest<'_>, vm_id: u32, vm_id_len: u32, name: u32, name_len: u32, token_out: u32) -> Reply {
    let (vm_id, name) = (guest.text(vm_id, vm_id_len)?, guest.vec(name, name_len)?);
    let vm_id = if vm_id.is_empty() { guest.state().vm_id.clone() } else { vm_id };
    let token = guest.world().queues.resolve(vm_id, name).ok_or(Status::NotFound)?;
    guest.write_u32(token_out, token)
}

fn enqueue(guest: &mut Guest<'_>, token: u32, ptr: u32, len: u32) -> Reply {
    let item = guest.vec(ptr, len)?;
    if guest.world().queues.enqueue(token, item) { Ok(()) } else { Err(Status::NotFound.into()) }
}

fn dequeue(guest: &mut Guest<'_>, token: u32, ptr_out: u32, len_out: u32) -> Reply {
    let item = guest.world().queues.dequeue(token).ok_or(Status::NotFound)?;
    guest.give(&item.ok_or(Status::Empty)?, ptr_out, len_out)
}
