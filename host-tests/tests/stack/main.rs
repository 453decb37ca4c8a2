//! The tests of the whole: the layering of the workspace, the real wasm file on the deterministic host, and the real
//! stack on a real Envoy. One binary, so that it links once.

mod capacity_faults;
mod capacity_rig;
mod envoy_answers;
mod envoy_counts;
mod envoy_faults;
mod envoy_forecast;
mod envoy_guard;
mod envoy_h2load;
mod envoy_hostile;
mod envoy_hosts;
mod envoy_lanes;
mod envoy_limits;
mod envoy_mixes;
mod envoy_outages;
mod envoy_policy_shadow;
mod envoy_pools;
mod envoy_prewarmed;
mod envoy_push;
mod envoy_queue;
mod envoy_reload;
mod envoy_resets;
mod envoy_rig;
mod envoy_scripted;
mod envoy_settle;
mod envoy_stats;
mod envoy_trap;
mod layers;
mod native_and_wasm;
mod simulation;
mod wasm_filter;
mod wasm_guard;
mod wasm_settle;
mod wasm_strangers;
