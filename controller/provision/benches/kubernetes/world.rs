//! A cluster as large as is asked for: groups whose pods serve, on nodes, with metrics; objects as long as real ones are.
//!
//! What makes real objects long is here too, and nobody reads it: who manages which field, volumes, the images of a node.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use forebay_plan::capacity::{Amounts, ComputeType, CostClass, Generation, Group, Pool, Shape, Target};
use forebay_provision::kubernetes::{
    Access, ClusterSettings, Kubernetes, KubernetesSettings, PoolPlacement, ServiceTemplate,
};
use forebay_provision::{InstanceManager, Order};
use serde_json::{Value, json};

use crate::kubernetes::api::{self, Api, Key};

const NAMESPACE: &str = "shop";
const SERVICES: usize = 10;
/// Fields whose managers are listed, of a pod and of a node, and images that a node has.
const POD_FIELDS: usize = 60;
const NODE_FIELDS: usize = 80;
const NODE_IMAGES: usize = 50;

/// The cluster.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) pods: usize,
    pub(crate) nodes: usize,
}

fn key(group: &str, resource: &str, namespace: &str, name: &str) -> Key {
    (group.to_owned(), resource.to_owned(), namespace.to_owned(), name.to_owned())
}

impl World {
    /// One pool, one shape, some services.
    pub(crate) fn settings(&self, folder: &Path) -> Result<KubernetesSettings> {
        let file = folder.join("kubeconfig");
        std::fs::write(&file, self.api.kubeconfig())?;
        let access = Access::Kubeconfig { file: Some(file), context: None };
        let pool = Pool {
            name: "spot".to_owned(),
            compute: ComputeType::Cpu,
            location: "here".to_owned(),
            class: CostClass::Spot,
            tier: "standard".to_owned(),
            max_instances: self.pods as u32,
            price_milli: 1_000,
            lead_s: 60.0,
            interruption_per_h: 0.0,
        };
        let offers = Amounts { cpu_milli: 1_000.0, memory_mib: 2_048.0, ..Amounts::default() };
        let service = |number: usize| ServiceTemplate {
            service: format!("service-{number}"),
            deployment: format!("service-{number}"),
            container: None,
            port: 8080,
            warm_after: Duration::ZERO,
        };
        Ok(KubernetesSettings {
            clusters: vec![ClusterSettings { location: "here".to_owned(), access, namespace: NAMESPACE.to_owned() }],
            pools: vec![PoolPlacement::anywhere(pool)],
            shapes: vec![Shape { name: "Small".to_owned(), offers, price_micros_per_h: 1, performance: 1.0 }],
            services: (0..SERVICES).map(service).collect(),
            request_within: Duration::from_secs(60),
            ..KubernetesSettings::empty()
        })
    }

