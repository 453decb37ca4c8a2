//! Instances kept by somebody else: orders over HTTP to a receiver that speaks the protocol of `openapi.yaml`.
//!
//! The intuition: the receiver is an instance manager too, so the protocol is the trait, [`observe`](InstanceManager::observe)
//! and [`apply`](InstanceManager::apply), as two signed `POST`s. Orders are whole, so a call that was lost is simply made
//! again; the receiver keeps the newest generation that it took, which makes a repeated call harmless and a late one refused.
//!
//! Invariants: only answers that carry the right signature and this request's own number are believed; an answer that makes
//! no sense is [`ProvisionError::Malformed`], never half used; a view older than one seen is not believed, unless it is all
//! that comes ([`REWINDS_MAX`]); all tries of a call together end within [`CALL_WITHIN`].
//!
//! What it deliberately does not do: speak TLS. It calls loopback addresses only; for a receiver elsewhere a proxy beside
//! the controller (Envoy, say) opens the connection. Signatures hold whatever lies between, secrecy is the proxy's. It stores
//! nothing: what was taken and what exists is the receiver's to remember.

#[cfg(test)]
mod document;
pub mod protocol;
mod reading;
mod signing;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use forebay_plan::capacity::Group;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode, Uri};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use signing::{SECRET_BYTES_MIN, Secret, SecretTooShort, signature};

use crate::call::{CallError, call};
use crate::{Applied, CALL_WITHIN, InstanceManager, Observed, Order, ProvisionError};
use protocol::{
    APPLY, ApplyAnswer, ApplyRequest, IDEMPOTENCY_KEY, MAX_BODY_BYTES, OBSERVE, ObserveAnswer, ObserveRequest, Refused,
    SIGNATURE, TIMESTAMP,
};

/// Views in a row older than one seen that are refused; the next is believed: the receiver was restored.
pub const REWINDS_MAX: u32 = 3;

/// What the webhook is told.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// `http://` and a loopback address with a port, and perhaps a path that the protocol's paths are put after.
    pub url: String,
    /// Known to the receiver too.
    pub secret: Secret,
    /// How long and how often a call is tried.
    pub retries: Retries,
    /// For the jitter of retries and the numbers of requests; another for every start of a controller.
    pub seed: u64,
}

/// How long and how often a call is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Tries of one call, at least 1.
    pub most_tries: u32,
    /// How long one try may take.
    pub try_within: Duration,
    /// Longest pause after the first try; doubled with each further, and each drawn between nothing and that.
    pub first_pause: Duration,
    /// Longest pause.
    pub most_pause: Duration,
}

impl Default for Retries {
    /// Four tries of 5 s with pauses of at most 0.25, 0.5 and 1 s: 21.75 s of the 30 s that a call may take.
    fn default() -> Self {
        Self {
            most_tries: 4,
            try_within: Duration::from_secs(5),
            first_pause: Duration::from_millis(250),
            most_pause: Duration::from_secs(2),
        }
    }
}

impl Retries {
    /// Longest pause after a try; the first is number 0.
    fn pause_max(&self, tried: u32) -> Duration {
        self.first_pause.saturating_mul(1 << tried.min(31)).min(self.most_pause)
    }

    /// Longest that a call takes.
    fn longest(&self) -> Duration {
        let pauses = (0..self.most_tries.saturating_sub(1)).map(|tried| self.pause_max(tried));
        pauses.fold(self.try_within.saturating_mul(self.most_tries), Duration::saturating_add)
    }
}

/// Why a webhook cannot be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Not a URL that is spoken.
    #[error(
        "webhook {url:?}: {detail}; give http://127.0.0.1:PORT, and for a receiver elsewhere a proxy there that speaks TLS"
    )]
    Url {
        /// As configured.
        url: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// Too few or too long tries.
    #[error(
        "webhook: {tries} tries take up to {longest:?}; give at least one, and less than {CALL_WITHIN:?} for all together"
    )]
    Retries {
        /// As configured.
        tries: u32,
        /// For all tries and pauses.
        longest: Duration,
    },
}

/// The manager.
pub struct Webhook {
    settings: WebhookSettings,
    authority: String,
    /// What the protocol's paths are put after.
    prefix: String,
    now_s: Box<dyn Fn() -> u64 + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    random: ChaCha8Rng,
    /// Highest that was seen.
    revision: u64,
    /// Views in a row that were older.
    rewinds: u32,
}

