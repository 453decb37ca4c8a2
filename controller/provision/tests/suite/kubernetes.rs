//! The Kubernetes manager, over a fake API server that holds it to the rights of the manifest that people copy.

mod api;
mod cluster;
mod moving;
mod peers;
mod permitted;
mod real;
mod regions;
mod rights;
mod shortage;
mod upgrading;
mod watching;
mod writing;

use std::time::Duration;

use anyhow::{Context, Result};
use forebay_plan::capacity::{Amounts, ComputeType, CostClass, Generation, Group, Pool, Shape, Target};
use forebay_provision::Order;
use forebay_provision::kubernetes::{
    Access, ClusterSettings, Kubernetes, KubernetesSettings, PoolPlacement, ServiceTemplate,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use self::api::Api;
use self::rights::Rights;
use crate::conformance::conforms;
use crate::subject::{Fault, LIMIT, Noticed, Remote, Subject, limited};

conforms!(OnKubernetes: all, remote, noticed);

pub(crate) const NAMESPACE: &str = "shop";
/// Well below the suite's patience: what hangs is given up after it.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);
/// For tests in which nothing hangs, and a loaded machine is to change nothing.
pub(crate) const PATIENTLY: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(1);
/// Longest that what was told to open watches takes to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);

/// The manager, and the cluster that it talks to.
pub(crate) struct OnKubernetes {
    pub(crate) api: Api,
    manager: Kubernetes,
    _folder: TempDir,
    settings: KubernetesSettings,
}

/// Pools, shapes and services as the suite names them, in one cluster.
pub(crate) fn settings(clusters: Vec<ClusterSettings>) -> KubernetesSettings {
    let pool = |name: &str, class| {
        PoolPlacement::anywhere(Pool {
            name: name.to_owned(),
            compute: ComputeType::Cpu,
            location: "here".to_owned(),
            class,
            tier: "standard".to_owned(),
            max_instances: 100,
            price_milli: 1_000,
            lead_s: 60.0,
            interruption_per_h: 0.0,
        })
    };
    let shape = |name: &str, cores: f64| Shape {
        name: name.to_owned(),
        offers: Amounts { cpu_milli: 1_000.0 * cores, memory_mib: 2_048.0 * cores, ..Amounts::default() },
        price_micros_per_h: 50_000,
        performance: 1.0,
    };
    let service = |name: &str| ServiceTemplate {
        service: name.to_owned(),
        deployment: format!("{name}-template"),
        container: None,
        port: 8080,
        warm_after: Duration::ZERO,
    };
    KubernetesSettings {
        clusters,
        pools: vec![pool("reserved", CostClass::Reserved), pool("spot", CostClass::Spot)],
        shapes: vec![shape("Small", 1.0), shape("Large", 4.0)],
        services: vec![service("web"), service("batch")],
        request_within: REQUEST_WITHIN,
        unschedulable_after: Duration::ZERO,
        ..KubernetesSettings::empty()
    }
}

/// The manager made anew: what it knew was in memory, and is gone.
pub(crate) async fn connect_again(settings: &KubernetesSettings) -> Result<Kubernetes> {
    Kubernetes::connect(settings.clone()).await.context("connect again")
}

/// An order of a generation.
pub(crate) fn order(sequence: u64, targets: &[(Group, u32)]) -> Order {
    let targets = targets.iter().map(|(group, count)| Target { group: group.clone(), count: *count });
    Order { generation: Generation { epoch: 1, sequence }, targets: targets.collect(), ..Order::default() }
}

/// A user's own Deployment.
pub(crate) fn template(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "labels": { "app": name } },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": name } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": {
                "metadata": { "labels": { "app": name }, "annotations": { "team": "shop" } },
                "spec": {
                    "serviceAccountName": "shop",
                    "containers": [
                        {
                            "name": "app",
                            "image": "registry.example/app:1",
                            "env": [{ "name": "MODE", "value": "production" }],
                            "ports": [{ "name": "http", "containerPort": 8080 }],
                            "resources": { "requests": { "cpu": "100m" }, "limits": { "cpu": "200m" } },
                            "readinessProbe": { "httpGet": { "path": "/ready", "port": 8080 } },
                        },
                        { "name": "proxy", "image": "registry.example/proxy:1" },
                    ],
                },
            },
        },
    })
}

impl OnKubernetes {
    /// A cluster with the templates, and a manager with other settings than the suite's.
    pub(crate) async fn with(change: impl FnOnce(&mut KubernetesSettings)) -> Result<Self> {
        let api = Api::start(Some(Rights::read()?)).await?;
        for name in ["web-template", "batch-template"] {
            let key = ("apps".to_owned(), "deployments".to_owned(), NAMESPACE.to_owned(), name.to_owned());
            api.world().store.put(key, template(name));
        }
        api.world().cluster.quota.insert(limited(), LIMIT as usize);
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("kubeconfig");
        std::fs::write(&file, api.kubeconfig())?;
        let access = Access::Kubeconfig { file: Some(file), context: Some("fake".to_owned()) };
        let cluster = ClusterSettings { location: "here".to_owned(), access, namespace: NAMESPACE.to_owned() };
        let mut settings = settings(vec![cluster]);
        change(&mut settings);
        let manager = Kubernetes::connect(settings.clone()).await?;
        Ok(Self { api, manager, _folder: folder, settings })
    }

