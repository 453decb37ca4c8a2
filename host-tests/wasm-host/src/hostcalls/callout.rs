//! HTTP calls out; gRPC ones exist and answer `Unimplemented`.
//!
//! As in Envoy a call needs an existing cluster and the three pseudo headers, else `BadArgument`. While a root
//! starts this host refuses every call the same way: in Envoy that fails or is unsafe, depending on the moment.

use std::time::Duration;

use super::{Imports, host_calls};
use crate::guest::{Guest, Reply, status};
use crate::{Headers, HttpCall, Status};

pub(super) fn link(imports: &mut Imports) -> wasmtime::Result<()> {
    host_calls!(imports, "env", status, {
        proxy_http_call(
            cluster: u32, cluster_len: u32, headers: u32, headers_len: u32, body: u32, body_len: u32,
            trailers: u32, trailers_len: u32, timeout_ms: u32, token_out: u32
        ) => |guest: &mut Guest<'_>, cluster, cluster_len, headers, headers_len, body, body_len, trailers, trailers_len, timeout_ms, token_out| {
            let call = HttpCall {
                vm: guest.state().vm,
                context: guest.state().effective_context,
                token: 0,
                cluster: guest.text(cluster, cluster_len)?,
                headers: Headers::decode(guest.bytes(headers, headers_len)?).ok_or(Status::BadArgument)?,
                body: guest.vec(body, body_len)?,
                trailers: Headers::decode(guest.bytes(trailers, trailers_len)?).ok_or(Status::BadArgument)?,
                timeout: Duration::from_millis(u64::from(timeout_ms)),
                issued_at_ns: guest.world().clock.steady_ns,
            };
            http_call(guest, call, token_out)
        };
        proxy_grpc_call(
            _a: u32, _b: u32, _c: u32, _d: u32, _e: u32, _f: u32, _g: u32, _h: u32, _i: u32, _j: u32, _k: u32, _l: u32
        ) => |_: &mut Guest<'_>, _, _, _, _, _, _, _, _, _, _, _, _| Err(Status::Unimplemented.into());
        proxy_grpc_stream(_a: u32, _b: u32, _c: u32, _d: u32, _e: u32, _f: u32, _g: u32, _h: u32, _i: u32)
            => |_: &mut Guest<'_>, _, _, _, _, _, _, _, _, _| Err(Status::Unimplemented.into());
        proxy_grpc_send(_token: u32, _ptr: u32, _len: u32, _end: u32)
            => |_: &mut Guest<'_>, _, _, _, _| Err(Status::Unimplemented.into());
        proxy_grpc_cancel(_token: u32) => |_: &mut Guest<'_>, _| Err(Status::Unimplemented.into());
        proxy_grpc_close(_token: u32) => |_: &mut Guest<'_>, _| Err(Status::Unimplemented.into());
    });
    Ok(())
}

fn http_call(guest: &mut Guest<'_>, mut call: HttpCall, token_out: u32) -> Reply {
    let complete = [":method", ":path", ":authority"].iter().all(|key| call.headers.get(key).is_some());
    let reachable = !guest.world().missing_clusters.contains(&call.cluster);
    let state = guest.state();
    if !complete || !reachable || state.starting.is_some() {
        return Err(Status::BadArgument.into());
    }
    state.next_token += 1;
    call.token = state.next_token;
    guest.write_u32(token_out, call.token)?;
    let world = guest.world();
    world.open_calls.insert((call.vm, call.token), call.context);
    world.calls.push(call);
    Ok(())
}
