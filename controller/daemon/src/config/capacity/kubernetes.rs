//! `capacity.manager.kubernetes`: clusters by location, how pools are found on nodes, and the Deployments that services are
//! taken from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_plan::capacity::{PoolOffer, Shape};
use forebay_provision::kubernetes::{
    Access, ClusterSettings, KubernetesSettings, Placeholders, PoolPlacement, ServiceTemplate, Toleration,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::within;
use crate::config::file::{Problem, problem};

const AT: &str = "capacity.manager.kubernetes";

/// What a manager must know of the rest of the configuration.
#[derive(Clone, Copy)]
pub(super) struct Declared<'a> {
    pub(super) services: &'a [&'a str],
    pub(super) pools: &'a [PoolOffer],
    pub(super) shapes: &'a [Shape],
    /// Folder of the history, beside which processes are kept.
    pub(super) data_dir: &'a Path,
}

/// Instances that are pods of Deployments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesPart {
    /// Clusters, one for each location of pools.
    clusters: Vec<ClusterPart>,
    /// Where on nodes pools are, by pool. One that is not here is on any node.
    #[serde(default)]
    pools: BTreeMap<String, PlacementPart>,
    /// Deployments that services are taken from, by service.
    services: BTreeMap<String, TemplatePart>,
    /// Time that a pod may wait for a node before its pool counts as out of capacity, in seconds: longer than the cluster's
    /// autoscaler takes to decide.
    #[serde(default = "two_minutes")]
    #[schemars(range(min = 0.0, max = 86_400.0))]
    unschedulable_after_s: f64,
    /// Longest time that instances of one shape are kept while those of another that replace them are not ready, in seconds.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 0.0, max = 86_400.0))]
    surge_within_s: f64,
    /// Longest time that a running pod may take to be resized in place before a new one takes over, in seconds. With 0 none is.
    #[serde(default = "half_a_minute")]
    #[schemars(range(min = 0.0, max = 86_400.0))]
    resize_within_s: f64,
}

fn two_minutes() -> f64 {
    120.0
}

fn ten_minutes() -> f64 {
    600.0
}

fn half_a_minute() -> f64 {
    30.0
}

/// A cluster.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ClusterPart {
    /// Location of the pools that are in it.
    location: String,
    /// Namespace of the Deployments.
    namespace: String,
    /// How it is reached. Without it, by the service account of the pod that the controller runs in.
    kubeconfig: Option<KubeconfigPart>,
}

/// How a cluster is reached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct KubeconfigPart {
    /// The kubeconfig. Without it, `KUBECONFIG` or `~/.kube/config`.
    file: Option<PathBuf>,
    /// Its context. Without it, the present one.
    context: Option<String>,
}

/// Where on nodes a pool is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct PlacementPart {
    /// Labels of the nodes.
    node_selector: BTreeMap<String, String>,
    /// Taints of the nodes that pods tolerate.
    tolerations: Vec<TolerationPart>,
    /// Karpenter `NodePool` that makes its nodes: instances are bound to it, and its limits and weight follow the pool. Without it
    /// there is none.
    node_pool: Option<String>,
    /// Room that is kept free by pods of low priority, which real ones push out. Without it none is.
    placeholders: Option<PlaceholdersPart>,
}

