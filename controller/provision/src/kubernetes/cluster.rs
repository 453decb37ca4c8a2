//! One cluster's API server: requests with a limit of time, errors by what is done about them, lists in bounded pages.
//!
//! Lists are read whole and consistent each time, not watched: a list cannot miss an event, and a write is seen by the look
//! that follows it, where a watch would have to be waited for, kept alive and begun anew. Servers from 1.31 on answer them from
//! memory, not from etcd. What it costs is the transfer: pods are listed once a look and at most twice an order, in pages of
//! [`PAGE`]; with many thousands of pods a look takes as long as these megabytes do, so decide less often there.
//! `resourceVersion=0` would be cheaper for the server, but it may be any age and is not divided into pages.
//!
//! A list that is older than one that was read before, as a proxy or a restored control plane may give, is asked for again and
//! never believed: versions of one cluster are numbers that rise (KEP-5504).
//!
//! A busy server (429) is obeyed within limits; everything else that fails is left to the next order, which says the same.

mod refusal;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::core::params::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::names::FIELD_MANAGER;
use super::objects::{Page, Resources};
use super::settings::{Access, ClusterSettings};
use crate::ProvisionError;

pub(super) use self::refusal::CallError;
use self::refusal::{busy_wait, sorted};

/// The core group, whose own document lists what it has.
const CORE: &str = "/api/v1";
/// Objects in a page of a list.
const PAGE: u32 = 500;
/// Pages of a list: a quarter of a million objects.
const PAGES_MAX: usize = 500;
/// Tries at a list that came out old, or whose pages expired half-way.
const LIST_TRIES: usize = 3;
/// Tries at a request that the server was too busy for.
const BUSY_TRIES: usize = 3;
/// One cluster, as it is called.
pub(super) struct Cluster {
    pub(super) location: String,
    pub(super) namespace: String,
    client: Client,
    within: Duration,
    /// Newest version that a list was read at, by path.
    newest: Mutex<BTreeMap<String, u64>>,
}

