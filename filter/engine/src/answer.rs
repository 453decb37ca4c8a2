//! What a client is told: rate limit fields on any response, and the whole answer to a request that is refused here.
//!
//! The intuition: a refusal that says exactly when to come back costs one retry; one that does not costs a storm. So every
//! answer is made from the instant that the decision promises ([`Wait`], which knows of reserved slots to come), and never
//! names a time before it. After that instant clients are spread ([`retry`]). Where the pool behind a key is short and more
//! capacity is on its way, they are told to come when it is there.
//!
//! Two dialects, chosen by the request: plain HTTP gets `application/problem+json` ([`problem`]), gRPC gets status 8 with
//! `google.rpc` details ([`grpc`]). The status is 429, unless the policy says otherwise, even where the server and not the client is short of something:
//! meshes retry 503 and UNAVAILABLE by default (Istio does both), and retries are what an overloaded server needs least.
//! A request that names no tenant is no matter of quota: 400, INVALID_ARGUMENT.
//!
//! Invariants: everything that is written is printable ASCII, whatever names a policy has; at most [`MAX_CHARGES`] quotas
//! are stated. It decides nothing, and knows neither host nor configuration format.
//!
//! Sources: draft-ietf-httpapi-ratelimit-headers-10, RFC 9457, RFC 9651, the gRPC protocol over HTTP/2, google.rpc.

pub mod fields;
pub mod grpc;
pub mod problem;
pub mod retry;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use forebay_admission::{Limit, MAX_CHARGES, Nanos, Wait};

pub use fields::Fields;
pub use retry::Jitter;
use retry::Retry;

/// The usual status of a refusal.
pub const TOO_MANY_REQUESTS: u16 = 429;

/// How to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which rate limit fields responses carry.
    pub fields: Fields,
    /// Whether responses to admitted requests carry them too; refusals always do.
    pub on_admitted: bool,
    /// Whether refusals carry `x-envoy-ratelimited: true`. An Envoy in front then does not retry them, unless its route
    /// says `retry_on: envoy-ratelimited`; so a mesh should have it, and clients outside need not know.
    pub envoy_ratelimited: bool,
    /// How far retries are spread.
    pub jitter: Jitter,
    /// Whether refusals have a body of `application/problem+json`; without it they have none. gRPC has none anyway.
    pub problem_details: bool,
    /// The HTTP status of refusals for want of tokens or room, 400 to 599.
    pub status: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fields: Fields::Draft10,
            on_admitted: false,
            envoy_ratelimited: true,
            jitter: Jitter::Percent(retry::JITTER_PERCENT),
            problem_details: true,
            status: TOO_MANY_REQUESTS,
        }
    }
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaUnit<'a> {
    /// Requests, the default of the draft.
    Requests,
    /// Bytes of content.
    ContentBytes,
    /// Requests at the same time.
    ConcurrentRequests,
    /// Anything else, by its name. The draft wants registered names; none is registered for, say, tokens of a model,
    /// and to leave the unit out would claim that they are requests.
    Named(&'a str),
}

/// One policy that a request was charged to, as it stands after the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota<'a> {
    /// The policy's name.
    pub name: &'a str,
    /// What it counts.
    pub unit: QuotaUnit<'a>,
    /// The key's standard limit.
    pub limit: Limit,
    /// What is left in the standard bucket, in nano-units.
    pub left_nano: u64,
    /// What tells the client's quota from other clients', if it shall be told.
    pub partition: Option<&'a [u8]>,
    /// Whether this quota is why the request is refused.
    pub violated: bool,
}

/// Why a request is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// The bucket holds too little now.
    OverLimit,
    /// The request costs more than the bucket can ever hold.
    OverBurst,
    /// There was no room to wait.
    QueueFull,
    /// It waited as long as it may.
    QueueExpired,
    /// The upstream is overloaded, and this lane is refused first.
    Overloaded,
    /// It names no tenant, in the header or property of this name.
    MissingTenant(&'a str),
    /// The host does not say who sent it, and the policy lets nobody pass then.
    Undecided,
}

impl Reason<'_> {
    /// `%RESPONSE_CODE_DETAILS%` in access logs.
    pub fn details(self) -> &'static str {
        match self {
            Self::OverLimit => "forebay_over_limit",
            Self::OverBurst => "forebay_over_burst",
            Self::QueueFull => "forebay_queue_full",
            Self::QueueExpired => "forebay_queue_expired",
            Self::Overloaded => "forebay_overloaded",
            Self::MissingTenant(_) => "forebay_no_tenant",
            Self::Undecided => "forebay_undecided",
        }
    }

    /// The HTTP status.
    pub fn status(self, settings: &Settings) -> u16 {
        if matches!(self, Self::MissingTenant(_)) { 400 } else { settings.status }
    }
}

