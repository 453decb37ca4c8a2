//! The suite on a real API server with its real controllers: `cargo xtask cluster` builds and starts them, and names them in
//! `FOREBAY_CLUSTER`.
//!
//! Real are storage, versions, watches, server-side apply, validation, admission, quotas, rights, and the controllers that make
//! Deployments into pods and collect what lost its owner. Played are nodes and what runs on them ([`nodes`]): no registry has
//! a kubelet that runs without a machine of its own. Nothing here stands still: what the fake does between two calls takes a
//! real cluster some time, so what a controller has to notice first is looked for until it is there.
//!
//! Each test has a namespace of its own, which goes with the cluster. The manager has the rights of the manifest to copy and no others; what the test does to
//! the cluster it does as an administrator.

mod nodes;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::Group;
use forebay_provision::kubernetes::{Access, ClusterSettings, Kubernetes, KubernetesSettings};
use kube::core::Request;
use kube::core::params::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use self::nodes::Nodes;
use super::{settings, template};
use crate::conformance::conforms;
use crate::subject::{LIMIT, Noticed, Subject, limited, steady};

conforms!(OnCluster: all, noticed);

/// Names the kubeconfig, whose current context is an administrator's and whose context `forebay` is the manager's.
const CLUSTER: &str = "FOREBAY_CLUSTER";
const NOT_RUN: &str =
    "\nFOREBAY_CLUSTER IS NOT SET: the suite was not run on a real API server (`cargo xtask cluster`).";
/// Whom the manifest of rights names.
const MANAGER: &str = "forebay";
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// Longest that a controller may take to notice what the test prepares.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// What goes on while a test stands still, such as the nodes, and requests of those who cannot wait for them.
static BESIDE: LazyLock<Runtime> = LazyLock::new(|| {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(2).enable_all().build().expect("threads for what is beside a test")
});

/// Where the cluster is; says once that there is none.
fn kubeconfig() -> Option<PathBuf> {
    static TOLD: OnceLock<()> = OnceLock::new();
    let file = std::env::var_os(CLUSTER).filter(|file| !file.is_empty());
    if file.is_none() {
        // Not `eprintln!`, which cargo keeps to itself where a test passes.
        TOLD.get_or_init(|| _ = writeln!(std::io::stderr(), "{NOT_RUN}"));
    }
    file.map(PathBuf::from)
}

/// The manager, and its namespace of the cluster.
struct OnCluster {
    manager: Kubernetes,
    settings: KubernetesSettings,
    nodes: Nodes,
    admin: Admin,
    namespace: String,
}

/// Does what only an administrator may.
#[derive(Clone)]
struct Admin(Client);

impl Admin {
    async fn connect(file: &Path) -> Result<Self> {
        let kubeconfig = kube::config::Kubeconfig::read_from(file)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        Ok(Self(Client::try_from(config)?))
    }

    async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let list: Value = self.0.request(Request::new(path).list(&ListParams::default())?).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    async fn get(&self, path: &str, name: &str) -> Result<Value> {
        Ok(self.0.request(Request::new(path).get(name, &Default::default())?).await?)
    }

    async fn create(&self, path: &str, object: &Value) -> Result<()> {
        let request = Request::new(path).create(&PostParams::default(), object.to_string().into_bytes())?;
        self.0.request::<Value>(request).await.with_context(|| format!("create in {path}"))?;
        Ok(())
    }

    /// What is there already stays.
    async fn provide(&self, path: &str, object: &Value) -> Result<()> {
        match self.create(path, object).await {
            Err(error) if is_code(&error, 409) => Ok(()),
            done => done,
        }
    }

    async fn patch(&self, path: &str, name: &str, change: &Value) -> Result<()> {
        let request = Request::new(path).patch(name, &PatchParams::default(), &Patch::Strategic(change))?;
        self.0.request::<Value>(request).await.with_context(|| format!("patch {path}/{name}"))?;
        Ok(())
    }

    async fn patch_status(&self, path: &str, name: &str, change: &Value) -> Result<()> {
        let patch = Patch::Strategic(change);
        let request = Request::new(path).patch_subresource("status", name, &PatchParams::default(), &patch)?;
        self.0.request::<Value>(request).await.with_context(|| format!("patch the status of {path}/{name}"))?;
        Ok(())
    }

    /// At once; what is gone already is as it should be.
    async fn delete(&self, path: &str, name: &str) -> Result<()> {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::background() };
        match self.0.request::<Value>(Request::new(path).delete(name, &at_once)?).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("delete {path}/{name}")),
            Ok(_) => Ok(()),
        }
    }
}

fn is_code(error: &anyhow::Error, code: u16) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == code)
}

/// Carries out a request from where nothing can be awaited.
fn at_once(request: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
    let (done, outcome) = mpsc::channel();
    BESIDE.spawn(async move { done.send(request.await) });
    outcome.recv_timeout(NOTICED_WITHIN).context("a request of the test itself")?
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

fn named(version: &str, kind: &str, name: &str) -> Value {
    json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name } })
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

impl Subject for OnCluster {
    type Manager = Kubernetes;

    fn is_there() -> bool {
        kubeconfig().is_some()
    }

    async fn set_up() -> Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let file = kubeconfig().context(NOT_RUN)?;
        let namespace = format!("suite-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let admin = BESIDE.spawn(prepare(file.clone(), namespace.clone())).await??;
        let access = Access::Kubeconfig { file: Some(file), context: Some(MANAGER.to_owned()) };
        let cluster = ClusterSettings { location: "here".to_owned(), access, namespace: namespace.clone() };
        let settings = KubernetesSettings { request_within: REQUEST_WITHIN, ..settings(vec![cluster]) };
        let manager = Kubernetes::connect(settings.clone()).await?;
        let nodes = Nodes::play(admin.clone(), &namespace);
        Ok(Self { manager, settings, nodes, admin, namespace })
    }

    fn manager(&self) -> &Kubernetes {
        &self.manager
    }

    async fn restart(&mut self) -> Result<()> {
        self.manager = Kubernetes::connect(self.settings.clone()).await.context("connect again")?;
        Ok(())
    }

    async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }

    fn hold_starts(&self, group: &Group, is_held: bool) {
        self.nodes.hold(group, is_held);
    }

    /// By a range of limits that the group's shape lies outside of, so that admission refuses its pods.
    fn refuse_starts(&self, group: &Group, is_refused: bool) {
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

    fn take_away(&self, id: &str) {
        self.nodes.take_away(id).expect("a pod is taken away");
    }

    fn running(&self, group: &Group) -> usize {
        self.nodes.running(group)
    }

    fn ever_started(&self, group: &Group) -> usize {
        self.nodes.ever_started(group)
    }
}

impl Noticed for OnCluster {
    fn announce(&self, id: &str) {
        self.nodes.announce(id).expect("a node is tainted");
    }
}