    /// Lets the manager make one pod of each group, and copies those.
    pub(crate) async fn fill(&self, manager: &Kubernetes) -> Result<()> {
        for number in 0..SERVICES {
            let name = format!("service-{number}");
            let container = json!({ "name": "app", "image": "registry.example/app:1",
                "env": (0..12).map(|of| json!({ "name": format!("SETTING_{of}"), "value": "as it is" })).collect::<Vec<_>>(),
                "volumeMounts": [{ "name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }] });
            let labels = json!({ "app": name });
            let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [container] } });
            let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {},
                "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": template } });
            self.api.world().store.put(key("apps", "deployments", NAMESPACE, &name), object);
        }
        let group = |number: usize| Group {
            service: format!("service-{number}"),
            pool: "spot".to_owned(),
            shape: "Small".to_owned(),
        };
        let targets = (0..SERVICES).map(|number| Target { group: group(number), count: 1 }).collect();
        let generation = Generation { epoch: 1, sequence: 1 };
        manager.apply(&Order { generation, targets, ..Order::default() }).await?;
        for _ in 0..4 {
            self.api.step();
        }
        self.multiply()
    }

    fn multiply(&self) -> Result<()> {
        let mut world = self.api.world();
        world.cluster.rests = true;
        let pods = api::objects(&world.store, "pods");
        for (key, _) in api::objects(&world.store, "nodes") {
            world.store.remove(&key);
        }
        for number in 0..self.nodes {
            world.store.put(key("", "nodes", "", &format!("node-{number}")), node(number));
        }
        for number in 0..self.pods {
            let (made, mut pod) = pods.get(number % pods.len()).context("a pod of each group")?.clone();
            let name = format!("{}-{number}", made.3);
            pod["metadata"]["uid"] = Value::Null;
            pod["metadata"]["managedFields"] = managed(POD_FIELDS);
            pod["spec"]["nodeName"] = format!("node-{}", number % self.nodes.max(1)).into();
            let metrics = json!({ "metadata": { "name": name, "labels": pod["metadata"]["labels"] }, "window": "15s",
                "timestamp": api::now(), "containers": [{ "name": "app", "usage": { "cpu": "250m", "memory": "512Mi" } }] });
            if number >= pods.len() {
                let copy = |group: &str| key(group, "pods", NAMESPACE, &name);
                world.store.put(copy(""), pod);
                world.store.put(copy("metrics.k8s.io"), metrics);
            }
        }
        let each = self.pods / SERVICES;
        for (key, mut object) in api::objects(&world.store, "deployments") {
            if object["spec"]["replicas"] == 1 {
                object["spec"]["replicas"] = each.into();
                object["status"]["replicas"] = each.into();
                world.store.put(key, object);
            }
        }
        world.store.forget_history();
        Ok(())
    }

    /// Some pods and nodes report, as kubelets do, each turn others.
    pub(crate) fn change(&self, (pods, nodes): (usize, usize), turn: usize) {
        let mut world = self.api.world();
        for (resource, count) in [("pods", pods), ("nodes", nodes)] {
            let all = api::objects(&world.store, resource);
            let all: Vec<_> = all.into_iter().filter(|((group, ..), _)| group.is_empty()).collect();
            for (key, mut object) in all.iter().cycle().skip(turn * count).take(count).cloned() {
                object["status"]["reported"] = turn.into();
                world.store.put(key, object);
            }
        }
    }

    /// Requests and bytes of answers so far.
    pub(crate) fn answered(&self) -> (usize, usize) {
        let world = self.api.world();
        (world.requests, world.sent.bytes)
    }

    /// How long objects are on average, in bytes: pods, nodes.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let world = self.api.world();
        let mean = |resource: &str| {
            let lengths: Vec<usize> = api::objects(&world.store, resource)
                .iter()
                .filter(|((group, ..), _)| group.is_empty())
                .map(|(_, object)| object.to_string().len())
                .collect();
            lengths.iter().sum::<usize>() / lengths.len().max(1)
        };
        (mean("pods"), mean("nodes"))
    }
}

fn managed(fields: usize) -> Value {
    let fields: serde_json::Map<String, Value> = (0..fields)
        .map(|field| (format!("k:{{\"type\":\"field-{field}\"}}"), json!({ ".": {}, "f:status": {} })))
        .collect();
    json!([{ "manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": api::now(),
        "fieldsType": "FieldsV1", "fieldsV1": { "f:status": { "f:conditions": fields } }, "subresource": "status" }])
}

fn node(number: usize) -> Value {
    let images: Vec<Value> = (0..NODE_IMAGES)
        .map(|image| {
            json!({ "sizeBytes": 12_345_678, "names": [
            format!("registry.example/image-{image}@sha256:{:064x}", image * 7919 + number),
            format!("registry.example/image-{image}:1") ] })
        })
        .collect();
    json!({ "apiVersion": "v1", "kind": "Node",
        "metadata": { "labels": { "kubernetes.io/hostname": format!("node-{number}") }, "managedFields": managed(NODE_FIELDS) },
        "spec": { "providerID": format!("fake:///{number}") },
        "status": { "images": images, "conditions": [{ "type": "Ready", "status": "True" }] } })
}
