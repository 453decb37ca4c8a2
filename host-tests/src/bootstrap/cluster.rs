//! Where an Envoy sends to: fixed endpoints on loopback, or those that the controller writes to a file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::socket_address;

/// A cluster of loopback endpoints that speak HTTP/1.1, unless it says otherwise.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its endpoints, used in turn.
    pub endpoints: Vec<SocketAddr>,
    /// They speak HTTP/2, as gRPC servers do.
    pub http2: bool,
    /// Instead of fixed endpoints: those that the controller writes to this file, as `envoy/standalone/prewarmed.yaml` has
    /// them. The file must be there when Envoy starts.
    pub endpoints_file: Option<PathBuf>,
}

impl Cluster {
    /// A cluster.
    pub fn new(name: &str, endpoints: &[SocketAddr]) -> Self {
        Self { name: name.to_owned(), endpoints: endpoints.to_vec(), http2: false, endpoints_file: None }
    }

    /// A cluster whose endpoints are read from a file whenever it is replaced, warm ones first.
    pub fn prewarmed(name: &str, endpoints_file: &Path) -> Self {
        Self { endpoints_file: Some(endpoints_file.to_path_buf()), ..Self::new(name, &[]) }
    }

    /// Speaks HTTP/2 to the endpoints.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    pub(super) fn to_json(&self) -> Value {
        let endpoints: Vec<Value> = self
            .endpoints
            .iter()
            .map(|endpoint| json!({ "endpoint": { "address": socket_address(*endpoint) } }))
            .collect();
        // Loads here are far above what a service mesh gives one sidecar; the default of 1024 waiting requests would
        // turn a slow moment of the test machine into a 503.
        let threshold = json!({
            "max_connections": 65_536, "max_pending_requests": 65_536, "max_requests": 65_536,
        });
        let mut cluster = json!({
            "name": self.name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "circuit_breakers": { "thresholds": [threshold] },
            "load_assignment": { "cluster_name": self.name, "endpoints": [{ "lb_endpoints": endpoints }] },
        });
        if let Some(file) = &self.endpoints_file {
            read_from(&mut cluster, &self.name, file);
        }
        if self.http2 {
            let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
            cluster["typed_extension_protocol_options"][options] = json!({
                "@type": format!("type.googleapis.com/{options}"),
                "explicit_http_config": { "http2_protocol_options": {} },
            });
        }
        cluster
    }
}

/// Makes a cluster one whose endpoints come from a file, as `envoy/standalone/prewarmed.yaml` has it.
fn read_from(cluster: &mut Value, name: &str, file: &Path) {
    if let Some(fields) = cluster.as_object_mut() {
        fields.remove("load_assignment");
    }
    cluster["type"] = json!("EDS");
    cluster["eds_cluster_config"] = json!({
        "service_name": name,
        "eds_config": { "resource_api_version": "V3", "path_config_source": { "path": file } },
    });
    cluster["lb_policy"] = json!("LEAST_REQUEST");
    cluster["least_request_lb_config"] = json!({ "slow_start_config": { "slow_start_window": "2s" } });
    cluster["lb_subset_config"] = json!({
        "fallback_policy": "ANY_ENDPOINT",
        "subset_selectors": [
            { "keys": ["warm"] },
            { "keys": ["warm", "tier"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["warm"] },
        ],
        "locality_weight_aware": false,
    });
    // Else endpoints that drain would be given requests as soon as they are most of the cluster.
    cluster["common_lb_config"] = json!({ "healthy_panic_threshold": { "value": 0 } });
}
