//! A proxy-wasm filter that does nothing at all.
//!
//! The overhead bench puts it beside Forebay: what it costs is the price of entering the VM on every stream through the
//! ordinary SDK, before any line of ours has run. It reads no header and keeps no state, on purpose.
//!
//! Source: the proxy-wasm Rust SDK's own entry point, `proxy_wasm::main!`.

// `proxy_wasm::main!` expands to one exported, undocumented `unsafe extern` entry point; nothing else here is unsafe.
#![allow(unsafe_code, missing_docs)]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(EmptyRoot));
}}

struct EmptyRoot;

impl Context for EmptyRoot {}

impl RootContext for EmptyRoot {
    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(EmptyStream))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct EmptyStream;

impl Context for EmptyStream {}

impl HttpContext for EmptyStream {}
