//! Who a request is charged to.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Where a tenant's name may be read. A rule has a list of them; the first that gives a name counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The first value of a request header. Whoever can set it can be anybody: let a filter before this one overwrite it.
    Header(String),
    /// A claim of a token that Envoy's `jwt_authn` filter verified.
    JwtClaim(JwtClaim),
    /// The peer's SPIFFE id: the first URI SAN of its verified certificate, when that begins with `spiffe://`.
    SpiffeId,
    /// A name out of the peer's verified certificate.
    Certificate(Certificate),
    /// An API key. The tenant is named `key:` and the first 32 hexadecimal digits of the key's SHA-256 (`printf %s KEY |
    /// sha256sum | cut -c1-32`), so that neither policy nor logs hold keys.
    ApiKey(ApiKey),
    /// A `{name}` of the rule's path.
    PathParameter(String),
    /// The address that Envoy trusts as the client's, without port.
    SourceAddress,
}

/// A claim in the metadata of `envoy.filters.http.jwt_authn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JwtClaim {
    /// `payload_in_metadata` of the provider.
    pub payload: String,
    /// The claim's name, whatever characters it holds.
    pub claim: String,
    /// The claims that enclose it, the outermost first.
    #[serde(default)]
    pub within: Vec<String>,
}

/// A field of the peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Certificate {
    /// The first URI SAN.
    UriSan,
    /// The first DNS SAN.
    DnsSan,
    /// The subject.
    Subject,
}

/// Where an API key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The header with the key.
    pub header: String,
}

/// What becomes of a request that names no tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unidentified {
    /// Charged to the limit of those without contract.
    #[default]
    Others,
    /// Refused.
    Refuse,
    /// Passes, uncounted.
    Admit,
}
