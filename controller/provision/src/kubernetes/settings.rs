//! What the Kubernetes manager is told: clusters by location, how pools are found on nodes, shapes, templates of services.
//!
//! All of it is configuration, read once; nothing here is learned. Names of pools, shapes and services are the plan's, and
//! what they become in a cluster is `names.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use forebay_plan::capacity::{Pool, Shape};

/// Everything that the manager is told.
#[derive(Clone, Debug)]
pub struct KubernetesSettings {
    /// One per location; pools of other locations are unknown.
    pub clusters: Vec<ClusterSettings>,
    /// The pools, and how their nodes are told.
    pub pools: Vec<PoolPlacement>,
    /// The shapes.
    pub shapes: Vec<Shape>,
    /// The services.
    pub services: Vec<ServiceTemplate>,
    /// Longest that one request to an API server may take.
    pub request_within: Duration,
    /// Longest that what is watched is trusted without news; a server is asked to say how far it is within that time. Then it
    /// is listed, and where that fails its cluster is unreachable. As long, a list that is older than what was seen is not
    /// believed.
    pub news_within: Duration,
    /// How long a pod may wait for a node before its pool counts as out of capacity: longer than the cluster's autoscaler
    /// takes to decide.
    pub unschedulable_after: Duration,
    /// Longest that instances of one shape are kept while those of another shape, which replace them, are not ready.
    pub surge_within: Duration,
    /// Longest that a running pod may take to be resized in place before a new one takes over; zero to resize none.
    pub resize_within: Duration,
}

impl KubernetesSettings {
    /// No clusters and nothing to run, with the usual limits.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            clusters: Vec::new(),
            pools: Vec::new(),
            shapes: Vec::new(),
            services: Vec::new(),
            request_within: Duration::from_secs(5),
            news_within: Duration::from_secs(60),
            unschedulable_after: Duration::from_secs(120),
            surge_within: Duration::from_secs(600),
            resize_within: Duration::from_secs(30),
        }
    }
}

/// One cluster: a region's own control plane.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The location of the pools that are in it.
    pub location: String,
    /// How it is reached.
    pub access: Access,
    /// Where templates are found, and groups are kept.
    pub namespace: String,
}

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// By the service account of the pod that this runs in.
    InCluster,
    /// By a kubeconfig.
    Kubeconfig {
        /// The file; `None` for what `KUBECONFIG` names, or the usual place.
        file: Option<PathBuf>,
        /// The context; `None` for the file's current one.
        context: Option<String>,
    },
}

/// A pool, and how its nodes are told from others.
#[derive(Clone, Debug)]
pub struct PoolPlacement {
    /// The pool.
    pub pool: Pool,
    /// Labels that its nodes have: zone, instance family, capacity type.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that its nodes have.
    pub tolerations: Vec<Toleration>,
    /// The Karpenter `NodePool` that makes its nodes: instances are bound to it, and its limits and weight follow the pool.
    pub node_pool: Option<String>,
    /// Nodes that are kept warm.
    pub placeholders: Option<Placeholders>,
}

impl PoolPlacement {
    /// A pool on any node.
    #[must_use]
    pub fn anywhere(pool: Pool) -> Self {
        Self { pool, node_selector: BTreeMap::new(), tolerations: Vec::new(), node_pool: None, placeholders: None }
    }
}

/// A taint that is tolerated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    /// Key of the taint.
    pub key: String,
    /// Its value; `None` for any.
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; `None` for all.
    pub effect: Option<String>,
}

/// Room that is kept free in a pool by pods of low priority, which real ones push out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholders {
    /// Name of the shape that each keeps room for.
    pub shape: String,
    /// How many.
    pub count: u32,
    /// An existing `PriorityClass` with a value below that of every service, as in `envoy/kubernetes`.
    pub priority_class: String,
    /// An image that does nothing, such as `registry.k8s.io/pause:3.10`.
    pub image: String,
}

/// Where instances of a service are taken from.
#[derive(Clone, Debug)]
pub struct ServiceTemplate {
    /// The service.
    pub service: String,
    /// The user's own Deployment, whose pod template is copied. It may have any number of replicas, also none; they are
    /// not counted.
    pub deployment: String,
    /// The container that gets the shape's resources; `None` for the first.
    pub container: Option<String>,
    /// Where it serves.
    pub port: u16,
    /// How long after it became ready an instance counts as warm.
    pub warm_after: Duration,
}