/// A refused request.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Why.
    pub reason: Reason<'a>,
    /// The policies that it was charged to; beyond [`MAX_CHARGES`] they are not stated.
    pub quotas: &'a [Quota<'a>],
    /// When it would be admitted, from whichever bucket comes first.
    pub wait: Wait,
    /// When more capacity is ready for what had too little; says nothing once it has passed.
    pub more_at: Nanos,
    /// The instant of the decision.
    pub now: Nanos,
    /// Where the spread of retries comes from: different per request, the same for the same request.
    pub seed: u64,
}

/// How the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Plain HTTP.
    Http,
    /// gRPC.
    Grpc,
}

impl Dialect {
    /// The dialect of a request with this `content-type`. As Envoy has it: `application/grpc` and `application/grpc+...`,
    /// not `application/grpc-web`; both must agree, since it is Envoy that turns the answer into trailers.
    pub fn of_content_type(content_type: Option<&[u8]>) -> Self {
        match content_type.and_then(|value| value.strip_prefix(b"application/grpc")) {
            Some([] | [b'+', ..]) => Self::Grpc,
            _ => Self::Http,
        }
    }
}

/// A header of a response: lower-case name and value.
pub type Header = (&'static str, String);

/// The answer to a refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status. For a gRPC request Envoy answers 200 and puts `grpc_status` into the trailers.
    pub status: u16,
    /// gRPC status; means nothing to a plain HTTP request.
    pub grpc_status: i32,
    /// In the order in which they are sent.
    pub headers: Vec<Header>,
    /// `application/problem+json`, or for gRPC the text of `grpc-message`, which Envoy makes of the body and encodes.
    pub body: String,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
}

/// The rate limit fields of a response to a request that was admitted; none when they are switched off or no quota was
/// charged.
pub fn admitted(quotas: &[Quota<'_>], settings: &Settings) -> Vec<Header> {
    let mut headers = Vec::new();
    fields::append(&mut headers, settings.fields, quotas, None);
    headers
}

/// The answer to a request that is refused.
pub fn refused(refused: &Refused<'_>, dialect: Dialect, settings: &Settings) -> Answer {
    let retry = Retry::of(refused, settings);
    let mut headers = Vec::new();
    let body = match dialect {
        Dialect::Http if settings.problem_details => {
            headers.push(("content-type", "application/problem+json".to_string()));
            problem::body(refused, retry, settings)
        }
        Dialect::Http => String::new(),
        Dialect::Grpc => {
            let message = detail(refused.reason, retry);
            headers.push((grpc::DETAILS_HEADER, grpc::details(refused, retry, &message)));
            message
        }
    };
    if !matches!(refused.reason, Reason::MissingTenant(_)) {
        if settings.envoy_ratelimited {
            headers.push(("x-envoy-ratelimited", "true".to_string()));
        }
        if let Some(retry) = retry {
            headers.push(("retry-after", retry.after_s.to_string()));
        }
        fields::append(&mut headers, settings.fields, refused.quotas, retry);
    }
    let grpc_status = grpc::status(refused.reason);
    Answer { status: refused.reason.status(settings), grpc_status, headers, body, details: refused.reason.details() }
}

/// What happened, for people. ASCII.
fn detail(reason: Reason<'_>, retry: Option<Retry>) -> String {
    let mut text = match reason {
        Reason::OverLimit => "The limit for this resource is used up".to_string(),
        Reason::OverBurst => "The request costs more than the limit can ever hold".to_string(),
        Reason::QueueFull => "The limit is used up and no more requests can wait for it".to_string(),
        Reason::QueueExpired => "The limit is used up and the request has waited as long as it may".to_string(),
        Reason::Overloaded => "The service is overloaded".to_string(),
        Reason::Undecided => "It cannot be found out now who sent the request".to_string(),
        Reason::MissingTenant(header) => {
            let mut text = "The request names no tenant in ".to_string();
            crate::percent::encode(&mut text, header.as_bytes(), |byte| byte.is_ascii_graphic());
            text
        }
    };
    match retry {
        Some(retry) if !matches!(reason, Reason::MissingTenant(_)) => {
            text.push_str("; try again in ");
            text.push_str(&retry.after_s.to_string());
            text.push_str(" s.");
        }
        _ => text.push('.'),
    }
    text
}

/// The quotas that are stated.
fn stated<'a>(quotas: &'a [Quota<'a>]) -> impl Iterator<Item = &'a Quota<'a>> {
    quotas.iter().take(MAX_CHARGES)
}

/// The names of the violated policies, as they stand in the fields.
fn violated<'a>(quotas: &'a [Quota<'a>]) -> impl Iterator<Item = String> + 'a {
    stated(quotas).filter(|quota| quota.violated).map(|quota| fields::wire_name(quota.name))
}

#[cfg(test)]
mod tests;
