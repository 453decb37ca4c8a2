//! Where proxies ask for endpoints over gRPC: `capacity.xds`.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::file::{Problem, problem};

/// Where proxies ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XdsSettings {
    /// Port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Where to write the bound address once listening.
    pub(crate) port_file: Option<PathBuf>,
}

/// Where proxies may ask for endpoints over gRPC (xDS v3).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct XdsPart {
    /// Address and port that gRPC is served on. Port 0 takes a free one.
    listen: String,
    /// File that the bound address is written to once it listens. Without it none is written.
    port_file: Option<PathBuf>,
}

impl XdsPart {
    pub(super) fn check(self) -> Result<XdsSettings, Problem> {
        let listen = self.listen.parse().map_err(|_| {
            let reason = format!("{:?} is no address with a port", self.listen);
            problem("capacity.xds.listen", reason, "write it like 127.0.0.1:18000; port 0 takes a free one")
        })?;
        Ok(XdsSettings { listen, port_file: self.port_file })
    }
}
