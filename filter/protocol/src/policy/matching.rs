//! Which requests a rule is about.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Conditions that must all hold; one that is left out always does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Any of these hosts: `shop.example.com`, or `*.example.com` for everything below it. Case and port do not count.
    pub hosts: Vec<String>,
    /// A path template such as `/v1/users/{user}/orders/*` or `/v1/**`: `*` and `{name}` are one segment, `**` stands at
    /// the end for any number of segments, none included. Query and fragment do not count, case does.
    pub path: Option<String>,
    /// Any of these methods.
    pub methods: Vec<String>,
    /// All of these headers.
    pub headers: Vec<HeaderMatch>,
    /// A gRPC service; instead of `path`.
    pub grpc: Option<Grpc>,
    /// Any of these networks, as CIDR: `10.0.0.0/8`, `2001:db8::/32`. The address is the one that Envoy trusts
    /// (`use_remote_address`, `xff_num_trusted_hops`).
    pub source: Vec<String>,
}

/// A condition on a header's first value. With neither `exact` nor `prefix` the header must only be there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HeaderMatch {
    /// The header.
    pub name: String,
    /// The whole value.
    pub exact: Option<String>,
    /// How the value begins.
    pub prefix: Option<String>,
    /// `false`: the header must not be there.
    pub present: Option<bool>,
}

/// A gRPC service or method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    /// The full name: `shop.v1.Orders`.
    pub service: String,
    /// One method; all of them when left out.
    pub method: Option<String>,
}
