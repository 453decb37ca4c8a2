//! `cargo xtask bench kubernetes`: what a look at a Kubernetes cluster costs the manager, and what it costs the API server.
//!
//! The manager runs alone on its thread, so that the thread's processor time is its own; the fake API server runs on another.
//! Requests and bytes are exact and the same on every machine; times are of this build, which is not optimised. Looks are
//! taken where nothing can be watched, so that each lists everything, uncompressed and compressed, then watched: at rest, and
//! while pods and nodes change between them as a cluster's do. What instances use is read with the first look of each, and
//! then every half a minute.

// The test suite's, of which a bench uses a part.
#[allow(dead_code, unused_imports)]
#[path = "../../tests/suite/kubernetes"]
mod kubernetes {
    pub(crate) mod api;
    pub(crate) mod rights;
}
#[allow(dead_code)]
#[path = "../../tests/suite/subject.rs"]
mod subject;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use forebay_provision::InstanceManager;
use forebay_provision::kubernetes::Kubernetes;
use serde_json::{Value, json};

use self::kubernetes::api::Api;
use self::world::World;

/// What a look at a cluster costs: requests, bytes, processor time.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench kubernetes")]
struct Args {
    /// Pods of groups
    #[arg(long, value_name = "COUNT", default_value_t = 5_000)]
    pods: usize,
    /// Nodes
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    nodes: usize,
    /// Looks of each kind
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    looks: usize,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// Pods that change between two looks, of a thousand, and nodes.
const PODS_CHANGE_PER_MILLE: usize = 10;
const NODES_CHANGE_PER_MILLE: usize = 30;
/// Time between two looks in which what changed is told.
const BETWEEN: Duration = Duration::from_millis(200);

/// Of one kind of looks, each on average.
struct Cost {
    name: &'static str,
    requests: f64,
    bytes: f64,
    cpu_ms: f64,
    wall_ms: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.looks > 0 && args.pods > 0, "--looks and --pods: at least one");
    let (sender, receiver) = std::sync::mpsc::channel();
    // The server's runtime outlives the bench, which ends the process.
    std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            sender.send(Api::start(None).await?)?;
            std::future::pending().await
        })
    });
    let world =
        World { api: receiver.recv().context("start the fake API server")?, pods: args.pods, nodes: args.nodes };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let costs = runtime.block_on(measure(&world, args.looks))?;
    print(&world, &args, &costs);
    Ok(())
}

async fn measure(world: &World, looks: usize) -> Result<Vec<Cost>> {
    let folder = tempfile::tempdir()?;
    let settings = world.settings(folder.path())?;
    let manager = Kubernetes::connect(settings.clone()).await?;
    world.fill(&manager).await?;
    drop(manager);
    let mut costs = Vec::new();
    world.api.world().watches.are_refused = true;
    for (name, is_plain) in [("each lists, uncompressed", true), ("each lists, compressed", false)] {
        world.api.world().is_plain = is_plain;
        let manager = Kubernetes::connect(settings.clone()).await?;
        looked(world, &manager, "the first, to begin with", 1, |_| {}).await?;
        costs.push(looked(world, &manager, name, looks, |_| {}).await?);
    }
    world.api.world().watches.are_refused = false;
    let manager = Kubernetes::connect(settings).await?;
    costs.push(looked(world, &manager, "watched: the first look", 1, |_| {}).await?);
    costs.push(looked(world, &manager, "watched, at rest", looks, |_| {}).await?);
    let (pods, nodes) = (world.pods * PODS_CHANGE_PER_MILLE / 1000, world.nodes * NODES_CHANGE_PER_MILLE / 1000);
    costs.push(
        looked(world, &manager, "watched, 1 % pods 3 % nodes change", looks, |turn| world.change((pods, nodes), turn))
            .await?,
    );
    Ok(costs)
}

/// Looks so often, each after `change` and a short while, which counts too.
async fn looked(
    world: &World,
    manager: &Kubernetes,
    name: &'static str,
    looks: usize,
    change: impl Fn(usize),
) -> Result<Cost> {
    let (requests, bytes) = world.answered();
    let (mut wall, mut cpu_ns) = (Duration::ZERO, 0);
    for turn in 0..looks {
        change(turn);
        let cpu_before_ns = thread_cpu_ns()?;
        tokio::time::sleep(BETWEEN).await;
        let begun = Instant::now();
        let observed = manager.observe().await?;
        wall += begun.elapsed();
        cpu_ns += thread_cpu_ns()? - cpu_before_ns;
        let ready = observed.instances.iter().filter(|one| one.ready_ms.is_some()).count();
        ensure!(ready == world.pods, "{ready} of {} are seen ready", world.pods);
    }
    let each = |sum: f64| sum / looks as f64;
    let (all_requests, all_bytes) = world.answered();
    Ok(Cost {
        name,
        requests: each((all_requests - requests) as f64),
        bytes: each((all_bytes - bytes) as f64),
        cpu_ms: each(cpu_ns as f64 / 1e6),
        wall_ms: each(wall.as_secs_f64() * 1e3),
    })
}

/// Processor time of this thread.
fn thread_cpu_ns() -> Result<u64> {
    let path = "/proc/thread-self/schedstat";
    let stat = std::fs::read_to_string(path).with_context(|| format!("read {path}: it needs Linux"))?;
    stat.split(' ').next().context("a first field")?.parse().context(path)
}

fn print(world: &World, args: &Args, costs: &[Cost]) {
    let (pod_bytes, node_bytes) = world.sizes();
    println!(
        "{} pods of {pod_bytes} bytes, {} nodes of {node_bytes} bytes; {} looks",
        args.pods, args.nodes, args.looks
    );
    println!("{:<34}{:>10}{:>14}{:>12}{:>12}", "each look", "requests", "bytes", "CPU ms", "wall ms");
    for Cost { name, requests, bytes, cpu_ms, wall_ms } in costs {
        println!("{name:<34}{requests:>10.1}{bytes:>14.0}{cpu_ms:>12.1}{wall_ms:>12.1}");
    }
    if args.json {
        let of = |cost: &Cost| {
            json!({ "looks": cost.name, "requests_per_look": cost.requests, "bytes_per_look": cost.bytes,
                "cpu_ms_per_look": cost.cpu_ms, "wall_ms_per_look": cost.wall_ms })
        };
        let costs: Vec<Value> = costs.iter().map(of).collect();
        println!("{}", json!({ "pods": args.pods, "nodes": args.nodes, "costs": costs }));
    }
}