impl Cluster {
    /// Reads how the cluster is reached; nothing is asked of it yet.
    pub(super) async fn connect(settings: &ClusterSettings, within: Duration) -> Result<Self, ProvisionError> {
        let operation = "read how a cluster is reached";
        let unusable = |detail: String| ProvisionError::Malformed {
            operation,
            detail: format!("location {:?}: {detail}", settings.location),
        };
        let mut config = match &settings.access {
            Access::InCluster => Config::incluster().map_err(|error| unusable(error.to_string()))?,
            Access::Kubeconfig { file, context } => {
                let read = match file {
                    Some(file) => Kubeconfig::read_from(file),
                    None => Kubeconfig::read(),
                };
                let kubeconfig = read.map_err(|error| unusable(error.to_string()))?;
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.map_err(|error| unusable(error.to_string()))?
            }
        };
        // Time limits and tries are held here, where it is known what may be repeated.
        config.default_retry = false;
        config.connect_timeout = Some(within);
        let client = Client::try_from(config).map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            location: settings.location.clone(),
            namespace: settings.namespace.clone(),
            client,
            within,
            newest: Mutex::default(),
        })
    }

    /// The path of a namespaced resource.
    pub(super) fn path(&self, api: &str, plural: &str) -> String {
        format!("/{api}/namespaces/{}/{plural}", self.namespace)
    }

    /// All objects at `path`, and the version they were read at.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
        selector: &str,
    ) -> Result<Vec<T>, CallError> {
        for _ in 0..LIST_TRIES {
            match self.list_once(operation, path, selector).await {
                Ok(Some(items)) => return Ok(items),
                Ok(None) | Err(CallError::Expired { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let detail = format!("{LIST_TRIES} lists of {path} were older than what was seen before, or expired");
        Err(CallError::Unreachable { operation, detail })
    }

    /// `None` for a list that is older than one that was read before.
    async fn list_once<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
        selector: &str,
    ) -> Result<Option<Vec<T>>, CallError> {
        let mut params = ListParams::default().labels(selector).limit(PAGE);
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            let page: Page<T> = self.call(operation, Request::new(path).list(&params)).await?;
            if !self.is_news(path, &page.metadata.resource_version) {
                return Ok(None);
            }
            items.extend(page.items);
            if page.metadata.r#continue.is_empty() {
                return Ok(Some(items));
            }
            params = params.continue_token(&page.metadata.r#continue);
        }
        Err(CallError::Malformed { operation, detail: format!("{path} has more than {PAGES_MAX} pages of {PAGE}") })
    }

    /// Whether a version is not older than what was seen at `path`; one that is no number is believed.
    fn is_news(&self, path: &str, version: &str) -> bool {
        let Ok(version) = version.parse::<u64>() else { return true };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = newest.entry(path.to_owned()).or_default();
        let is_news = version >= *newest;
        *newest = version.max(*newest);
        is_news
    }

    /// One object; `None` where there is none.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
        name: &str,
    ) -> Result<Option<T>, CallError> {
        match self.call(operation, Request::new(path).get(name, &Default::default())).await {
            Ok(object) => Ok(Some(object)),
            Err(CallError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object that must not exist.
    pub(super) async fn create(&self, operation: &'static str, path: &str, object: &Value) -> Result<(), CallError> {
        let request = Request::new(path).create(&posted(), object.to_string().into_bytes());
        self.call::<Value>(operation, request).await.map(drop)
    }

    /// Replaces an object; of the version that it carries.
    pub(super) async fn replace(
        &self,
        operation: &'static str,
        path: &str,
        name: &str,
        object: &Value,
    ) -> Result<(), CallError> {
        let request = Request::new(path).replace(name, &posted(), object.to_string().into_bytes());
        self.call::<Value>(operation, request).await.map(drop)
    }

    /// Server-side apply of what this manager wants of an object. What is its own it takes by force.
    pub(super) async fn apply(
        &self,
        operation: &'static str,
        path: &str,
        name: &str,
        (object, is_forced): (&Value, bool),
    ) -> Result<(), CallError> {
        let params = PatchParams { force: is_forced, ..PatchParams::apply(FIELD_MANAGER).validation_strict() };
        self.call::<Value>(operation, Request::new(path).patch(name, &params, &Patch::Apply(object))).await.map(drop)
    }

    /// Merges some fields into an object, or into a subresource of it.
    pub(super) async fn merge(
        &self,
        operation: &'static str,
        path: &str,
        (name, subresource): (&str, Option<&str>),
        fields: &Value,
    ) -> Result<(), CallError> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request = match subresource {
            Some(subresource) => {
                Request::new(path).patch_subresource(subresource, name, &params, &Patch::Merge(fields))
            }
            None => Request::new(path).patch(name, &params, &Patch::Merge(fields)),
        };
        self.call::<Value>(operation, request).await.map(drop)
    }

    /// Asks for other resources of a pod's containers; those that are not named stay as they are.
    pub(super) async fn resize(&self, operation: &'static str, pod: &str, containers: &Value) -> Result<(), CallError> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let fields = json!({ "spec": { "containers": containers } });
        let pods = Request::new(self.path("api/v1", "pods"));
        let request = pods.patch_subresource("resize", pod, &params, &Patch::Strategic(&fields));
        self.call::<Value>(operation, request).await.map(drop)
    }

    /// Whether the core API has a resource, as servers of some versions do.
    pub(super) async fn has(&self, operation: &'static str, resource: &str) -> Result<bool, CallError> {
        let malformed = |error: http::Error| CallError::Malformed { operation, detail: error.to_string() };
        let request = http::Request::get(CORE).body(Vec::new()).map_err(malformed)?;
        let known: Resources = self.call(operation, Ok(request)).await?;
        Ok(known.resources.iter().any(|known| known.name == resource))
    }

    /// Deletes an object, if it is still of this version.
    pub(super) async fn delete(
        &self,
        operation: &'static str,
        path: &str,
        (name, version): (&str, &str),
    ) -> Result<(), CallError> {
        let only = Preconditions { resource_version: Some(version.to_owned()), uid: None };
        let params = DeleteParams::background().preconditions(only);
        self.call::<Value>(operation, Request::new(path).delete(name, &params)).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
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
                Err(_) => {
                    let detail = format!("no answer from the cluster of {} in {:?}", self.location, self.within);
                    return Err(CallError::Unreachable { operation, detail });
                }
            };
            match busy_wait(&error).filter(|_| tries > 0) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(sorted(operation, error)),
            }
        }
    }
}

fn posted() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
