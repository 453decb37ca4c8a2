//! `capacity.manager.kubernetes`: clusters by location, how pools are found on nodes, and the Deployments that services are
//! taken from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_plan::capacity::{PoolOffer, Shape};
use forebay_provision::kubernetes::{
    Access, ClusterSettings, KubernetesSettings, Placeholders, PoolPlacement, ServiceTemplate, Toleration,
};
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesPart {
    clusters: Vec<ClusterPart>,
    /// By pool; one that is not here is on any node.
    #[serde(default)]
    pools: BTreeMap<String, PlacementPart>,
    /// By service.
    services: BTreeMap<String, TemplatePart>,
    #[serde(default = "two_minutes")]
    unschedulable_after_s: f64,
    #[serde(default = "ten_minutes")]
    surge_within_s: f64,
    /// 0 to resize no pod in place.
    #[serde(default = "half_a_minute")]
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterPart {
    location: String,
    namespace: String,
    /// Default: the service account of the pod that the controller runs in.
    kubeconfig: Option<KubeconfigPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KubeconfigPart {
    file: Option<PathBuf>,
    context: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PlacementPart {
    node_selector: BTreeMap<String, String>,
    tolerations: Vec<TolerationPart>,
    node_pool: Option<String>,
    placeholders: Option<PlaceholdersPart>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TolerationPart {
    key: String,
    value: Option<String>,
    effect: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceholdersPart {
    shape: String,
    count: u32,
    priority_class: String,
    image: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplatePart {
    deployment: String,
    container: Option<String>,
    port: u16,
    #[serde(default)]
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
