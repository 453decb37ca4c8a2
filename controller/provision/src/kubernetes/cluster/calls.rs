//! Requests to one API server: a limit of time each, tries where it is busy, lists in bounded pages and never back in time.
//!
//! A list that is older than what was seen before, as a proxy or a server that lags may give, is asked for again and not
//! believed: versions of one cluster are numbers that rise (KEP-5504). Where nothing but older ones comes for
//! [`KubernetesSettings::news_within`](crate::kubernetes::KubernetesSettings::news_within), no cache is behind: the control
//! plane was restored from a backup, and what it says is what there is.
//!
//! Lists are read at the newest version, in pages. `resourceVersion=0` would be cheaper for the server, but it may be any age
//! and is not divided into pages.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::super::objects::Page;
use super::CallError;
use super::refusal::{busy_wait, sorted};

/// Objects in a page of a list.
const PAGE: u32 = 500;
/// Pages of a list: a quarter of a million objects.
const PAGES_MAX: usize = 500;
/// Tries at a list that came out old, or whose pages expired half-way.
const LIST_TRIES: usize = 3;
/// Tries at a request that the server was too busy for.
const BUSY_TRIES: usize = 3;

/// What is asked for, of a kind of object.
#[derive(Clone, Debug)]
pub(in crate::kubernetes) struct Kind {
    /// For errors: `list pods`.
    pub(in crate::kubernetes) operation: &'static str,
    pub(in crate::kubernetes) path: String,
    /// Of labels; empty for all.
    pub(in crate::kubernetes) selector: String,
}

/// A whole list, and the version that it was read at.
pub(in crate::kubernetes) struct Listed<T> {
    pub(in crate::kubernetes) items: Vec<T>,
    pub(in crate::kubernetes) version: String,
}

/// Events as they come.
pub(in crate::kubernetes) type Events<T> = Pin<Box<dyn Stream<Item = Result<WatchEvent<T>, kube::Error>> + Send>>;

/// The newest version that was seen of a path.
#[derive(Clone, Copy, Debug, Default)]
struct Newest {
    version: u64,
    /// Since when nothing but older ones came.
    older_since: Option<Instant>,
}

/// One API server.
pub(in crate::kubernetes) struct Calls {
    pub(super) location: String,
    pub(super) client: Client,
    pub(super) within: Duration,
    pub(super) news_within: Duration,
    newest: Mutex<BTreeMap<String, Newest>>,
}

impl Calls {
    pub(super) fn of(location: String, client: Client, (within, news_within): (Duration, Duration)) -> Self {
        Self { location, client, within, news_within, newest: Mutex::default() }
    }

    /// All objects of a kind.
    pub(in crate::kubernetes) async fn list<T: DeserializeOwned>(&self, kind: &Kind) -> Result<Listed<T>, CallError> {
        for _ in 0..LIST_TRIES {
            match self.list_once(kind).await {
                Ok(Some(listed)) => return Ok(listed),
                Ok(None) | Err(CallError::Expired { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let detail = format!("{LIST_TRIES} lists of {} were older than what was seen before, or expired", kind.path);
        Err(CallError::Unreachable { operation: kind.operation, detail })
    }

    /// `None` for a list that is older than what was seen before.
    async fn list_once<T: DeserializeOwned>(&self, kind: &Kind) -> Result<Option<Listed<T>>, CallError> {
        let Kind { operation, path, selector } = kind;
        let mut params = ListParams::default().labels(selector).limit(PAGE);
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            let page: Page<T> = self.call(operation, Request::new(path.as_str()).list(&params)).await?;
            let version = page.metadata.resource_version;
            if !self.is_news(path, &version) {
                return Ok(None);
            }
            items.extend(page.items);
            if page.metadata.r#continue.is_empty() {
                return Ok(Some(Listed { items, version }));
            }
            params = params.continue_token(&page.metadata.r#continue);
        }
        Err(CallError::Malformed { operation, detail: format!("{path} has more than {PAGES_MAX} pages of {PAGE}") })
    }

    /// Whether a version is not older than what was seen at `path`, or is that of a restored server; one that is no number is
    /// believed.
    fn is_news(&self, path: &str, version: &str) -> bool {
        let Ok(version) = version.parse::<u64>() else { return true };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = newest.entry(path.to_owned()).or_default();
        let is_older = version < newest.version;
        let since = *newest.older_since.get_or_insert_with(Instant::now);
        if is_older && since.elapsed() < self.news_within {
            return false;
        }
        *newest = Newest { version, older_since: None };
        true
    }

    /// A version of `path` was seen: a list that is older is not believed.
    pub(in crate::kubernetes) fn saw(&self, path: &str, version: &str) {
        let Ok(version) = version.parse::<u64>() else { return };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = newest.entry(path.to_owned()).or_default();
        newest.version = newest.version.max(version);
    }

    /// What changes after a version, for at most `lasts`.
    pub(in crate::kubernetes) async fn watch<T>(
        &self,
        kind: &Kind,
        (version, lasts): (&str, Duration),
    ) -> Result<Events<T>, CallError>
    where
        T: Clone + DeserializeOwned + Send + 'static,
    {
        let operation = kind.operation;
        let seconds = u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX).max(1);
        let params = WatchParams::default().labels(&kind.selector).timeout(seconds);
        let request = Request::new(kind.path.as_str()).watch(&params, version);
        let request = request.map_err(|error| CallError::Malformed { operation, detail: error.to_string() })?;
        match tokio::time::timeout(self.within, self.client.request_events::<T>(request)).await {
            Ok(Ok(events)) => Ok(Box::pin(events)),
            Ok(Err(error)) => Err(sorted(operation, error)),
            Err(_) => Err(self.silent(operation)),
        }
    }

    fn silent(&self, operation: &'static str) -> CallError {
        let detail = format!("no answer from the cluster of {} in {:?}", self.location, self.within);
        CallError::Unreachable { operation, detail }
    }

    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, CallError> {
        let request = request.map_err(|error| CallError::Malformed { operation, detail: error.to_string() })?;
        let mut tries = BUSY_TRIES;
        loop {
            tries -= 1;
            let error = match tokio::time::timeout(self.within, self.client.request(request.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => return Err(self.silent(operation)),
            };
            match busy_wait(&error).filter(|_| tries > 0) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(sorted(operation, error)),
            }
        }
    }
}
