//! The plugin configuration as it is written: the bootstrap and a policy, as JSON.
//!
//! Read here and not in the engine, so that the readers of all these types are compiled in this crate, for size: they
//! run once per VM, and inlined for speed they alone would double the module.

use alloc::string::{String, ToString};

use serde::Deserialize;

use crate::policy::{Code, Finding, Policy};

/// A plugin configuration, not yet checked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// This proxy's name; `None` takes the host's.
    pub proxy_id: Option<String>,
    /// Where the controller is; `None` runs on the policy alone.
    pub controller: Option<Controller>,
    /// `false` counts and tags, but refuses nothing.
    #[serde(default = "default_enforce")]
    pub enforce: bool,
    /// What this proxy is on a request's way; `None` takes the listener's direction.
    pub role: Option<Role>,
    /// What proxies of one chain know each other's charges by.
    pub charged_token: Option<String>,
    /// Who is charged for what.
    pub policy: Policy,
}

/// The way to the controller.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controller {
    /// Envoy cluster.
    pub cluster: String,
    /// `:authority` of the calls.
    #[serde(default = "default_authority")]
    pub authority: String,
    /// Milliseconds between two reports.
    #[serde(default = "default_report_interval_ms")]
    pub report_interval_ms: u32,
}

/// What a proxy is on a request's way, in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Where traffic comes into the mesh.
    Gateway,
    /// The caller's sidecar.
    Outbound,
    /// The callee's sidecar.
    Inbound,
}

impl Bootstrap {
    /// Reads a plugin configuration.
    ///
    /// # Errors
    /// The first thing that is not the expected JSON, by its path, or by line and column.
    pub fn read(json: &[u8]) -> Result<Self, Finding> {
        crate::json::read(json).map_err(|error| Finding {
            code: Code::SHAPE,
            path: match error.path() {
                "" => "configuration".to_string(),
                path => path.to_string(),
            },
            reason: error.to_string(),
            remedy: "see envoy/standalone/envoy.yaml for a complete example".to_string(),
        })
    }
}

fn default_authority() -> String {
    "forebay".to_string()
}
fn default_report_interval_ms() -> u32 {
    1_000
}
fn default_enforce() -> bool {
    true
}
