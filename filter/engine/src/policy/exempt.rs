//! Requests that are not limited at all: by their path, or as probes and preflights that name no tenant.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use forebay_protocol::policy as document;
use forebay_protocol::policy::path::parse;

use super::Work;
use super::facts::{Facts, Origins, Slot};
use super::paths::Paths;
use crate::host::Host;

/// User agents of health checks that are exempt when they name no tenant.
const PROBES: [&str; 4] = ["kube-probe/", "GoogleHC/", "ELB-HealthChecker/", "Envoy/HC"];

#[derive(Clone, Debug, Default)]
pub(super) struct Exempt {
    paths: Option<Paths>,
    preflights: bool,
    agents: Vec<Box<str>>,
    path: Slot,
    method: Slot,
    preflight: Slot,
    agent: Slot,
}

impl Exempt {
    pub(super) fn compile(document: &document::Exempt, origins: &mut Origins) -> Result<Self, &'static str> {
        let mut paths = Paths::default();
        for template in &document.paths {
            paths.insert(Some(&parse(template)?), 0);
        }
        let probes = PROBES.iter().filter(|_| document.probes).copied();
        Ok(Self {
            paths: (!document.paths.is_empty()).then_some(paths),
            preflights: document.preflights,
            agents: probes.chain(document.user_agents.iter().map(String::as_str)).map(Into::into).collect(),
            path: origins.header(":path"),
            method: origins.header(":method"),
            preflight: origins.header("access-control-request-method"),
            agent: origins.header("user-agent"),
        })
    }

    /// Whether the request's path is exempt whoever sends it.
    pub(super) fn is_path<H: Host>(&self, facts: &mut Facts<'_, H>) -> bool {
        let Some(paths) = &self.paths else { return false };
        let path = facts.known(self.path).unwrap_or_default();
        paths.find(path, &mut Work::default(), &mut |_| true).is_some()
    }

    /// A probe or a preflight. One that names a tenant is never looked at: neither carries one.
    pub(super) fn is_probe_or_preflight<H: Host>(&self, facts: &mut Facts<'_, H>) -> bool {
        let preflight =
            self.preflights && facts.known(self.method) == Some(b"OPTIONS") && facts.known(self.preflight).is_some();
        preflight
            || !self.agents.is_empty()
                && facts
                    .known(self.agent)
                    .is_some_and(|it| self.agents.iter().any(|one| it.starts_with(one.as_bytes())))
    }
}
