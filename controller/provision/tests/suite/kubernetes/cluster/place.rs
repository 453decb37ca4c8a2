//! A namespace of the cluster with what a manager needs there: templates, rights, a quota, nodes, and a way to the server.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::Group;
use forebay_provision::kubernetes::{Access, ClusterSettings};
use serde_json::{Value, json};

use super::super::template;
use super::admin::{Admin, named};
use super::nodes::Nodes;
use super::relay::Relay;
use super::{BESIDE, MANAGER, NOT_RUN, NOTICED_WITHIN, PAUSE, at_once, kubeconfig};
use crate::subject::{LIMIT, limited, steady};

/// The namespace.
pub(super) struct Place {
    pub(super) nodes: Nodes,
    pub(super) admin: Admin,
    pub(super) namespace: String,
    /// Between the manager and the server, where something is to go wrong there.
    pub(super) relay: Option<Relay>,
}

impl Place {
    /// One of its own, with a relay or without.
    pub(super) async fn make(is_relayed: bool) -> Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let file = kubeconfig().context(NOT_RUN)?;
        let namespace = format!("suite-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let admin = BESIDE.spawn(prepare(file.clone(), namespace.clone())).await??;
        let relay = if is_relayed { Some(BESIDE.spawn(Relay::start(file)).await??) } else { None };
        let nodes = Nodes::play(admin.clone(), &namespace);
        Ok(Self { nodes, admin, namespace, relay })
    }

    /// How the manager reaches it.
    pub(super) fn settings(&self, location: &str) -> Result<ClusterSettings> {
        let access = match &self.relay {
            Some(relay) => Access::Kubeconfig { file: Some(relay.kubeconfig()), context: None },
            None => Access::Kubeconfig { file: kubeconfig(), context: Some(MANAGER.to_owned()) },
        };
        Ok(ClusterSettings { location: location.to_owned(), access, namespace: self.namespace.clone() })
    }

    /// The relay of a place that was made with one.
    pub(super) fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("a place with a relay")
    }

    /// By a range of limits that the group's shape lies outside of, so that admission refuses its pods.
    pub(super) fn refuse_starts(&self, group: &Group, is_refused: bool) {
        let (admin, name) = (self.admin.clone(), group.shape.to_lowercase());
        let path = format!("/api/v1/namespaces/{}/limitranges", self.namespace);
        let mut limits = if group.shape == steady().shape {
            json!({ "min": { "cpu": "2" } })
        } else {
            json!({ "max": { "cpu": "2" } })
        };
        let mut range = named("v1", "LimitRange", &name);
        limits["type"] = "Pod".into();
        range["spec"] = json!({ "limits": [limits] });
        let asked = async move {
            if is_refused { admin.provide(&path, &range).await } else { admin.delete(&path, &name).await }
        };
        at_once(asked).expect("limits are set");
    }
}

/// The manifest to copy, for a namespace.
fn rights(namespace: &str) -> Result<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy/kubernetes/rbac.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_saphyr::from_multiple::<Value>(&text.replace("namespace: default", &format!("namespace: {namespace}")))?)
}

async fn grant(admin: &Admin, namespace: &str) -> Result<()> {
    const OF_RIGHTS: &str = "/apis/rbac.authorization.k8s.io/v1";
    admin.provide("/api/v1/namespaces", &named("v1", "Namespace", MANAGER)).await?;
    for document in rights(namespace)? {
        let path = match document["kind"].as_str() {
            Some("ServiceAccount") => format!("/api/v1/namespaces/{MANAGER}/serviceaccounts"),
            Some("Role") => format!("{OF_RIGHTS}/namespaces/{namespace}/roles"),
            Some("RoleBinding") => format!("{OF_RIGHTS}/namespaces/{namespace}/rolebindings"),
            Some("ClusterRole") => format!("{OF_RIGHTS}/clusterroles"),
            Some("ClusterRoleBinding") => format!("{OF_RIGHTS}/clusterrolebindings"),
            other => anyhow::bail!("{other:?} in the manifest of rights"),
        };
        admin.provide(&path, &document).await?;
    }
    Ok(())
}

/// A quota on the pods of the service whose instances are limited, found by their priority.
async fn limit(admin: &Admin, namespace: &str) -> Result<()> {
    let class = limited().service;
    let mut priority = named("scheduling.k8s.io/v1", "PriorityClass", &class);
    priority["value"] = 1000.into();
    admin.provide("/apis/scheduling.k8s.io/v1/priorityclasses", &priority).await?;
    let mut quota = named("v1", "ResourceQuota", &class);
    let scope = json!({ "scopeName": "PriorityClass", "operator": "In", "values": [class] });
    quota["spec"] = json!({ "hard": { "pods": LIMIT.to_string() }, "scopeSelector": { "matchExpressions": [scope] } });
    let path = format!("/api/v1/namespaces/{namespace}/resourcequotas");
    admin.create(&path, &quota).await?;
    let deadline = std::time::Instant::now() + NOTICED_WITHIN;
    while admin.get(&path, &class).await?["status"]["hard"].is_null() {
        ensure!(std::time::Instant::now() < deadline, "no controller takes up the quota");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// A namespace with the templates, the rights and the quota. To be run beside the test: a connection lives where its first
/// request was made, and the nodes use these while the test stands still.
async fn prepare(file: PathBuf, namespace: String) -> Result<Admin> {
    let admin = Admin::connect(&file).await?;
    admin.create("/api/v1/namespaces", &named("v1", "Namespace", &namespace)).await?;
    grant(&admin, &namespace).await?;
    limit(&admin, &namespace).await?;
    for service in ["web", "batch"] {
        let mut deployment = template(&format!("{service}-template"));
        deployment["metadata"]["name"] = format!("{service}-template").into();
        let labels = deployment["spec"]["selector"]["matchLabels"].clone();
        let pod = &mut deployment["spec"]["template"];
        pod["metadata"]["labels"] = labels;
        if service == limited().service {
            pod["spec"]["priorityClassName"] = service.into();
        }
        // A range of limits asks every container for some.
        let little = json!({ "cpu": "10m", "memory": "16Mi" });
        pod["spec"]["containers"][1]["resources"] = json!({ "requests": little, "limits": little });
        admin.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &deployment).await?;
    }
    Ok(admin)
}
