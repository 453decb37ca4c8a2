//! Many proxies share one limit, on virtual time: real workers of the engine over the memory host, the real controller
//! (observer, planner, dealer, store, sync) as a rehearsal, and a network between them that loses, delays, reorders,
//! repeats and cuts. Proxies' clocks are skewed and drift; proxies and controllers restart.
//!
//! What is measured is what an upstream would see: units admitted, over every stretch of time on a grid of [`STEP_MS`].
//! Same seed, same trace; a failing run prints its seed. `FOREBAY_SEED=n` replays one.

mod mesh;
mod network;

use mesh::{Mesh, PROXIES, Settings};

/// The grid of virtual time.
const STEP_MS: u64 = 10;

const RATE: u64 = 1_000;
const BURST: u64 = 500;

/// The bound that is stated while no controller has restarted: 2 % of the burst or a request for each of 8 workers per
/// proxy, and the rate of the 100 ms in which workers follow.
const STEADY_BOUND: u64 = BURST / 50 + 8 * PROXIES as u64 + RATE / 10;

/// What is in force at all proxies together is within the contract at every moment. While tables of a controller and of
/// its successor are in force, shares are what was seen to be used: at most a burst in three seconds, and a request for
/// each proxy, above.
fn assert_in_force(mesh: &Mesh, why: &str) {
    let (rate, burst) = mesh.most_in_force();
    println!("at most {rate} milli-units per second and a burst of {burst} were in force together");
    assert!(rate <= RATE * 1_000 && burst <= BURST, "{rate}, {burst}: {why}");
    let (rate, burst) = mesh.most_in_transition();
    println!("from one controller to the next at most {rate} and {burst}");
    assert!(rate <= (RATE + BURST / 3) * 1_000 && burst <= BURST + PROXIES as u64, "{rate}, {burst}: {why}");
}

fn seeds(default: &[u64]) -> Vec<u64> {
    match std::env::var("FOREBAY_SEED") {
        Ok(seed) => vec![seed.parse().expect("FOREBAY_SEED is a number")],
        Err(_) => default.to_vec(),
    }
}

fn replay(seed: u64, test: &str) -> String {
    format!("seed {seed}; replay: FOREBAY_SEED={seed} cargo test -p forebay-host-tests --test stack {test}")
}

/// Loss, delay, repetition, partitions, skew, drift, restarts of proxies and of the controller; never above the bound.
#[test]
fn no_fault_takes_a_mesh_above_the_bound() {
    for seed in seeds(&[1, 2, 3]) {
        let mut mesh = Mesh::new(seed, Settings { faults: true, rate: RATE, burst: BURST });
        mesh.demand(|_| 12);
        mesh.run_s(15);
        mesh.demand(|proxy| if proxy < 3 { 900 } else { 0 });
        mesh.run_s(30);
        mesh.restart_controller_s(4);
        mesh.run_s(60);
        mesh.demand(|proxy| if (20..25).contains(&proxy) { 500 } else { 2 });
        mesh.run_s(20);
        for proxy in [1, 22, 40] {
            mesh.restart_proxy(proxy);
        }
        mesh.run_s(15);
        // The controller is away for longer than a validity, and comes back to a mesh on its safe shares.
        mesh.restart_controller_s(40);
        mesh.demand(|proxy| if proxy % 2 == 0 { 80 } else { 0 });
        mesh.run_s(60);
        let excess = mesh.excess_units();
        let bound = mesh.bound_units();
        println!(
            "seed {seed}: {} units of {} offered were admitted in {} s; at most {excess} above rate x time + burst, \
             bound {bound}; {}",
            mesh.admitted_units(),
            mesh.offered_units(),
            mesh.now_s(),
            mesh.faults()
        );
        assert!(mesh.admitted_units() > RATE * mesh.now_s() / 4, "the mesh works: {}", replay(seed, "no_fault_takes"));
        assert!(excess <= bound, "{excess} above, bound {bound}: {}", replay(seed, "no_fault_takes"));
        assert!(excess <= STEADY_BOUND, "{excess} above: {}", replay(seed, "no_fault_takes"));
        assert_in_force(&mesh, &replay(seed, "no_fault_takes"));
    }
}

/// All demand on three of fifty proxies: nine tenths of the limit are usable there after a few reports; so again when the
/// demand moves, and while a restarted controller learns.
#[test]
fn shares_follow_demand_and_a_restart_takes_none_away() {
    for seed in seeds(&[7]) {
        let mut mesh = Mesh::new(seed, Settings { faults: false, rate: RATE, burst: BURST });
        mesh.demand(|_| 4);
        mesh.run_s(10);
        let why = || replay(seed, "shares_follow");
        for (from, until) in [(0, 3), (30, 33)] {
            let began = mesh.now_s();
            mesh.demand(|proxy| if (from..until).contains(&proxy) { 900 } else { 0 });
            mesh.run_s(15);
            let intervals = mesh.seconds_until_used(began, 90).expect("nine tenths are used before the end");
            println!("seed {seed}: after {intervals} report intervals of 1 s the limit is used to 90 % or more");
            assert!(intervals <= 6, "{intervals} report intervals: {}", why());
        }
        let tables = mesh.tables_applied();
        mesh.run_s(10);
        assert_eq!(mesh.tables_applied(), tables, "steady demand moves no shares: {}", why());
        let began = mesh.now_s();
        mesh.restart_controller_s(3);
        mesh.run_s(15);
        let least = mesh.least_used_percent(began);
        println!("seed {seed}: through a restart of the controller at least {least} % of the limit were used");
        assert!(least >= 85, "{least} %: {}", why());
        let (excess, bound) = (mesh.excess_units(), mesh.bound_units());
        assert!(excess <= bound, "{excess} above, bound {bound}: {}", why());
        assert_in_force(&mesh, &why());
    }
}
