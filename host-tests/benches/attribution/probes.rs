//! The probes: modules in wasm text that each make one kind of call per request, and nothing else.
//!
//! The difference between two probes is what the call between them costs. All have the same memory and the same
//! allocator (a constant address), so that a header read costs what the host's way into the module costs and not what an
//! allocator does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One module and what it is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// Name in the JSON line.
    pub(crate) name: &'static str,
    /// What it does, for people.
    pub(crate) does: &'static str,
    /// The probe that does all of it but the last.
    pub(crate) on_top_of: &'static str,
    /// Exports beside the usual ones.
    exports: &'static str,
    /// Body of `proxy_on_request_headers` before it continues.
    body: &'static str,
}

const CREATE: &str = r#"(func (export "proxy_on_context_create") (param i32 i32))"#;

const READ: &str = "(drop (call $get (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 128) (i32.const 132)))";
const READ_TWICE: &str = "(drop (call $get (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 128) (i32.const 132)))
     (drop (call $get (i32.const 0) (i32.const 200) (i32.const 5) (i32.const 128) (i32.const 132)))";
const PAIRS: &str = "(drop (call $pairs (i32.const 0) (i32.const 128) (i32.const 132)))";
const PAIRS_ADD: &str = "(drop (call $pairs (i32.const 0) (i32.const 128) (i32.const 132)))
     (drop (call $add (i32.const 0) (i32.const 32) (i32.const 14) (i32.const 64) (i32.const 8)))";
const READ_ABSENT: &str =
    "(drop (call $get (i32.const 0) (i32.const 16) (i32.const 8) (i32.const 128) (i32.const 132)))";
const CLOCK: &str = "(drop (call $clock (i32.const 1) (i64.const 1) (i32.const 136)))";
const WALL_CLOCK: &str = "(drop (call $wall (i32.const 136)))";
const REPLACE: &str = "(drop (call $replace (i32.const 0) (i32.const 32) (i32.const 14) (i32.const 64) (i32.const 8)))";
const ADD: &str = "(drop (call $add (i32.const 0) (i32.const 32) (i32.const 14) (i32.const 64) (i32.const 8)))";
const REMOVE_ABSENT: &str = "(drop (call $remove (i32.const 0) (i32.const 16) (i32.const 8)))";
const PROPERTY: &str = "(drop (call $set_property (i32.const 80) (i32.const 4) (i32.const 64) (i32.const 8)))";
const GET_PROPERTY: &str = "(drop (call $property (i32.const 160) (i32.const 24) (i32.const 128) (i32.const 132)))";

const fn probe(name: &'static str, on_top_of: &'static str, does: &'static str, body: &'static str) -> Probe {
    Probe { name, does, on_top_of, exports: CREATE, body }
}

/// All of them, in the order of the table.
pub(crate) const PROBES: [Probe; 16] = [
    Probe { exports: "", ..probe("enter", "none", "only proxy_on_request_headers is exported", "") },
    probe("create", "enter", "and proxy_on_context_create", ""),
    Probe {
        exports: concat!(
            r#"(func (export "proxy_on_context_create") (param i32 i32))"#,
            r#"(func (export "proxy_on_log") (param i32))"#
        ),
        ..probe("log", "create", "and proxy_on_log", "")
    },
    Probe {
        exports: concat!(
            r#"(func (export "proxy_on_context_create") (param i32 i32))"#,
            r#"(func (export "proxy_on_done") (param i32) (result i32) i32.const 1)"#,
            r#"(func (export "proxy_on_delete") (param i32))"#
        ),
        ..probe("delete", "create", "and proxy_on_done, proxy_on_delete", "")
    },
    probe("clock", "create", "clock_time_get, steady", CLOCK),
    probe("wall_clock", "create", "proxy_get_current_time_nanoseconds", WALL_CLOCK),
    probe("read_absent", "create", "read a header that is not there", READ_ABSENT),
    probe("read", "create", "read a header that is there", READ),
    probe("read_twice", "read", "read two headers, one by one", READ_TWICE),
    probe("pairs", "create", "read all headers at once", PAIRS),
    probe("pairs_add", "pairs", "and add one: what Forebay asks of the host", PAIRS_ADD),
    probe("property_read", "create", "read it as a property (request.headers)", GET_PROPERTY),
    probe("remove_absent", "read_absent", "remove a header that is not there", REMOVE_ABSENT),
    probe("add", "create", "add a request header", ADD),
    probe("replace", "create", "replace a request header that is not there", REPLACE),
    probe("filter_state", "create", "proxy_set_property, which is filter state", PROPERTY),
];

impl Probe {
    /// Writes the module into `folder`.
    pub(crate) fn module(self, folder: &Path) -> Result<PathBuf> {
        let Self { name, exports, body, .. } = self;
        let text = format!(
            r#"(module
            (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
            (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
            (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_get_current_time_nanoseconds" (func $wall (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "x-tenant")
            (data (i32.const 16) "x-absent")
            (data (i32.const 32) "x-forebay-lane")
            (data (i32.const 64) "standard")
            (data (i32.const 80) "lane")
            (data (i32.const 160) "request\00headers\00x-tenant")
            (data (i32.const 200) ":path")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024)
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) i32.const 1)
            (func (export "proxy_on_configure") (param i32 i32) (result i32) i32.const 1)
            {exports}
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {body} i32.const 0)
            )"#
        );
        let path = folder.join(format!("{name}.wasm"));
        let module = wat::parse_str(&text).with_context(|| format!("the module {name}"))?;
        std::fs::write(&path, module).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}
