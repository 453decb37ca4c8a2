//! A controller that keeps real processes, for the tests of capacity: three instances of one service, whatever the demand.
//!
//! Nothing is sent here, so what is wanted follows from the contract alone: 48 a second, all of it guaranteed, at
//! instances that do 16. Instances end with the rig.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use forebay_host_tests::client::{Answer, Request, send_once};
use forebay_host_tests::controller::Controller;
use forebay_host_tests::instance::{HEALTH, Instances};
use forebay_host_tests::poll;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Instances that the contract needs.
pub(crate) const WANTED: usize = 3;
/// Instances that the pool has.
pub(crate) const MOST: u32 = 8;
/// Room for a busy machine; an instance takes half a second.
const DEADLINE: Duration = Duration::from_secs(30);

/// The controller and what it has started.
pub(crate) struct CapacityRig {
    pub(crate) controller: Controller,
    pub(crate) instances: Instances,
    folder: TempDir,
}

impl CapacityRig {
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("forebay-capacity-").tempdir()?;
        let arguments = [
            "--port",
            "{port}",
            "--id",
            "{id}",
            "--starts-after-ms",
            "300",
            "--service-ms",
            "5",
            "--cold-requests",
            "2",
        ];
        let run = json!({
            "service": "shop",
            "program": env!("CARGO_BIN_EXE_demo-instance"),
            "arguments": arguments,
            "health": { "http": HEALTH },
            "warming": { "paths": ["/"], "rounds": 2 },
            "drain": { "serve_s": 0.1, "end_within_s": 5 },
        });
        let config = json!({
            "contracts": [{ "tenant": "shop", "resource": "requests", "rate_per_s": 48, "pool": "shop" }],
            "capacity": {
                "decide_every_s": 0.1,
                "endpoints": folder.path().join("endpoints"),
                "manager": { "process": { "folder": folder.path().join("instances"), "run": [run] } },
                "shapes": [{ "name": "Small", "offers": { "cpu": 1 }, "price_per_h": 1 }],
                "pools": [{ "name": "local", "location": "here", "max_instances": MOST, "lead_s": 1 }],
                "services": [{
                    "name": "shop", "need_per_unit": { "cpu": 0.0625 }, "shortage_per_unit_h": 5, "min_dwell_s": 1, "drain_s": 1,
                }],
            },
        });
        let instances = Instances::of(&folder.path().join("instances"));
        let controller = Controller::start(config).await?;
        Ok(Self { controller, instances, folder })
    }

    pub(crate) async fn send(&self, request: &Request) -> Result<(Answer, Value)> {
        let answer = send_once(self.controller.address(), request).await?;
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok((answer, body))
    }

    /// Ids of the instances in this state, as the controller says.
    pub(crate) async fn ids(&self, state: &str) -> Result<BTreeSet<String>> {
        let (_, capacity) = self.send(&Request::get("/v1/capacity")).await?;
        let instances = capacity["instances"].as_array().cloned().unwrap_or_default();
        let of_state = instances.iter().filter(|one| one["state"] == state);
        Ok(of_state.filter_map(|one| one["id"].as_str().map(str::to_owned)).collect())
    }

    /// Waits until so many are ready, none of them among `but`, and the endpoints say the same; their ids.
    pub(crate) async fn ready(&self, count: usize, but: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let what = format!("{count} new instances that are ready");
        poll::until(&what, DEADLINE, async || {
            let ready = self.ids("ready").await?;
            let is_so = ready.len() == count && ready.is_disjoint(but) && self.warm_endpoints().len() == count;
            Ok(is_so.then_some(ready))
        })
        .await
        .with_context(|| self.controller.log())
    }

    /// Waits until an allocation is there.
    pub(crate) async fn allocated(&self, path: &str) -> Result<()> {
        let is_there = async || Ok((self.send(&Request::get(path)).await?.1["state"] == "allocated").then_some(()));
        poll::until("allocation", DEADLINE, is_there).await.with_context(|| self.controller.log())
    }

    /// Ports of the warm endpoints, as they stand in the file.
    pub(crate) fn warm_endpoints(&self) -> BTreeSet<u64> {
        let file = self.folder.path().join("endpoints/shop.json");
        let text = std::fs::read(file).unwrap_or_default();
        let response: Value = serde_json::from_slice(&text).unwrap_or_default();
        let localities = response["resources"][0]["endpoints"].as_array().cloned().unwrap_or_default();
        let endpoints = localities.iter().flat_map(|one| one["lb_endpoints"].as_array().cloned().unwrap_or_default());
        let warm = endpoints.filter(|one| one["metadata"]["filter_metadata"]["envoy.lb"]["warm"] == true);
        warm.filter_map(|one| one["endpoint"]["address"]["socket_address"]["port_value"].as_u64()).collect()
    }

    /// Every process of this rig's instances that there is, by the mark in its environment: seen from outside.
    pub(crate) fn processes(&self) -> BTreeMap<u32, String> {
        let folder = self.folder.path().join("instances");
        let mark = format!("FOREBAY_INSTANCE={}:", folder.display());
        let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        pids.filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            let marked = environment.split(|byte| *byte == 0).find(|one| one.starts_with(mark.as_bytes()))?;
            Some((pid, String::from_utf8_lossy(&marked[mark.len()..]).into_owned()))
        })
        .collect()
    }
}
