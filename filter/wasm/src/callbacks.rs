//! The callbacks that the host finds by name, and the effects that follow.
//!
//! Per request the host calls two of them: `proxy_on_context_create` and `proxy_on_request_headers`.
#![allow(unsafe_code, unreachable_pub, reason = "exported names")]

use forebay_admission::Lane;
use forebay_engine::answer;
use forebay_engine::leader::Answer;
use forebay_engine::policy::Tags;
use forebay_engine::policy::place::CHARGED_HEADER;
use forebay_engine::provenance::debug::HEADER as DEBUG_HEADER;
use forebay_engine::table::MAX_ANSWER_BYTES;
use forebay_engine::{CallOut, Effect, Module, Outcome, Stream, Worker};

use crate::abi::{self, Buffer, Level, Map};
use crate::envoy::Envoy;
use crate::instances::{self, Instance};

const LANE_HEADER: &str = "x-forebay-lane";
const PRIORITY_HEADER: &str = "priority";
const ACCEPT_ENCODING: &str = "accept-encoding";

/// RFC 9218: what the forecast reserved goes before the default urgency of 3, which the standard lane keeps by saying
/// nothing.
const RESERVED_PRIORITY: &str = "u=1";

const CONTINUE: u32 = 0;
const STOP: u32 = 1;

const MODULE: Module = if cfg!(feature = "streams") { Module::Streams } else { Module::Lean };

/// The VM has started; there is nothing to do before a plugin is configured.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> u32 {
    1
}

/// A plugin instance (no parent) or a stream came into being.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    if parent != 0 {
        instances::with(|instances| instances.stream_created(context, parent));
    }
}

/// Reads a plugin instance's configuration; 0 refuses it.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(root: u32, size: usize) -> u32 {
    let json = abi::buffer(Buffer::PluginConfiguration, size).unwrap_or_default();
    match Worker::configure_in(MODULE, &json) {
        Ok(worker) => {
            instances::with(|instances| instances.configured(root, worker));
            instances::start_ticking();
            1
        }
        Err(error) => {
            abi::log(Level::Critical, &error.to_string());
            0
        }
    }
}

/// Time passes.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_tick(root: u32) {
    instances::with(|instances| {
        instances.ticked(root);
        if let Some(instance) = instances.of_root(root) {
            let effects = instance.worker.on_tick(&mut Envoy::root());
            carry_out(instance, effects);
        }
    });
}

/// A request's headers are here.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(stream: u32, headers: usize, end_of_stream: u32) -> u32 {
    let mut host = Envoy::request(headers);
    let outcome = instances::with(|instances| {
        let instance = instances.of_stream(stream)?;
        let outcome = match MODULE {
            Module::Lean => instance.worker.on_request(&mut host),
            Module::Streams => {
                let stream = Stream { id: stream, end_of_stream: end_of_stream != 0 };
                instance.worker.on_stream(stream, &mut host)
            }
        };
        if instance.worker.strips_debug_header() && host.headers.has(DEBUG_HEADER) {
            let _ = abi::remove_header(Map::Request, DEBUG_HEADER);
        }
        let (tags, token) = instance.worker.marks();
        match &outcome {
            Outcome::Admit(lane) => {
                mark_admitted(&mut host, *lane, tags, token);
                ask_plain_answer(instance, stream);
            }
            Outcome::Pass if tags.lane => drop_lane(&mut host),
            Outcome::Wait { tick_ms: Some(ms) } => set_tick_period(instance.root, stream, *ms),
            Outcome::Pass | Outcome::Charged | Outcome::Refuse(_) | Outcome::Wait { tick_ms: None } => {}
        }
        Some(outcome)
    });
    match outcome.flatten() {
        Some(Outcome::Refuse(refusal)) => refuse(&refusal),
        Some(Outcome::Wait { .. }) => STOP,
        Some(Outcome::Admit(_) | Outcome::Pass | Outcome::Charged) => CONTINUE,
        None => {
            drop_lane(&mut host);
            CONTINUE
        }
    }
}

fn mark_admitted(host: &mut Envoy, lane: Lane, tags: Tags, token: Option<&str>) {
    if tags.lane {
        set_header(host, LANE_HEADER, lane.name());
    }
    if let Some(token) = token {
        set_header(host, CHARGED_HEADER, token);
    }
    if tags.priority && lane == Lane::Reserved && !host.headers.has(PRIORITY_HEADER) {
        let _ = abi::add_header(Map::Request, PRIORITY_HEADER, RESERVED_PRIORITY);
    }
}

/// What is read in an answer must not be encoded.
fn ask_plain_answer(instance: &Instance, stream: u32) {
    if instance.worker.reads_answer(stream) {
        let _ = abi::remove_header(Map::Request, ACCEPT_ENCODING);
    }
}

/// A mutation clears the route cache, so only what is there is removed.
fn drop_lane(host: &mut Envoy) {
    if host.headers.has(LANE_HEADER) {
        let _ = abi::remove_header(Map::Request, LANE_HEADER);
    }
}

