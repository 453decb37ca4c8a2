//! The callbacks of a stream's life after its request headers, only in the module that follows streams.
//!
//! The end of a stream is said twice, in `proxy_on_log` and `proxy_on_delete`: a stream that is reset while it waits must
//! leave its place whichever of the two a host leaves out.

#![allow(unsafe_code, unreachable_pub, reason = "exported names")]

use crate::abi::{self, Buffer, Map};
use crate::envoy::Envoy;
use crate::instances;

const CONTINUE: u32 = 0;

/// The response's headers are here.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_headers(stream: u32, _headers: usize, end_of_stream: u32) -> u32 {
    instances::with(|instances| {
        if let Some(instance) = instances.following(stream) {
            for (name, value) in instance.worker.on_response_headers(stream, end_of_stream != 0, &mut Envoy::root()) {
                let _ = abi::replace_header(Map::Response, name, &value);
            }
        }
    });
    CONTINUE
}

/// A piece of the response's body is here.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_body(stream: u32, size: usize, end_of_stream: u32) -> u32 {
    instances::with(|instances| {
        if let Some(instance) = instances.following(stream) {
            let reads = instance.worker.reads_answer(stream);
            let chunk = if reads { abi::buffer(Buffer::ResponseBody, size).unwrap_or_default() } else { Vec::new() };
            instance.worker.on_response_body(stream, size, &chunk, end_of_stream != 0, &mut Envoy::root());
        }
    });
    CONTINUE
}

/// The stream is over, and what there is of it can be logged.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_log(stream: u32) {
    ended(stream);
}

/// The stream, or a plugin instance, is no more.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(context: u32) {
    ended(context);
}

fn ended(stream: u32) {
    instances::with(|instances| {
        if let Some(instance) = instances.following(stream) {
            instance.worker.on_stream_end(stream, &mut Envoy::root());
        }
    });
}
