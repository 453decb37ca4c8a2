//! The messages of xDS v3 that are spoken here, by hand: the fields that are used, under the published numbers.
//!
//! Protobuf passes over fields that a side does not know, so a part of a message is a message. Generated code of the whole
//! API would be some hundred thousand lines for these ninety. Maps are sorted, so that the same content is the same bytes.
//! Source: `envoy/service/discovery/v3/discovery.proto`, `envoy/config/endpoint/v3/endpoint.proto` and
//! `endpoint_components.proto`, `envoy/config/core/v3/{address,base,health_check}.proto`, `google/rpc/status.proto`.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};
use prost_types::value::Kind;
use prost_types::{Any, Struct, Value};

use crate::capacity::endpoints::{self, Assignment, Health, LB_METADATA};

/// `envoy.config.core.v3.Node`: who asks.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

/// `google.rpc.Status`: why something was refused.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ErrorDetail {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// State of the world: names all that is wanted, and says what became of the last response.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DiscoveryRequest {
    #[prost(string, tag = "1")]
    pub(super) version_info: String,
    #[prost(message, optional, tag = "2")]
    pub(super) node: Option<Node>,
    #[prost(string, repeated, tag = "3")]
    pub(super) resource_names: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) response_nonce: String,
    #[prost(message, optional, tag = "6")]
    pub(super) error_detail: Option<ErrorDetail>,
}

/// State of the world: resources that are new.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(super) version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) resources: Vec<Any>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
}

/// Incremental: changes what is wanted, or says what became of a response.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DeltaDiscoveryRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(string, tag = "2")]
    pub(super) type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) resource_names_subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) resource_names_unsubscribe: Vec<String>,
    /// What the client has from a stream before this one.
    #[prost(btree_map = "string, string", tag = "5")]
    pub(super) initial_resource_versions: BTreeMap<String, String>,
    #[prost(string, tag = "6")]
    pub(super) response_nonce: String,
    #[prost(message, optional, tag = "7")]
    pub(super) error_detail: Option<ErrorDetail>,
}

/// Incremental: resources that are new or gone.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DeltaDiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(super) system_version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) resources: Vec<NamedResource>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
    #[prost(string, repeated, tag = "6")]
    pub(super) removed_resources: Vec<String>,
}

/// `envoy.service.discovery.v3.Resource`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NamedResource {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(message, optional, tag = "2")]
    pub(super) resource: Option<Any>,
    #[prost(string, tag = "3")]
    pub(super) name: String,
}

/// A service's endpoints.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ClusterLoadAssignment {
    #[prost(string, tag = "1")]
    pub(super) cluster_name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) endpoints: Vec<LocalityLbEndpoints>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LocalityLbEndpoints {
    #[prost(message, optional, tag = "1")]
    pub(super) locality: Option<Locality>,
    #[prost(message, repeated, tag = "2")]
    pub(super) lb_endpoints: Vec<LbEndpoint>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Locality {
    #[prost(string, tag = "1")]
    pub(super) region: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LbEndpoint {
    #[prost(message, optional, tag = "1")]
    pub(super) endpoint: Option<Endpoint>,
    #[prost(enumeration = "HealthStatus", tag = "2")]
    pub(super) health_status: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) metadata: Option<Metadata>,
    /// A `google.protobuf.UInt32Value`.
    #[prost(message, optional, tag = "4")]
    pub(super) load_balancing_weight: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum HealthStatus {
    Unknown = 0,
    Healthy = 1,
    Draining = 3,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) filter_metadata: BTreeMap<String, Struct>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Endpoint {
    #[prost(message, optional, tag = "1")]
    pub(super) address: Option<Address>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Address {
    #[prost(message, optional, tag = "1")]
    pub(super) socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SocketAddress {
    #[prost(string, tag = "2")]
    pub(super) address: String,
    #[prost(oneof = "Port", tags = "3")]
    pub(super) port: Option<Port>,
}

/// A `oneof`, so that its presence is on the wire whatever the number.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Port {
    #[prost(uint32, tag = "3")]
    Value(u32),
}

impl From<&Assignment> for ClusterLoadAssignment {
    fn from(assignment: &Assignment) -> Self {
        let endpoints = assignment.regions.iter().map(|(region, endpoints)| LocalityLbEndpoints {
            locality: Some(Locality { region: region.clone() }),
            lb_endpoints: endpoints.iter().map(LbEndpoint::from).collect(),
        });
        Self { cluster_name: assignment.service.clone(), endpoints: endpoints.collect() }
    }
}

impl From<&endpoints::Endpoint> for LbEndpoint {
    fn from(one: &endpoints::Endpoint) -> Self {
        let text = |text: &str| Kind::StringValue(text.to_owned());
        let fields = [
            ("warm", Kind::BoolValue(one.is_warm)),
            ("tier", text(&one.tier)),
            ("shape", text(&one.shape)),
            ("pool", text(&one.pool)),
        ];
        let fields = fields.into_iter().map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) })).collect();
        let port = Some(Port::Value(u32::from(one.address.port())));
        let socket_address = SocketAddress { address: one.address.ip().to_string(), port };
        let health = match one.health {
            Health::Healthy => HealthStatus::Healthy,
            Health::Draining => HealthStatus::Draining,
        };
        Self {
            endpoint: Some(Endpoint { address: Some(Address { socket_address: Some(socket_address) }) }),
            health_status: health.into(),
            metadata: Some(Metadata { filter_metadata: [(LB_METADATA.to_owned(), Struct { fields })].into() }),
            load_balancing_weight: Some(one.weight),
        }
    }
}
