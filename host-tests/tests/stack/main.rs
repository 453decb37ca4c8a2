//! The tests of the whole: the layering of the workspace, the real wasm file on the deterministic host, and the real
//! stack on a real Envoy. One binary, so that it links once.

mod layers;
mod native_and_wasm;
mod wasm_filter;
