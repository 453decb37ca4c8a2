//! Letting a stream go on, answering it, resetting it.
//!
//! All three act on the effective context and take effect only after the callback has returned, as Envoy's
//! after-VM-call actions do. On a root they answer Ok and do nothing, as in Envoy. A local reply stops the
//! stream of the callback under way whatever it returns, even when the reply was for another stream.

use super::{Imports, host_calls};
use crate::guest::{Guest, Reply, status};
use crate::stream::{LocalReply, Phase};
use crate::vm::AfterCall;
use crate::{Headers, Status};

/// Stream type of the ABI that can be continued here: the request.
const REQUEST: u32 = 0;
/// Largest stream type: 1 response, 2 downstream, 3 upstream.
const LAST_STREAM_TYPE: u32 = 3;

pub(super) fn link(imports: &mut Imports) -> wasmtime::Result<()> {
    host_calls!(imports, "env", status, {
        proxy_continue_stream(stream_type: u32) => continue_stream;
        proxy_close_stream(stream_type: u32) => close_stream;
        proxy_send_local_response(
            code: u32, details: u32, details_len: u32, body: u32, body_len: u32,
            headers: u32, headers_len: u32, grpc_status: i32
        ) => |guest: &mut Guest<'_>, code, details, details_len, body, body_len, headers, headers_len, grpc_status| {
            let reply = LocalReply {
                status: code,
                details: guest.text(details, details_len)?,
                body: guest.vec(body, body_len)?,
                headers: Headers::decode(guest.bytes(headers, headers_len)?).ok_or(Status::BadArgument)?,
                grpc_status: u32::try_from(grpc_status).ok(),
            };
            send_local_response(guest, reply)
        };
    });
    Ok(())
}

fn continue_stream(guest: &mut Guest<'_>, stream_type: u32) -> Reply {
    if stream_type > LAST_STREAM_TYPE {
        return Err(Status::BadArgument.into());
    }
    let state = guest.state();
    let context = state.effective_context;
    let Some(stream) = state.effective_stream() else {
        return Ok(());
    };
    if stream_type == REQUEST && stream.phase == Phase::RequestHeaders {
        // Envoy drops the header pointer at once and continues later.
        stream.phase = Phase::Proceeding;
        state.after_call.push(AfterCall::Continue(context));
    }
    Ok(())
}

fn close_stream(guest: &mut Guest<'_>, stream_type: u32) -> Reply {
    if stream_type > LAST_STREAM_TYPE {
        return Err(Status::BadArgument.into());
    }
    let state = guest.state();
    let context = state.effective_context;
    if state.streams.contains_key(&context) {
        state.after_call.push(AfterCall::Close(context));
    }
    Ok(())
}

fn send_local_response(guest: &mut Guest<'_>, reply: LocalReply) -> Reply {
    let state = guest.state();
    state.stop_iteration = true;
    let context = state.effective_context;
    if state.streams.contains_key(&context) {
        state.after_call.push(AfterCall::LocalReply(context, reply));
    }
    Ok(())
}