    /// A manager made anew with other settings.
    pub(crate) async fn reconfigure(&mut self, change: impl FnOnce(&mut KubernetesSettings)) -> Result<()> {
        change(&mut self.settings);
        self.restart().await
    }

    /// Waits until everything that happened was told to the manager, as far as it watches.
    pub(crate) async fn caught_up(&self) {
        let version = {
            let mut world = self.api.world();
            world.watches.mark();
            world.store.ring();
            world.store.version()
        };
        let deadline = Instant::now() + ARRIVES_WITHIN;
        while Instant::now() < deadline && self.is_behind(version) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether a watch that is open has still to tell of a version.
    fn is_behind(&self, version: u64) -> bool {
        let watched: Vec<_> = self.manager.watching().into_iter().flat_map(|(_, watched)| watched).collect();
        let world = self.api.world();
        let is_told = |resource: &str| {
            let name = format!("list {resource}").to_lowercase();
            let of = watched.iter().find(|one| one.operation.to_lowercase() == name);
            of.is_none_or(|one| one.version.parse::<u64>().is_ok_and(|seen| seen >= version))
        };
        !world.watches.are_slow && world.watches.resources().any(|resource| !is_told(resource))
    }

    /// Deletes the pod of an instance at once, and no controller takes notice yet.
    pub(crate) fn delete_pod(&self, id: &str) {
        let mut world = self.api.world();
        let pods = api::objects(&world.store, "pods");
        if let Some((key, _)) = pods.iter().find(|(_, pod)| api::uid(pod) == id) {
            world.store.remove(key);
        }
    }

    /// Changes the pod of an instance.
    pub(crate) fn change_pod(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let mut world = self.api.world();
        let pods = api::objects(&world.store, "pods");
        if let Some((key, mut pod)) = pods.into_iter().find(|(_, pod)| api::uid(pod) == id) {
            change(&mut pod);
            world.store.put(key, pod);
        }
        let api::World { store, cluster, .. } = &mut *world;
        cluster.control(store);
    }
}

impl Subject for OnKubernetes {
    type Manager = Kubernetes;

    async fn set_up() -> Result<Self> {
        Self::with(|_| {}).await
    }

    fn manager(&self) -> &Kubernetes {
        &self.manager
    }

    async fn restart(&mut self) -> Result<()> {
        self.manager = connect_again(&self.settings).await?;
        Ok(())
    }

    async fn pause(&self) {
        self.api.step();
        self.caught_up().await;
        tokio::time::sleep(PAUSE).await;
    }

    fn hold_starts(&self, group: &Group, is_held: bool) {
        let held = &mut self.api.world().cluster.held;
        held.remove(group);
        held.extend(is_held.then(|| group.clone()));
    }

    fn refuse_starts(&self, group: &Group, is_refused: bool) {
        let mut world = self.api.world();
        world.cluster.refused.remove(group);
        world.cluster.refused.extend(is_refused.then(|| group.clone()));
        let api::World { store, cluster, .. } = &mut *world;
        cluster.control(store);
    }

    /// A node that shuts down leaves its pods as failed.
    fn take_away(&self, id: &str) {
        self.change_pod(id, |pod| {
            pod["status"]["phase"] = "Failed".into();
            pod["status"]["reason"] = "NodeShutdown".into();
            api::set_condition(pod, "Ready", ("False", "PodFailed", ""));
        });
    }

    fn running(&self, group: &Group) -> usize {
        self.api.running(group)
    }

    fn ever_started(&self, group: &Group) -> usize {
        self.api.world().cluster.started.get(group).copied().unwrap_or_default()
    }
}

impl Remote for OnKubernetes {
    fn fault_next(&self, fault: Fault) {
        self.api.fault_next(fault);
    }

    fn keep_view(&self) {
        self.api.keep_view();
    }

    fn show_old_view(&self) {
        self.api.show_old_view();
    }
}

impl Noticed for OnKubernetes {
    fn announce(&self, id: &str) {
        let mut world = self.api.world();
        let pods = api::objects(&world.store, "pods");
        let node = pods.iter().find(|(_, pod)| api::uid(pod) == id).map(|(_, pod)| pod["spec"]["nodeName"].clone());
        for (key, mut object) in api::objects(&world.store, "nodes") {
            if node.as_ref().is_some_and(|node| *node == object["metadata"]["name"]) {
                let taint = json!({ "key": "aws-node-termination-handler/spot-itn", "effect": "NoSchedule" });
                object["spec"]["taints"] = json!([taint]);
                world.store.put(key, object);
            }
        }
    }
}
