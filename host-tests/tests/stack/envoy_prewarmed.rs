//! `envoy/standalone/prewarmed.yaml` on the real Envoy: who gets requests, whatever the file of endpoints says.
//!
//! The configuration is the shipped one with this machine's places in it. The file is written here as the controller
//! writes it (`daemon/src/capacity/endpoints.rs`); that the controller's own is taken is what the demo shows.

use std::cell::Cell;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Cluster};
use forebay_host_tests::client::{Connection, Request};
use forebay_host_tests::envoy::{Envoy, validate};
use forebay_host_tests::poll;
use forebay_host_tests::upstream::Upstream;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::envoy_hosts::document;
use crate::envoy_rig::{DEADLINE, load, of, when};

const GATEWAY: &str = "gateway";

/// What an endpoint is, as the file says.
#[derive(Clone, Copy)]
struct Is {
    warm: bool,
    health: &'static str,
    weight: u32,
    tier: &'static str,
}

const WARM: Is = Is { warm: true, health: "HEALTHY", weight: 100, tier: "standard" };
const WARMING: Is = Is { warm: false, ..WARM };
const DRAINING: Is = Is { health: "DRAINING", ..WARMING };

/// Envoy and three instances.
struct Prewarmed {
    envoy: Envoy,
    upstreams: [Upstream; 3],
    folder: TempDir,
    version: Cell<u32>,
}

impl Prewarmed {
    /// With the shipped configuration, changed by `change`, and these endpoints of the three.
    async fn start(change: impl FnOnce(&mut Value), endpoints: &[(usize, Is)]) -> Result<Self> {
        let artefacts = Artefacts::find()?;
        let folder = tempfile::Builder::new().prefix("forebay-endpoints-").tempdir()?;
        let upstreams = [Upstream::start().await?, Upstream::start().await?, Upstream::start().await?];
        write(&folder, &response(&upstreams, endpoints, 1))?;
        let mut config = at_home(&artefacts, &folder)?;
        change(&mut config);
        let envoy = Envoy::start_configured(&artefacts, &config, &[GATEWAY]).await?;
        Ok(Self { envoy, upstreams, folder, version: Cell::new(1) })
    }

    /// Replaces the endpoints and waits until Envoy has taken them.
    async fn replace(&self, endpoints: &[(usize, Is)]) -> Result<()> {
        let before = self.envoy.stat("cluster.service.update_success").await?;
        self.version.set(self.version.get() + 1);
        write(&self.folder, &response(&self.upstreams, endpoints, self.version.get()))?;
        let is_taken = async || Ok((self.envoy.stat("cluster.service.update_success").await? > before).then_some(()));
        poll::until("update of the endpoints", DEADLINE, is_taken).await.with_context(|| self.envoy.log())
    }

    /// Sends requests until one goes where it should, since workers learn of new endpoints a moment after the main thread,
    /// and then `count` more; how many each of the three got of these.
    async fn shares(&self, request: &Request, count: u32, is_meant: [bool; 3]) -> Result<[u64; 3]> {
        let mut connection = Connection::open(self.envoy.address(GATEWAY)?).await?;
        let seen = || self.upstreams.each_ref().map(Upstream::total);
        poll::until("request at the right endpoint", DEADLINE, async || {
            let before = seen();
            connection.send(request).await?;
            let is_so = (0..3).any(|one| is_meant[one] && seen()[one] > before[one]);
            Ok(is_so.then_some(()))
        })
        .await?;
        let before = seen();
        for _ in 0..count {
            let answer = connection.send(request).await?;
            ensure!(answer.status == 200, "{}", answer.status);
        }
        let after = seen();
        Ok([0, 1, 2].map(|one| after[one] - before[one]))
    }
}

