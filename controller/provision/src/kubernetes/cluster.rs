//! One cluster: what is asked of its API server, and what is watched there.
//!
//! Deployments, pods of groups and nodes are listed once and watched from then on (`watched.rs`); own writes are noted there, so
//! that no look answers from before them. Everything else is asked for when it is needed.
//!
//! A busy server (429) is obeyed within limits; everything else that fails is left to the next order, which says the same.

mod calls;
mod refusal;

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::core::params::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Watching;
use super::names::{FIELD_MANAGER, GROUP};
use super::objects::{Deployment, Node, Pod, Resources, Versioned};
use super::settings::{Access, ClusterSettings, KubernetesSettings};
use super::watched::{Watched, Written};
use crate::ProvisionError;

pub(super) use self::calls::{Calls, Kind};
pub(super) use self::refusal::CallError;

/// The core group, whose own document lists what it has.
const CORE: &str = "/api/v1";
/// Label of the nodes that a Karpenter `NodePool` makes.
const NODE_POOL: &str = "karpenter.sh/nodepool";

/// One cluster, as it is called.
pub(super) struct Cluster {
    pub(super) location: String,
    pub(super) namespace: String,
    pub(super) deployments: Watched<Deployment>,
    /// Of groups.
    pub(super) pods: Watched<Pod>,
    /// Of this manager's pools, as far as a label tells them from others.
    pub(super) nodes: Watched<Node>,
    calls: Arc<Calls>,
}

/// A write that is under way: what is kept is in doubt until it was answered, also if it is dropped.
struct Writing<'a> {
    told: Option<&'a dyn Written>,
}

impl Writing<'_> {
    fn end(mut self, outcome: &Result<Versioned, CallError>) {
        match (outcome, &self.told) {
            // A deletion is answered without a version.
            (Ok(written), Some(told)) if !written.metadata.resource_version.is_empty() => {
                told.wrote(&written.metadata.resource_version);
            }
            // Nothing was done.
            (Err(CallError::Refused { .. }), _) => {}
            _ => return,
        }
        self.told = None;
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(told) = self.told {
            told.doubt();
        }
    }
}

impl Cluster {
    /// Reads how the cluster is reached, and begins to watch it.
    pub(super) async fn connect(settings: &ClusterSettings, all: &KubernetesSettings) -> Result<Self, ProvisionError> {
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
        config.connect_timeout = Some(all.request_within);
        let client = Client::try_from(config).map_err(|error| unusable(error.to_string()))?;
        let (location, namespace) = (settings.location.clone(), settings.namespace.clone());
        let calls = Arc::new(Calls::of(location.clone(), client, (all.request_within, all.news_within)));
        let of = |operation, api: &str, plural: &str, selector: &str| Kind {
            operation,
            path: format!("/{api}/namespaces/{namespace}/{plural}"),
            selector: selector.to_owned(),
        };
        let nodes = Kind { operation: "list nodes", path: format!("{CORE}/nodes"), selector: nodes_of(all, &location) };
        let deployments = of("list Deployments", "apis/apps/v1", "deployments", "");
        let pods = of("list pods", "api/v1", "pods", GROUP);
        Ok(Self {
            deployments: Watched::follow(deployments, &calls, all.news_within),
            pods: Watched::follow(pods, &calls, all.news_within),
            nodes: Watched::follow(nodes, &calls, all.news_within),
            location,
            namespace,
            calls,
        })
    }

    /// How what is watched stands.
    pub(super) fn watching(&self) -> Vec<Watching> {
        vec![self.deployments.standing(), self.pods.standing(), self.nodes.standing()]
    }

    /// The path of a namespaced resource.
    pub(super) fn path(&self, api: &str, plural: &str) -> String {
        format!("/{api}/namespaces/{}/{plural}", self.namespace)
    }

    /// All objects at `path`, as of now.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
        selector: &str,
    ) -> Result<Vec<T>, CallError> {
        let kind = Kind { operation, path: path.to_owned(), selector: selector.to_owned() };
        Ok(self.calls.list(&kind).await?.items)
    }

    /// One object; `None` where there is none.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
        name: &str,
    ) -> Result<Option<T>, CallError> {
        match self.calls.call(operation, Request::new(path).get(name, &Default::default())).await {
            Ok(object) => Ok(Some(object)),
            Err(CallError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object that must not exist.
    pub(super) async fn create(&self, operation: &'static str, path: &str, object: &Value) -> Result<(), CallError> {
        let request = Request::new(path).create(&posted(), object.to_string().into_bytes());
        self.write(operation, path, request).await
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
        self.write(operation, path, request).await
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
        self.write(operation, path, Request::new(path).patch(name, &params, &Patch::Apply(object))).await
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
        self.write(operation, path, request).await
    }

    /// Asks for other resources of a pod's containers; those that are not named stay as they are.
    pub(super) async fn resize(&self, operation: &'static str, pod: &str, containers: &Value) -> Result<(), CallError> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let fields = json!({ "spec": { "containers": containers } });
        let path = &self.path("api/v1", "pods");
        let request = Request::new(path).patch_subresource("resize", pod, &params, &Patch::Strategic(&fields));
        self.write(operation, path, request).await
    }

    /// Whether the core API has a resource, as servers of some versions do.
    pub(super) async fn has(&self, operation: &'static str, resource: &str) -> Result<bool, CallError> {
        let malformed = |error: http::Error| CallError::Malformed { operation, detail: error.to_string() };
        let request = http::Request::get(CORE).body(Vec::new()).map_err(malformed)?;
        let known: Resources = self.calls.call(operation, Ok(request)).await?;
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
        self.write(operation, path, Request::new(path).delete(name, &params)).await
    }

    /// Changes something at `path`, and lets who watches that know.
    async fn write(
        &self,
        operation: &'static str,
        path: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<(), CallError> {
        let told: [(&str, &dyn Written); 2] =
            [(self.deployments.path(), &self.deployments), (self.pods.path(), &self.pods)];
        let told = told.into_iter().find(|(of, _)| *of == path).map(|(_, told)| told);
        let writing = Writing { told };
        let written = self.calls.call::<Versioned>(operation, request).await;
        writing.end(&written);
        written.map(drop)
    }
}

/// A label that all pools of a location tell their nodes by, with its values; empty where there is none.
fn nodes_of(settings: &KubernetesSettings, location: &str) -> String {
    let labels = settings.pools.iter().filter(|placement| placement.pool.location == location).map(|placement| {
        let mut labels = placement.node_selector.clone();
        labels.extend(placement.node_pool.iter().map(|pool| (NODE_POOL.to_owned(), pool.clone())));
        labels
    });
    let labels: Vec<_> = labels.collect();
    let Some(first) = labels.first() else { return String::new() };
    let shared = first.keys().find(|key| labels.iter().all(|labels| labels.contains_key(*key)));
    shared.map_or_else(String::new, |key| {
        let values: BTreeSet<&str> = labels.iter().filter_map(|labels| labels.get(key)).map(String::as_str).collect();
        format!("{key} in ({})", values.into_iter().collect::<Vec<_>>().join(","))
    })
}

fn posted() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
