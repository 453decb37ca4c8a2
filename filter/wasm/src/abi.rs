//! The host functions of proxy-wasm ABI 0.2.1, each behind a safe function that returns what the host said.
//!
//! Values come back in memory that the host asked [`proxy_on_memory_allocate`] for, exactly as long as the value, so
//! taking them over needs no copy.
//!
//! Source: proxy-wasm/spec, abi-versions/v0.2.1; WASI preview 1 for the steady clock.
#![allow(unsafe_code, unreachable_pub, reason = "exported names and host functions")]

mod scratch;

use std::alloc::{Layout, alloc};

pub(crate) use scratch::Returned;

/// A status other than "ok".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    NotFound,
    CasMismatch,
    Other,
}

/// Header maps.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Map {
    Request = 0,
    Response = 2,
    CallResponse = 6,
}

/// Buffers.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Buffer {
    #[cfg(feature = "streams")]
    ResponseBody = 1,
    CallResponseBody = 4,
    PluginConfiguration = 7,
}

/// Log levels.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Level {
    Warn = 3,
    Critical = 5,
}

/// Kinds of metrics.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum MetricKind {
    Counter = 0,
    Gauge = 1,
}

const MONOTONIC: u32 = 1;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, len: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(nanos: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(ms: u32) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, max: usize, data: *mut *mut u8, len: *mut usize) -> u32;
    fn proxy_get_header_map_value(map: u32, key: *const u8, key_len: usize, data: *mut *mut u8, len: *mut usize)
    -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, len: *mut usize) -> u32;
    fn proxy_add_header_map_value(map: u32, key: *const u8, key_len: usize, value: *const u8, len: usize) -> u32;
    fn proxy_replace_header_map_value(map: u32, key: *const u8, key_len: usize, value: *const u8, len: usize) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_len: usize) -> u32;
    fn proxy_set_property(path: *const u8, path_len: usize, value: *const u8, len: usize) -> u32;
    fn proxy_get_property(path: *const u8, path_len: usize, data: *mut *mut u8, len: *mut usize) -> u32;
    fn proxy_get_shared_data(key: *const u8, key_len: usize, data: *mut *mut u8, len: *mut usize, cas: *mut u32)
    -> u32;
    fn proxy_set_shared_data(key: *const u8, key_len: usize, value: *const u8, len: usize, cas: u32) -> u32;
    fn proxy_http_call(
        upstream: *const u8,
        upstream_len: usize,
        headers: *const u8,
        headers_len: usize,
        body: *const u8,
        body_len: usize,
        trailers: *const u8,
        trailers_len: usize,
        timeout_ms: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_len: usize,
        body: *const u8,
        body_len: usize,
        headers: *const u8,
        headers_len: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_continue_stream(stream_type: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_len: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, nanos: *mut u64) -> u32;
    fn random_get(bytes: *mut u8, len: usize) -> u32;
}

/// Memory for the host to return a value in.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    if let Some(data) = scratch::give(size) {
        return data;
    }
    match Layout::array::<u8>(size) {
        // SAFETY: the layout is not empty.
        Ok(layout) if size > 0 => unsafe { alloc(layout) },
        _ => std::ptr::null_mut(),
    }
}

/// Declares the ABI version by its name.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

fn check(status: u32) -> Result<(), Status> {
    match status {
        0 => Ok(()),
        1 => Err(Status::NotFound),
        8 => Err(Status::CasMismatch),
        _ => Err(Status::Other),
    }
}

/// Takes over a value that the host allocated.
fn returned(status: u32, data: *mut u8, len: usize) -> Result<Vec<u8>, Status> {
    check(status)?;
    if data.is_null() || len == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the host got `data` from `proxy_on_memory_allocate(len)` for this value and gives it away; the layout is
    // that of a vector of `len` bytes with a capacity of `len`.
    Ok(unsafe { Vec::from_raw_parts(data, len, len) })
}