/// The shipped configuration with the places of this machine, and any free port.
fn at_home(artefacts: &Artefacts, folder: &TempDir) -> Result<Value> {
    let config = document("envoy/standalone/prewarmed.yaml")?;
    let module = artefacts.forebay_filter.to_str().context("a path in UTF-8")?;
    let text = config.to_string();
    let text = text.replace("/etc/forebay/forebay_filter.wasm", module);
    let text = text.replace("/var/lib/forebay/endpoints", folder.path().to_str().context("a path in UTF-8")?);
    let mut config: Value = serde_json::from_str(&text)?;
    let free = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
    config["admin"]["address"] = free.clone();
    config["static_resources"]["listeners"][0]["address"] = free;
    // Nobody is there: the filter goes on with its own contracts.
    config["static_resources"]["clusters"][1]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
        ["socket_address"]["port_value"] = json!(1);
    Ok(config)
}

/// Leaves the router only: these tests are about endpoints, and without the filter a test can say what the lane is.
fn without_filter(config: &mut Value) {
    let filters = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
    if let Some(Value::Array(filters)) = config.pointer_mut(filters) {
        filters.retain(|filter| filter["name"] == "envoy.filters.http.router");
    }
}

fn response(upstreams: &[Upstream; 3], endpoints: &[(usize, Is)], version: u32) -> String {
    let endpoint = |(one, is): &(usize, Is)| {
        let address: SocketAddr = upstreams[*one].address();
        json!({
            "endpoint": { "address": { "socket_address": {
                "address": address.ip().to_string(), "port_value": address.port(),
            } } },
            "health_status": is.health,
            "load_balancing_weight": is.weight,
            "metadata": { "filter_metadata": { "envoy.lb": {
                "warm": is.warm, "tier": is.tier, "shape": "Small", "pool": "local",
            } } },
        })
    };
    let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
    json!({ "version_info": version.to_string(), "resources": [{
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "service",
        "endpoints": [{ "locality": { "region": "here" }, "lb_endpoints": endpoints }],
    }] })
    .to_string()
}

fn write(folder: &TempDir, text: &str) -> Result<()> {
    let file = folder.path().join("service.json");
    std::fs::write(file.with_extension("new"), text)?;
    Ok(std::fs::rename(file.with_extension("new"), file)?)
}

#[tokio::test]
async fn warm_endpoints_get_the_requests_others_only_when_there_is_none() -> Result<()> {
    let rig = Prewarmed::start(without_filter, &[(0, WARM), (1, WARMING), (2, DRAINING)]).await?;
    let request = Request::get("/");
    assert_eq!(rig.shares(&request, 40, [true, false, false]).await?, [40, 0, 0]);
    rig.replace(&[(0, DRAINING), (1, WARMING), (2, DRAINING)]).await?;
    assert_eq!(rig.shares(&request, 40, [false, true, false]).await?, [0, 40, 0], "the one that answers");
    rig.replace(&[(0, DRAINING), (1, WARM), (2, WARM)]).await?;
    let [draining, one, other] = rig.shares(&request, 80, [false, true, true]).await?;
    assert!(draining == 0 && one > 0 && other > 0, "{draining} {one} {other}");
    rig.replace(&[(0, DRAINING)]).await?;
    let mut connection = Connection::open(rig.envoy.address(GATEWAY)?).await?;
    let refused = async || Ok((connection.send(&request).await?.status == 503).then_some(()));
    poll::until("503 where all drain", DEADLINE, refused).await?;
    Ok(())
}

#[tokio::test]
async fn weights_say_how_much_each_gets() -> Result<()> {
    let rig = Prewarmed::start(without_filter, &[(0, WARM), (1, Is { weight: 25, ..WARM })]).await?;
    let [large, small, _] = rig.shares(&Request::get("/"), 200, [true, true, false]).await?;
    assert!((140..=180).contains(&large), "four fifths of 200: {large} and {small}");
    Ok(())
}