/// Sets a header to this one value, whatever the client sent; adding is cheaper than replacing.
fn set_header(host: &mut Envoy, name: &str, value: &str) {
    let _ = if host.headers.has(name) {
        abi::replace_header(Map::Request, name, value)
    } else {
        abi::add_header(Map::Request, name, value)
    };
}

/// The controller answered, or did not.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_http_call_response(
    root: u32,
    token: u32,
    headers: usize,
    body_size: usize,
    _trailers: usize,
) {
    instances::with(|instances| {
        let Some(instance) = instances.of_root(root) else { return };
        let Some(place) = instance.calls.iter().position(|(known, _)| *known == token) else { return };
        let (_, kind) = instance.calls.swap_remove(place);
        let effects = instance.worker.on_answer(kind, answer(headers, body_size), &mut Envoy::root());
        carry_out(instance, effects);
    });
}

/// Without headers there was no answer at all: connection failure or reset.
fn answer(headers: usize, body_size: usize) -> Answer {
    if headers == 0 {
        return Answer::Failed;
    }
    if body_size > MAX_ANSWER_BYTES {
        return Answer::Oversized;
    }
    let status = abi::header(Map::CallResponse, ":status").ok();
    let status = status.and_then(|status| std::str::from_utf8(&status).ok().and_then(|status| status.parse().ok()));
    match status {
        Some(status) => {
            Answer::Received { status, body: abi::buffer(Buffer::CallResponseBody, body_size).unwrap_or_default() }
        }
        None => Answer::Failed,
    }
}

/// Asks for another tick period in a callback about a stream: the timer is that of the root.
fn set_tick_period(root: u32, stream: u32, ms: u32) {
    if abi::set_effective_context(root).is_ok() {
        let _ = abi::set_tick_period_ms(ms);
    }
    let _ = abi::set_effective_context(stream);
}

/// Lets a waiting stream go on.
fn resume(instance: &Instance, stream: u32, lane: Option<Lane>) {
    // A stream that the host does not know any more is over.
    if abi::set_effective_context(stream).is_err() {
        return;
    }
    let mut host = Envoy::root();
    let (tags, token) = instance.worker.marks();
    match lane {
        Some(lane) => {
            mark_admitted(&mut host, lane, tags, token);
            ask_plain_answer(instance, stream);
        }
        None if tags.lane => drop_lane(&mut host),
        None => {}
    }
    let _ = abi::continue_request();
}

/// Answers a waiting stream.
fn answer_waiting(stream: u32, refusal: &answer::Answer) {
    if abi::set_effective_context(stream).is_ok() && refuse(refusal) == CONTINUE {
        let _ = abi::continue_request();
    }
}

fn refuse(refusal: &answer::Answer) -> u32 {
    let headers: Vec<_> = refusal.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let status = u32::from(refusal.status);
    match abi::send_local_response(status, refusal.details, &headers, &refusal.body, refusal.grpc_status) {
        Ok(()) => STOP,
        // Without an answer the stream would hang; the host said no, so it goes on.
        Err(_) => CONTINUE,
    }
}

fn carry_out(instance: &mut Instance, effects: Vec<Effect>) {
    // Those about streams come last, and change what the host is asked about.
    let mut about_streams = false;
    for effect in effects {
        about_streams |= matches!(effect, Effect::Resume { .. } | Effect::Answer { .. });
        match effect {
            Effect::Call(call) => dispatch(instance, &call),
            Effect::Count(metric, by) => {
                if let Some((_, id)) = instance.metrics.iter().find(|(known, _)| *known == metric) {
                    abi::increment_metric(*id, by);
                }
            }
            Effect::CountNamed(number, by) => instance.count_named(number, by),
            Effect::OverAdmissionBound(units) => {
                if let Some(id) = instance.over_admission_bound {
                    abi::record_metric(id, units);
                }
            }
            Effect::GuardLimit(number, limit) => instance.tell_limit(number, limit),
            Effect::Warn(text) => abi::log(Level::Warn, &text),
            Effect::Resume { stream, lane } => resume(instance, stream, lane),
            Effect::Answer { stream, refusal } => answer_waiting(stream, &refusal),
            Effect::TickEvery(ms) => {
                let _ = abi::set_effective_context(instance.root);
                let _ = abi::set_tick_period_ms(ms);
            }
        }
    }
    if about_streams {
        let _ = abi::set_effective_context(instance.root);
    }
}

fn dispatch(instance: &mut Instance, call: &CallOut) {
    let headers = [
        (":method", "POST"),
        (":path", "/v1/sync"),
        (":authority", call.authority.as_str()),
        ("content-type", "application/octet-stream"),
    ];
    match abi::http_call(&call.cluster, &headers, &call.body, call.timeout_ms) {
        Ok(token) => instance.calls.push((token, call.kind)),
        // Most likely the cluster does not exist (yet); the leader tries again after its pause.
        Err(_) => {
            let effects = instance.worker.on_answer(call.kind, Answer::Failed, &mut Envoy::root());
            for effect in effects {
                if let Effect::Warn(text) = effect {
                    abi::log(Level::Warn, &text);
                }
            }
        }
    }
}