impl Webhook {
    /// Speaks to the receiver at a URL; `now_s` says the time in unix seconds, for signatures.
    ///
    /// # Errors
    /// [`WebhookError`] when the settings cannot work.
    pub fn new(
        settings: WebhookSettings,
        now_s: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, WebhookError> {
        let (authority, prefix) =
            parts(&settings.url).map_err(|detail| WebhookError::Url { url: settings.url.clone(), detail })?;
        let Retries { most_tries: tries, .. } = settings.retries;
        let longest = settings.retries.longest();
        if tries == 0 || longest >= CALL_WITHIN {
            return Err(WebhookError::Retries { tries, longest });
        }
        let state = State { random: ChaCha8Rng::seed_from_u64(settings.seed), revision: 0, rewinds: 0 };
        Ok(Self { settings, authority, prefix, now_s: Box::new(now_s), state: Mutex::new(state) })
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number of its own for each request, which the answer repeats.
    fn request_number(&self) -> String {
        format!("{:032x}", self.locked().random.random::<u128>())
    }

    /// Asks until there is an answer or the tries are over.
    async fn ask<A: DeserializeOwned>(&self, asked: &Asked<'_>) -> Result<A, ProvisionError> {
        let mut tried = 0;
        loop {
            let outcome = tokio::time::timeout(self.settings.retries.try_within, self.try_once(asked)).await;
            let detail = match outcome {
                Ok(Ok(body)) => {
                    return serde_json::from_slice(&body).map_err(|error| asked.malformed(error.to_string()));
                }
                Ok(Err(Trouble::Final(error))) => return Err(error),
                Ok(Err(Trouble::Passing(detail))) => detail,
                Err(_) => format!("no answer within {:?}", self.settings.retries.try_within),
            };
            tried += 1;
            if tried >= self.settings.retries.most_tries {
                return Err(ProvisionError::Unreachable {
                    operation: asked.operation,
                    detail: format!("{} was tried {tried} times; last: {detail}", self.settings.url),
                });
            }
            let most = self.settings.retries.pause_max(tried - 1);
            let pause = most.mul_f64(self.locked().random.random_range(0.0..=1.0));
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_once(&self, asked: &Asked<'_>) -> Result<Bytes, Trouble> {
        let path = format!("{}{}", self.prefix, asked.path);
        let timestamp = (self.now_s)().to_string();
        let secret = &self.settings.secret;
        let mut request = Request::post(&path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(TIMESTAMP, &timestamp)
            .header(SIGNATURE, signature(secret, &timestamp, &path, &asked.body));
        if let Some(order) = asked.order {
            request = request.header(IDEMPOTENCY_KEY, order.generation.to_string());
        }
        let request = request.body(Full::new(Bytes::from(asked.body.clone())));
        let request = request.map_err(|error| Trouble::Final(asked.malformed(error.to_string())))?;
        let answer = call(&self.authority, request, MAX_BODY_BYTES).await.map_err(|error| match error {
            CallError::Broken(detail) => Trouble::Passing(detail),
            CallError::TooLong(_) => Trouble::Final(asked.malformed(error.to_string())),
        })?;
        if is_passing(answer.status) {
            return Err(Trouble::Passing(format!("it answers {}", answer.status)));
        }
        let is_signed =
            answer.header(SIGNATURE).is_some_and(|given| secret.fits(given, &timestamp, &path, &answer.body));
        if !is_signed {
            let detail = format!("{} without the right {SIGNATURE}: do both sides have one secret?", answer.status);
            return Err(Trouble::Final(asked.malformed(detail)));
        }
        match (answer.status, asked.order) {
            (StatusCode::OK, _) => Ok(answer.body),
            (StatusCode::CONFLICT, Some(order)) => Err(Trouble::Final(asked.refused(order, &answer.body))),
            (status, _) => Err(Trouble::Final(asked.malformed(format!("it answers {status}")))),
        }
    }

    /// Whether a view is to be believed: not when a newer one was seen, unless older ones are all that comes.
    fn believe(&self, revision: u64) -> Result<(), ProvisionError> {
        let mut state = self.locked();
        if revision < state.revision && state.rewinds < REWINDS_MAX {
            state.rewinds += 1;
            let seen = state.revision;
            let detail = format!("revision {revision} was overtaken by {seen}");
            return Err(ProvisionError::Malformed { operation: "observe over the webhook", detail });
        }
        state.rewinds = 0;
        state.revision = revision;
        Ok(())
    }
}

impl InstanceManager for Webhook {
    async fn observe(&self) -> Result<Observed, ProvisionError> {
        let number = self.request_number();
        let asked = Asked::new("observe over the webhook", OBSERVE, &ObserveRequest { request: number.clone() }, None)?;
        let answer: ObserveAnswer = self.ask(&asked).await?;
        asked.belongs(&number, &answer.request)?;
        let revision = answer.revision;
        let observed = Observed::try_from(answer).map_err(|detail| asked.malformed(detail))?;
        self.believe(revision)?;
        Ok(observed)
    }

    async fn apply(&self, order: &Order) -> Result<Applied, ProvisionError> {
        let number = self.request_number();
        let request = ApplyRequest::new(number.clone(), order);
        let asked = Asked::new("apply over the webhook", APPLY, &request, Some(order))?;
        let answer: ApplyAnswer = self.ask(&asked).await?;
        asked.belongs(&number, &answer.request)?;
        if answer.generation != order.generation.into() {
            return Err(asked.malformed(format!("it took another order, {:?}", answer.generation)));
        }
        let applied = Applied::try_from(answer).map_err(|detail| asked.malformed(detail))?;
        let targets: u64 = order.targets.iter().map(|target| u64::from(target.count)).sum();
        if u64::from(applied.started) > targets {
            return Err(asked.malformed(format!("it started {} where {targets} were asked for", applied.started)));
        }
        let groups: BTreeSet<&Group> = order.targets.iter().map(|target| &target.group).collect();
        match applied.failures.iter().find(|failure| !groups.contains(&failure.group)) {
            Some(failure) => Err(asked.malformed(format!("nothing was asked of {}, which failed", failure.group))),
            None => Ok(applied),
        }
    }
}

/// One call, whose tries are all alike.
struct Asked<'a> {
    operation: &'static str,
    path: &'static str,
    body: Vec<u8>,
    order: Option<&'a Order>,
}

enum Trouble {
    /// Trying again may help.
    Passing(String),
    Final(ProvisionError),
}

impl<'a> Asked<'a> {
    fn new(
        operation: &'static str,
        path: &'static str,
        body: &impl Serialize,
        order: Option<&'a Order>,
    ) -> Result<Self, ProvisionError> {
        let malformed = |error: serde_json::Error| ProvisionError::Malformed { operation, detail: error.to_string() };
        Ok(Self { operation, path, body: serde_json::to_vec(body).map_err(malformed)?, order })
    }

    fn malformed(&self, detail: String) -> ProvisionError {
        ProvisionError::Malformed { operation: self.operation, detail }
    }

    fn belongs(&self, asked: &str, answered: &str) -> Result<(), ProvisionError> {
        if asked == answered {
            return Ok(());
        }
        Err(self.malformed(format!("it answers request {answered:?}, this is {asked:?}")))
    }

    /// What a refusal of an order means.
    fn refused(&self, order: &Order, body: &[u8]) -> ProvisionError {
        match serde_json::from_slice::<Refused>(body).map(|refused| refused.taken.into()) {
            Ok(taken) if taken > order.generation => ProvisionError::StaleGeneration { asked: order.generation, taken },
            Ok(taken) => self.malformed(format!("it refuses {} for {taken}, which is not newer", order.generation)),
            Err(error) => self.malformed(error.to_string()),
        }
    }
}

/// Whether the same request may go well a moment later.
fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// Authority and path of a URL that is spoken.
fn parts(url: &str) -> Result<(String, String), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "it is no URL")?;
    if uri.scheme_str() != Some("http") {
        return Err("only http:// is spoken");
    }
    if uri.query().is_some() {
        return Err("it has a query");
    }
    let authority = uri.authority().ok_or("it names no host")?;
    let address: SocketAddr = authority.as_str().parse().map_err(|_| "its host is not an address with a port")?;
    if !address.ip().is_loopback() {
        return Err("its host is not this machine");
    }
    Ok((authority.to_string(), uri.path().trim_end_matches('/').to_owned()))
}