#[tokio::test]
async fn the_reserved_lane_prefers_a_tier_and_falls_back() -> Result<()> {
    let spot = Is { tier: "spot", ..WARM };
    let rig = Prewarmed::start(without_filter, &[(0, WARM), (1, spot), (2, WARMING)]).await?;
    let reserved = Request::get("/").header("x-forebay-lane", "reserved");
    assert_eq!(rig.shares(&reserved, 40, [true, false, false]).await?, [40, 0, 0]);
    let [standard, spot_share, warming] = rig.shares(&Request::get("/"), 80, [true, true, false]).await?;
    assert!(standard > 0 && spot_share > 0 && warming == 0, "{standard} {spot_share} {warming}");
    rig.replace(&[(1, spot), (2, WARMING)]).await?;
    assert_eq!(rig.shares(&reserved, 40, [false, true, false]).await?, [0, 40, 0], "a warm one of another tier");
    rig.replace(&[(2, WARMING)]).await?;
    assert_eq!(rig.shares(&reserved, 40, [false, false, true]).await?, [0, 0, 40], "whatever answers");
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_replaced_drops_no_request_and_a_broken_one_changes_nothing() -> Result<()> {
    let rig = Prewarmed::start(without_filter, &[(0, WARM), (1, WARM)]).await?;
    let is_over = Cell::new(false);
    let mut connections =
        [Connection::open(rig.envoy.address(GATEWAY)?).await?, Connection::open(rig.envoy.address(GATEWAY)?).await?];
    let [one, other] = &mut connections;
    let request = Request::get("/");
    let replacing = async {
        for round in 0..15 {
            let (here, there) = (round % 3, (round + 1) % 3);
            rig.replace(&[(here, WARM), (there, WARM), ((round + 2) % 3, DRAINING)]).await?;
        }
        is_over.set(true);
        Ok::<_, anyhow::Error>(())
    };
    let (replaced, one, other) =
        tokio::join!(replacing, load(one, &request, when(&is_over)), load(other, &request, when(&is_over)));
    replaced?;
    for load in [one?, other?] {
        let total = load.total();
        ensure!(load.count("503") + load.count("502") + load.count("504") == 0 && total > 15, "{load:?}");
    }

    let refused = async || -> Result<u64> {
        let stats = rig.envoy.stats().await?;
        let names = ["cluster.service.update_failure", "cluster.service.update_rejected"];
        Ok(names.iter().filter_map(|name| stats.get(*name)).sum())
    };
    let before = rig.shares(&request, 30, [true, true, true]).await?;
    for broken in ["{ not even", r#"{"resources": [{"@type": "type.googleapis.com/unknown"}]}"#, ""] {
        let so_far = refused().await?;
        write(&rig.folder, broken)?;
        let is_refused = async || Ok((refused().await? > so_far).then_some(()));
        poll::until("refusal of a broken file", DEADLINE, is_refused).await.context(broken)?;
        let now = rig.shares(&request, 30, [true, true, true]).await?;
        assert_eq!(now.map(|count| count > 0), before.map(|count| count > 0), "{broken:?}");
    }
    rig.replace(&[(2, WARM)]).await?;
    assert_eq!(rig.shares(&request, 30, [false, false, true]).await?, [0, 0, 30]);
    Ok(())
}

#[tokio::test]
async fn the_whole_configuration_serves_and_its_lane_is_the_filters() -> Result<()> {
    let rig = Prewarmed::start(|_| (), &[(0, WARM), (1, Is { tier: "spot", ..WARM })]).await?;
    let artefacts = Artefacts::find()?;
    validate(&artefacts, &at_home(&artefacts, &rig.folder)?.to_string())?;
    // Without a forecast nothing is reserved, whatever a client says: its requests go to both tiers.
    let claims = of("acme").header("x-forebay-lane", "reserved");
    let [standard, spot, _] = rig.shares(&claims, 60, [true, true, false]).await?;
    assert!(standard > 0 && spot > 0, "{standard} {spot}");
    Ok(())
}

/// The demo and the tests build their cluster themselves; it is to be the shipped one in all that chooses endpoints.
#[test]
fn the_stacks_cluster_is_the_shipped_one() -> Result<()> {
    let shipped = &document("envoy/standalone/prewarmed.yaml")?["static_resources"]["clusters"][0];
    let bootstrap = Bootstrap::new("demo").cluster(Cluster::prewarmed("service", "/endpoints/service.json".as_ref()));
    let own = &bootstrap.to_json("")["static_resources"]["clusters"][0];
    for field in ["type", "lb_policy", "lb_subset_config", "common_lb_config"] {
        assert_eq!(own[field], shipped[field], "{field}");
    }
    Ok(())
}