/// A taint that pods tolerate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TolerationPart {
    /// Key of the taint.
    key: String,
    /// Value of the taint. Without it, any.
    value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`. Without it, all.
    effect: Option<String>,
}

/// Room that is kept free by pods of low priority.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PlaceholdersPart {
    /// Shape that each keeps room for.
    shape: String,
    /// How many there are.
    count: u32,
    /// An existing `PriorityClass` with a value below that of every service, as in `envoy/kubernetes`.
    priority_class: String,
    /// Image that does nothing, such as `registry.k8s.io/pause:3.10`.
    image: String,
}

/// A Deployment that a service is taken from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TemplatePart {
    /// Your own Deployment, whose pod template is copied. Its replicas are not counted.
    deployment: String,
    /// Container that gets the shape's resources. Without it, the first.
    container: Option<String>,
    /// Port that it serves on.
    port: u16,
    /// Time after becoming ready until an instance counts as warm, in seconds.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 86_400.0))]
    warm_after_s: f64,
}

impl KubernetesPart {
    pub(super) fn check(mut self, declared: Declared<'_>) -> Result<KubernetesSettings, Problem> {
        let Declared { services, pools, shapes, .. } = declared;
        if let Some(name) = self.pools.keys().find(|name| pools.iter().all(|offer| offer.pool.name != **name)) {
            let reason = format!("no pool is called {name:?}");
            return Err(problem(format!("{AT}.pools"), reason, "name one of capacity.pools"));
        }
        if let Some(name) = self.services.keys().find(|name| !services.contains(&name.as_str())) {
            let reason = format!("no service is called {name:?}");
            return Err(problem(format!("{AT}.services"), reason, "name one of capacity.services"));
        }
        if let Some(name) = services.iter().find(|name| !self.services.contains_key(**name)) {
            let reason = format!("nothing says which Deployment service {name:?} is taken from");
            return Err(problem(format!("{AT}.services"), reason, "add it, with deployment and port"));
        }
        let lost = pools.iter().find(|offer| self.clusters.iter().all(|one| one.location != offer.pool.location));
        if let Some(offer) = lost {
            let reason = format!("pool {:?} is in {:?}, and no cluster is there", offer.pool.name, offer.pool.location);
            return Err(problem(format!("{AT}.clusters"), reason, "add a cluster with that location"));
        }
        let seconds = |field: &str, value: f64| {
            Ok(Duration::from_secs_f64(within(format!("{AT}.{field}"), value, 0.0..=86_400.0)?))
        };
        let placements: Result<Vec<PoolPlacement>, Problem> = pools
            .iter()
            .map(|offer| self.pools.remove(&offer.pool.name).unwrap_or_default().check(offer, shapes))
            .collect();
        let templates: Result<Vec<ServiceTemplate>, Problem> = self
            .services
            .into_iter()
            .map(|(service, part)| {
                let warm_after = seconds(&format!("services.{service}.warm_after_s"), part.warm_after_s)?;
                let TemplatePart { deployment, container, port, .. } = part;
                Ok(ServiceTemplate { service, deployment, container, port, warm_after })
            })
            .collect();
        Ok(KubernetesSettings {
            clusters: self.clusters.into_iter().map(ClusterPart::settings).collect(),
            pools: placements?,
            shapes: shapes.to_vec(),
            services: templates?,
            unschedulable_after: seconds("unschedulable_after_s", self.unschedulable_after_s)?,
            surge_within: seconds("surge_within_s", self.surge_within_s)?,
            resize_within: seconds("resize_within_s", self.resize_within_s)?,
            ..KubernetesSettings::empty()
        })
    }
}

impl ClusterPart {
    fn settings(self) -> ClusterSettings {
        let access = match self.kubeconfig {
            None => Access::InCluster,
            Some(KubeconfigPart { file, context }) => Access::Kubeconfig { file, context },
        };
        ClusterSettings { location: self.location, access, namespace: self.namespace }
    }
}

impl PlacementPart {
    fn check(self, offer: &PoolOffer, shapes: &[Shape]) -> Result<PoolPlacement, Problem> {
        let placeholders = match self.placeholders {
            Some(part) if shapes.iter().all(|shape| shape.name != part.shape) => {
                let at = format!("{AT}.pools.{}.placeholders.shape", offer.pool.name);
                return Err(problem(at, format!("no shape is called {:?}", part.shape), "name one of capacity.shapes"));
            }
            Some(PlaceholdersPart { shape, count, priority_class, image }) => {
                Some(Placeholders { shape, count, priority_class, image })
            }
            None => None,
        };
        let toleration = |TolerationPart { key, value, effect }| Toleration { key, value, effect };
        Ok(PoolPlacement {
            node_selector: self.node_selector,
            tolerations: self.tolerations.into_iter().map(toleration).collect(),
            node_pool: self.node_pool,
            placeholders,
            ..PoolPlacement::anywhere(offer.pool.clone())
        })
    }
}
