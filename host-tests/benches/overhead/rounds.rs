//! The variants' Envoys, warmed up and run in rounds by [`forebay_host_tests::contest`].

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::client::Request;
use forebay_host_tests::contest::{self, Contestant, LISTENER, Plan, Round};
use forebay_host_tests::filters::TENANT_HEADER;
use forebay_host_tests::upstream::Upstream;

use crate::variants::{Policy, Variant, raw_module};

/// Threads of client and upstream together.
pub(crate) const CLIENT_THREADS: usize = 2;
/// Worker threads of each Envoy.
pub(crate) const WORKERS: u32 = 1;
/// Requests through each Envoy before the first round.
const WARM_UP_REQUESTS: usize = 10_000;

/// Starts everything, warms it up and runs the rounds; their figures are in the order of [`Variant::ALL`].
pub(crate) async fn play(artefacts: &Artefacts, policy: &Policy, plan: Plan) -> Result<Vec<Round>> {
    let folder = tempfile::Builder::new().prefix("forebay-overhead-").tempdir().context("no folder for the bench")?;
    let module = raw_module(folder.path())?;
    let upstream = Upstream::start().await?;
    let requests: Arc<[Request]> =
        policy.tenants.iter().map(|tenant| Request::get("/").header(TENANT_HEADER, tenant)).collect();
    let mut contestants = Vec::new();
    for variant in Variant::ALL {
        let listener = Listener::new(LISTENER, variant.filters(artefacts, policy, &module));
        let bootstrap = Bootstrap::new("overhead").workers(WORKERS).upstream(&[upstream.address()]).listener(listener);
        let requests = Arc::clone(&requests);
        contestants.push(Contestant::start(variant.name(), artefacts, &bootstrap, requests, WARM_UP_REQUESTS).await?);
    }
    let rounds = contest::play(&mut contestants, plan).await?;
    check_lanes(&upstream, plan)?;
    Ok(rounds)
}

/// Exactly Forebay's requests carry a lane, and it is the standard one.
fn check_lanes(upstream: &Upstream, plan: Plan) -> Result<()> {
    let each = (WARM_UP_REQUESTS + plan.rounds * plan.requests) as u64;
    let (mut standard, mut without, mut reserved) = (0, 0, 0);
    for ((_, lane), count) in upstream.counts() {
        match lane.as_str() {
            "standard" => standard += count,
            "" => without += count,
            _ => reserved += count,
        }
    }
    let others = (Variant::ALL.len() - 1) as u64;
    if (standard, without, reserved) != (each, others * each, 0) {
        bail!("{each} requests each, but {standard} standard, {reserved} reserved and {without} without lane");
    }
    Ok(())
}
