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
//! Over `https://` the receiver must show a certificate that an authority of ours signed ([`TlsSettings`]); over `http://` only
//! loopback addresses are called. Signatures hold whatever lies between.
//!
//! What it deliberately does not do: follow redirects or use a proxy. It stores nothing: what was taken and what exists is
//! the receiver's to remember.

mod address;
#[cfg(test)]
mod document;
pub mod protocol;
mod reading;
mod retries;
mod signing;
mod tls;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use forebay_plan::capacity::Group;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use retries::Retries;
pub use signing::{SECRET_BYTES_MIN, Secret, SecretTooShort, signature};
pub use tls::{ClientFiles, TlsError, TlsSettings};

use crate::call::{Answer, CallError, connect, exchange};
use crate::{Applied, CALL_WITHIN, InstanceManager, Observed, Order, ProvisionError};
use address::Address;
use protocol::{
    APPLY, ApplyAnswer, ApplyRequest, IDEMPOTENCY_KEY, MAX_BODY_BYTES, OBSERVE, ObserveAnswer, ObserveRequest, Refused,
    SIGNATURE, TIMESTAMP,
};
use tls::Tls;

/// Views in a row older than one seen that are refused; the next is believed: the receiver was restored.
pub const REWINDS_MAX: u32 = 3;

/// What the webhook is told.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// `https://` and a host, or `http://` and a loopback address with a port, and perhaps a path that the protocol's paths
    /// are put after.
    pub url: String,
    /// For `https://` only.
    pub tls: TlsSettings,
    /// Known to the receiver too.
    pub secret: Secret,
    /// How long and how often a call is tried.
    pub retries: Retries,
    /// For the jitter of retries and the numbers of requests; another for every start of a controller.
    pub seed: u64,
}

/// Why a webhook cannot be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Not a URL that is spoken.
    #[error("webhook {url:?}: {detail}; give https://HOST, or http://127.0.0.1:PORT for a receiver on this machine")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// What is said of TLS is not spoken over.
    #[error("webhook {url:?}: it is not over TLS; write https://, or leave out what is said of tls")]
    NoTls {
        /// As configured.
        url: String,
    },
    /// TLS cannot be spoken as it is configured.
    #[error("webhook {url:?}: tls: {source}")]
    Tls {
        /// As configured.
        url: String,
        /// Why.
        source: TlsError,
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
    address: Address,
    /// `None` over `http://`.
    tls: Option<Tls>,
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
        let url = || settings.url.clone();
        let address = Address::of(&settings.url).map_err(|detail| WebhookError::Url { url: url(), detail })?;
        let tls = match address.is_tls {
            true => Some(Tls::new(settings.tls.clone(), &address.host)),
            false if settings.tls != TlsSettings::default() => return Err(WebhookError::NoTls { url: url() }),
            false => None,
        };
        let tls = tls.transpose().map_err(|source| WebhookError::Tls { url: url(), source })?;
        let Retries { most_tries: tries, .. } = settings.retries;
        let longest = settings.retries.longest();
        if tries == 0 || longest >= CALL_WITHIN {
            return Err(WebhookError::Retries { tries, longest });
        }
        let state = State { random: ChaCha8Rng::seed_from_u64(settings.seed), revision: 0, rewinds: 0 };
        Ok(Self { settings, address, tls, now_s: Box::new(now_s), state: Mutex::new(state) })
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
        let path = format!("{}{}", self.address.prefix, asked.path);
        let timestamp = (self.now_s)().to_string();
        let secret = &self.settings.secret;
        let mut request = Request::post(&path)
            .header(HOST, &self.address.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(TIMESTAMP, &timestamp)
            .header(SIGNATURE, signature(secret, &timestamp, &path, &asked.body));
        if let Some(order) = asked.order {
            request = request.header(IDEMPOTENCY_KEY, order.generation.to_string());
        }
        let request = request.body(Full::new(Bytes::from(asked.body.clone())));
        let request = request.map_err(|error| Trouble::Final(asked.malformed(error.to_string())))?;
        let answer = self.call(request).await.map_err(|error| match (&error, tls::remedy(&error)) {
            (CallError::TooLong(_), _) => Trouble::Final(asked.malformed(error.to_string())),
            (CallError::Broken { .. }, None) => Trouble::Passing(error.to_string()),
            // Nothing but people will change it.
            (CallError::Broken { .. }, Some(remedy)) => Trouble::Final(ProvisionError::Unreachable {
                operation: asked.operation,
                detail: format!("{}: {error}; {remedy}", self.settings.url),
            }),
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

    /// On a connection of its own, over TLS where that is spoken.
    async fn call(&self, request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        let to = (self.address.host.as_str(), self.address.port);
        let Some(tls) = &self.tls else { return exchange(connect(to).await?, request, MAX_BODY_BYTES).await };
        let connector = tls.connector().map_err(|error| CallError::broken("prepare TLS", error))?;
        let stream = connect(to).await?;
        let stream = tls.secure(&connector, stream).await.map_err(|error| CallError::broken("begin TLS", error))?;
        exchange(stream, request, MAX_BODY_BYTES).await
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
            let taken = forebay_plan::capacity::Generation::from(answer.generation);
            return Err(asked.malformed(format!("it took another order, {taken}")));
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
