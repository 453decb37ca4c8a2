//! What an Envoy shall be: listeners, filters and clusters, as a plain value that turns into bootstrap JSON.
//!
//! Invariants: every port is 0, so that Envoy picks a free one and says which; every listener bounds how long a stream
//! may stay, because a stream that is paused in a wasm VM that fails would otherwise hang (reference: Envoy's
//! `stream_idle_timeout` and `max_stream_duration`).

mod cluster;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

pub use cluster::Cluster;

/// The cluster that a listener routes to unless it says otherwise.
pub const UPSTREAM_CLUSTER: &str = "upstream";
/// The cluster that the filter's plugin configuration names for its controller.
pub const CONTROLLER_CLUSTER: &str = "forebay_controller";

/// One Envoy process.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// The node id; the filter takes it as the proxy's name unless its configuration has one.
    pub node_id: String,
    /// Worker threads.
    pub workers: u32,
    /// What it listens to.
    pub listeners: Vec<Listener>,
    /// Where it sends to.
    pub clusters: Vec<Cluster>,
    /// Listeners come from a watched file beside the bootstrap and can be replaced while Envoy runs
    /// (`Envoy::replace_listeners`). Then a refused listener is a line in the log and no failed start.
    pub listeners_replaceable: bool,
    /// Envoy's `stats_config`: the tags that turn parts of a stat's name into labels.
    pub stats_config: Option<Value>,
}

impl Bootstrap {
    /// An Envoy with two workers and nothing to do yet.
    pub fn new(node_id: &str) -> Self {
        Self {
            node_id: node_id.to_owned(),
            workers: 2,
            listeners: Vec::new(),
            clusters: Vec::new(),
            listeners_replaceable: false,
            stats_config: None,
        }
    }

    /// Sets the number of worker threads.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// Adds a listener.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Adds the cluster that listeners route to.
    #[must_use]
    pub fn upstream(mut self, endpoints: &[SocketAddr]) -> Self {
        self.clusters.push(Cluster::new(UPSTREAM_CLUSTER, endpoints));
        self
    }

    /// Adds a cluster.
    #[must_use]
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// Adds the cluster that the filter finds its controller by.
    #[must_use]
    pub fn controller(mut self, address: SocketAddr) -> Self {
        self.clusters.push(Cluster::new(CONTROLLER_CLUSTER, &[address]));
        self
    }

    /// Makes the listeners replaceable while Envoy runs.
    #[must_use]
    pub fn replaceable_listeners(mut self) -> Self {
        self.listeners_replaceable = true;
        self
    }

    /// Sets Envoy's `stats_config`.
    #[must_use]
    pub fn stats_config(mut self, config: Value) -> Self {
        self.stats_config = Some(config);
        self
    }

    /// The bootstrap; `listeners_file` is where Envoy watches for listeners when they are replaceable.
    pub fn to_json(&self, listeners_file: &str) -> Value {
        let clusters: Vec<Value> = self.clusters.iter().map(Cluster::to_json).collect();
        let mut bootstrap = json!({
            "node": { "id": self.node_id, "cluster": "forebay-host-tests" },
            "admin": { "address": loopback_port(0) },
            "static_resources": { "clusters": clusters },
        });
        if let Some(config) = &self.stats_config {
            bootstrap["stats_config"] = config.clone();
        }
        if self.listeners_replaceable {
            bootstrap["dynamic_resources"] = json!({
                "lds_config": { "resource_api_version": "V3", "path_config_source": { "path": listeners_file } },
            });
        } else {
            let listeners: Vec<Value> = self.listeners.iter().map(Listener::to_json).collect();
            bootstrap["static_resources"]["listeners"] = Value::Array(listeners);
        }
        bootstrap
    }
}