pub(crate) fn log(level: Level, text: &str) {
    // SAFETY: the host reads `text` during the call. A log line that is lost is nothing to act upon.
    let _ = unsafe { proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// Nanoseconds of the steady clock, the same for all workers of the process.
pub(crate) fn steady_nanos() -> u64 {
    let mut nanos = 0;
    // SAFETY: the host writes eight bytes during the call. It cannot fail for this clock.
    let _ = unsafe { clock_time_get(MONOTONIC, 1, &mut nanos) };
    nanos
}

/// Sixteen random bytes.
pub(crate) fn random() -> [u64; 2] {
    let mut words = [0; 2];
    // SAFETY: the host writes sixteen bytes during the call, and any bytes are two words. Should it write fewer, the rest
    // stays zero: guessable, and of no harm to memory.
    let _ = unsafe { random_get(words.as_mut_ptr().cast(), size_of_val(&words)) };
    words
}

/// Nanoseconds since 1970.
pub(crate) fn wall_nanos() -> u64 {
    let mut nanos = 0;
    // SAFETY: the host writes eight bytes during the call.
    let _ = unsafe { proxy_get_current_time_nanoseconds(&mut nanos) };
    nanos
}

pub(crate) fn set_tick_period_ms(ms: u32) -> Result<(), Status> {
    // SAFETY: no memory is involved.
    check(unsafe { proxy_set_tick_period_milliseconds(ms) })
}

pub(crate) fn buffer(buffer: Buffer, max: usize) -> Result<Vec<u8>, Status> {
    let (mut data, mut len) = (std::ptr::null_mut(), 0);
    // SAFETY: the host writes the two words during the call.
    let status = unsafe { proxy_get_buffer_bytes(buffer as u32, 0, max, &mut data, &mut len) };
    returned(status, data, len)
}

/// The first value of a header.
pub(crate) fn header(map: Map, key: &str) -> Result<Vec<u8>, Status> {
    let (mut data, mut len) = (std::ptr::null_mut(), 0);
    // SAFETY: the host reads the key and writes the two words during the call.
    let status = unsafe { proxy_get_header_map_value(map as u32, key.as_ptr(), key.len(), &mut data, &mut len) };
    returned(status, data, len)
}

/// All headers, in the ABI's serialisation.
pub(crate) fn header_pairs(map: Map) -> Result<Returned, Status> {
    let (mut data, mut len) = (std::ptr::null_mut(), 0);
    let offered = scratch::offer();
    // SAFETY: the host writes the two words during the call.
    let status = unsafe { proxy_get_header_map_pairs(map as u32, &mut data, &mut len) };
    match if offered { scratch::take(data, len) } else { None } {
        Some(value) => check(status).map(|()| value),
        None => returned(status, data, len).map(Returned::Own),
    }
}

pub(crate) fn add_header(map: Map, key: &str, value: &str) -> Result<(), Status> {
    // SAFETY: the host reads key and value during the call.
    check(unsafe { proxy_add_header_map_value(map as u32, key.as_ptr(), key.len(), value.as_ptr(), value.len()) })
}

/// Sets a header, whatever values it had.
pub(crate) fn replace_header(map: Map, key: &str, value: &str) -> Result<(), Status> {
    // SAFETY: the host reads key and value during the call.
    check(unsafe { proxy_replace_header_map_value(map as u32, key.as_ptr(), key.len(), value.as_ptr(), value.len()) })
}

pub(crate) fn remove_header(map: Map, key: &str) -> Result<(), Status> {
    // SAFETY: the host reads the key during the call.
    check(unsafe { proxy_remove_header_map_value(map as u32, key.as_ptr(), key.len()) })
}

/// A property; the segments of `path` are separated by NUL.
pub(crate) fn property(path: &str) -> Result<Vec<u8>, Status> {
    let (mut data, mut len) = (std::ptr::null_mut(), 0);
    // SAFETY: the host reads the path and writes the two words during the call.
    let status = unsafe { proxy_get_property(path.as_ptr(), path.len(), &mut data, &mut len) };
    returned(status, data, len)
}

/// Writes the stream's filter state. A line that is lost is nothing to act upon.
pub(crate) fn set_property(path: &str, value: &str) {
    // SAFETY: the host reads path and value during the call.
    let _ = unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) };
}

/// A shared value and its compare mark.
pub(crate) fn shared_data(key: &str) -> Result<(Vec<u8>, u32), Status> {
    let (mut data, mut len, mut cas) = (std::ptr::null_mut(), 0, 0);
    // SAFETY: the host reads the key and writes the three words during the call.
    let status = unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), &mut data, &mut len, &mut cas) };
    returned(status, data, len).map(|value| (value, cas))
}

pub(crate) fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
    // SAFETY: the host reads key and value during the call.
    check(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

/// Starts a call to an upstream cluster and returns the token that its answer carries.
pub(crate) fn http_call(cluster: &str, headers: &[(&str, &str)], body: &[u8], timeout_ms: u32) -> Result<u32, Status> {
    let headers = pairs(headers);
    let trailers = pairs(&[]);
    let mut token = 0;
    // SAFETY: the host reads all buffers and writes the token during the call.
    let status = unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            timeout_ms,
            &mut token,
        )
    };
    check(status).map(|()| token)
}

/// Answers the current stream from here. `grpc_status` is what a gRPC client sees.
pub(crate) fn send_local_response(
    status: u32,
    details: &str,
    headers: &[(&str, &str)],
    body: &str,
    grpc_status: i32,
) -> Result<(), Status> {
    let headers = pairs(headers);
    // SAFETY: the host reads all buffers during the call.
    check(unsafe {
        proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    })
}

/// Makes the host functions that follow in this callback about another context.
pub(crate) fn set_effective_context(context: u32) -> Result<(), Status> {
    // SAFETY: no memory is involved.
    check(unsafe { proxy_set_effective_context(context) })
}

/// Lets the request of the effective context go on that was stopped at its headers.
pub(crate) fn continue_request() -> Result<(), Status> {
    const HTTP_REQUEST: u32 = 0;
    // SAFETY: no memory is involved.
    check(unsafe { proxy_continue_stream(HTTP_REQUEST) })
}

pub(crate) fn define_metric(kind: MetricKind, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: the host reads the name and writes the id during the call.
    check(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) }).map(|()| id)
}

pub(crate) fn increment_metric(id: u32, by: u64) {
    let by = i64::try_from(by).unwrap_or(i64::MAX);
    // SAFETY: no memory is involved. A count that the host refuses is nothing to act upon.
    let _ = unsafe { proxy_increment_metric(id, by) };
}

pub(crate) fn record_metric(id: u32, value: u64) {
    // SAFETY: no memory is involved.
    let _ = unsafe { proxy_record_metric(id, value) };
}

/// The ABI's serialisation of a header map: the count, all lengths, then every key and value followed by NUL.
fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes =
        Vec::with_capacity(4 + pairs.iter().map(|(key, value)| key.len() + value.len() + 10).sum::<usize>());
    bytes.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
    for (key, value) in pairs {
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    for (key, value) in pairs {
        for text in [key, value] {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}
