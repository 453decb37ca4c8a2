//! Header maps. Which one can be read or edited depends on the phase of the stream; see `stream.rs`.
//!
//! A map that is not there answers `BadArgument` to everything but `proxy_get_header_map_pairs`, which answers
//! an empty list, as Envoy does.

use super::{Imports, host_calls};
use crate::guest::{Guest, Reply, status};
use crate::stream::Phase;
use crate::vm::VmState;
use crate::{Headers, Status};

/// Map types of the ABI.
const REQUEST_HEADERS: u32 = 0;
const RESPONSE_HEADERS: u32 = 2;
const CALL_RESPONSE_HEADERS: u32 = 6;
const CALL_RESPONSE_TRAILERS: u32 = 7;

pub(super) fn link(imports: &mut Imports) -> wasmtime::Result<()> {
    host_calls!(imports, "env", status, {
        proxy_get_header_map_pairs(map: u32, ptr_out: u32, len_out: u32) => get_pairs;
        proxy_set_header_map_pairs(map: u32, ptr: u32, len: u32) => set_pairs;
        proxy_get_header_map_value(map: u32, key: u32, key_len: u32, ptr_out: u32, len_out: u32) => get_value;
        proxy_get_header_map_size(map: u32, size_out: u32) => get_size;
        proxy_add_header_map_value(map: u32, key: u32, key_len: u32, ptr: u32, len: u32) => add_value;
        proxy_replace_header_map_value(map: u32, key: u32, key_len: u32, ptr: u32, len: u32) => replace_value;
        proxy_remove_header_map_value(map: u32, key: u32, key_len: u32) => remove_value;
    });
    Ok(())
}

fn readable(state: &VmState, map: u32) -> Option<&Headers> {
    let stream = state.streams.get(&state.effective_context);
    match (map, stream.map(|stream| (stream, stream.phase))) {
        (REQUEST_HEADERS, Some((stream, Phase::RequestHeaders | Phase::Log))) => Some(&stream.request_headers),
        (RESPONSE_HEADERS, Some((stream, Phase::ResponseHeaders | Phase::Log))) => Some(&stream.response_headers),
        (CALL_RESPONSE_HEADERS, _) => state.call_response.as_ref().map(|answer| &answer.headers),
        (CALL_RESPONSE_TRAILERS, _) => state.call_response.as_ref().map(|answer| &answer.trailers),
        _ => None,
    }
}

fn editable(state: &mut VmState, map: u32) -> Reply<&mut Headers> {
    let stream = state.effective_stream().ok_or(Status::BadArgument)?;
    match (map, stream.phase) {
        (REQUEST_HEADERS, Phase::RequestHeaders) => Ok(&mut stream.request_headers),
        (RESPONSE_HEADERS, Phase::ResponseHeaders) => Ok(&mut stream.response_headers),
        _ => Err(Status::BadArgument.into()),
    }
}

fn get_pairs(guest: &mut Guest<'_>, map: u32, ptr_out: u32, len_out: u32) -> Reply {
    let pairs = readable(guest.state(), map).filter(|headers| !headers.is_empty()).map(Headers::encode);
    guest.give(&pairs.unwrap_or_default(), ptr_out, len_out)
}

fn set_pairs(guest: &mut Guest<'_>, map: u32, ptr: u32, len: u32) -> Reply {
    let pairs = Headers::decode(guest.bytes(ptr, len)?).ok_or(Status::BadArgument)?;
    *editable(guest.state(), map)? = pairs;
    Ok(())
}

fn get_value(guest: &mut Guest<'_>, map: u32, key: u32, key_len: u32, ptr_out: u32, len_out: u32) -> Reply {
    let key = guest.vec(key, key_len)?;
    let headers = readable(guest.state(), map).ok_or(Status::BadArgument)?;
    let value = headers.first(&key).ok_or(Status::NotFound)?.to_vec();
    guest.give(&value, ptr_out, len_out)
}

fn get_size(guest: &mut Guest<'_>, map: u32, size_out: u32) -> Reply {
    let size = readable(guest.state(), map).ok_or(Status::BadArgument)?.byte_size();
    guest.write_u32(size_out, size as u32)
}

fn add_value(guest: &mut Guest<'_>, map: u32, key: u32, key_len: u32, ptr: u32, len: u32) -> Reply {
    let (key, value) = (guest.vec(key, key_len)?, guest.vec(ptr, len)?);
    editable(guest.state(), map)?.add(&key, &value);
    Ok(())
}

fn replace_value(guest: &mut Guest<'_>, map: u32, key: u32, key_len: u32, ptr: u32, len: u32) -> Reply {
    let (key, value) = (guest.vec(key, key_len)?, guest.vec(ptr, len)?);
    editable(guest.state(), map)?.replace(&key, &value);
    Ok(())
}

fn remove_value(guest: &mut Guest<'_>, map: u32, key: u32, key_len: u32) -> Reply {
    let key = guest.vec(key, key_len)?;
    editable(guest.state(), map)?.remove(&key);
    Ok(())
}