/// One HTTP listener with its filters and a single route to one cluster.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name, by which its address is asked for.
    pub name: String,
    /// The HTTP filters in order, without the router.
    pub filters: Vec<Value>,
    /// The cluster that everything is routed to.
    pub cluster: String,
    /// Configuration of filters on the route, by filter name.
    pub route_filter_configs: BTreeMap<String, Value>,
    /// The most request headers that Envoy takes, in KiB; its own default is 60.
    pub request_headers_max_kib: u32,
    /// After how many seconds without a byte Envoy ends a stream: also one that waits in a filter.
    pub stream_idle_timeout_s: u32,
    /// Envoy answers 200 itself instead of routing: the cheapest base to measure a filter on.
    pub direct_response: bool,
    /// Routes that match nothing in front of the one that does: what a route lookup costs in a larger table.
    pub other_routes: usize,
    /// Endpoints that are `warm` come first: the route asks for that subset of its cluster.
    pub warm_first: bool,
}

impl Listener {
    /// A listener that routes to [`UPSTREAM_CLUSTER`] through these filters.
    pub fn new(name: &str, filters: Vec<Value>) -> Self {
        Self {
            name: name.to_owned(),
            filters,
            cluster: UPSTREAM_CLUSTER.to_owned(),
            route_filter_configs: BTreeMap::new(),
            request_headers_max_kib: 60,
            stream_idle_timeout_s: 30,
            direct_response: false,
            other_routes: 0,
            warm_first: false,
        }
    }

    /// Routes to another cluster.
    #[must_use]
    pub fn cluster(mut self, cluster: &str) -> Self {
        cluster.clone_into(&mut self.cluster);
        self
    }

    /// Configures a filter on the route (`typed_per_filter_config`); `config` carries its own `@type`.
    #[must_use]
    pub fn route_filter_config(mut self, filter: &str, config: Value) -> Self {
        self.route_filter_configs.insert(filter.to_owned(), config);
        self
    }

    /// Takes larger request headers than Envoy's default of 60 KiB.
    #[must_use]
    pub fn request_headers_max_kib(mut self, kib: u32) -> Self {
        self.request_headers_max_kib = kib;
        self
    }

    /// Ends streams that are idle for so many seconds.
    #[must_use]
    pub fn stream_idle_timeout_s(mut self, seconds: u32) -> Self {
        self.stream_idle_timeout_s = seconds;
        self
    }

    /// Answers 200 without any upstream.
    #[must_use]
    pub fn direct_response(mut self) -> Self {
        self.direct_response = true;
        self
    }

    /// Puts routes that match nothing in front.
    #[must_use]
    pub fn other_routes(mut self, routes: usize) -> Self {
        self.other_routes = routes;
        self
    }

    /// Routes to warm endpoints first.
    #[must_use]
    pub fn warm_first(mut self) -> Self {
        self.warm_first = true;
        self
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut filters = self.filters.clone();
        filters.push(json!({
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }));
        let mut route = json!({
            "match": { "prefix": "/" },
            "typed_per_filter_config": self.route_filter_configs,
        });
        if self.direct_response {
            route["direct_response"] = json!({ "status": 200 });
        } else {
            route["route"] = json!({ "cluster": self.cluster });
            if self.warm_first {
                route["route"]["metadata_match"] = json!({ "filter_metadata": { "envoy.lb": { "warm": true } } });
            }
        }
        let other = |number| json!({ "match": { "prefix": format!("/other/{number}/") }, "redirect": {} });
        let routes: Vec<Value> = (0..self.other_routes).map(other).chain([route]).collect();
        let connection_manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3\
                      .HttpConnectionManager",
            "stat_prefix": self.name,
            "stream_idle_timeout": format!("{}s", self.stream_idle_timeout_s),
            "common_http_protocol_options": { "max_stream_duration": "60s" },
            "max_request_headers_kb": self.request_headers_max_kib,
            // A random id per request would be the same work in every listener and blur the comparison.
            "generate_request_id": false,
            "route_config": {
                "name": self.name,
                "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }],
            },
            "http_filters": filters,
        });
        json!({
            "name": self.name,
            "address": loopback_port(0),
            "filter_chains": [{
                "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": connection_manager,
                }],
            }],
        })
    }
}

fn loopback_port(port: u16) -> Value {
    socket_address(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
