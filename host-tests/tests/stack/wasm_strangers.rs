//! The real wasm file under a policy that gives each name a bucket of its own: a million invented names beside ten
//! thousand that live.

use std::time::{Duration, Instant};

use anyhow::Result;
use forebay_wasm_host::{Process, Request, VmId};

use crate::wasm_filter::code;

const CONFIG: &str = r#"{
    "controller": {"cluster": "ctl"},
    "policy": {
        "resources": [{"name": "requests", "others": {"rate_per_s": 1, "burst": 20}, "uncontracted": "each"}],
        "contracts": [{"tenant": "a", "resource": "requests", "rate_per_s": 1000, "burst": 2000}]
    }
}"#;
const INVENTED: u32 = 1_000_000;
const LIVE: u32 = 10_000;
const VM_BYTES_MAX: usize = 32 << 20;

fn admitted(process: &mut Process, vm: VmId, tenant: &str) -> Result<bool> {
    Ok(process.request(vm, Request::get("/").header("x-tenant", tenant))?.admitted())
}

#[test]
fn a_million_invented_names_cost_bounded_memory_and_live_names_keep_their_buckets() -> Result<()> {
    let mut process = Process::of(&code(false)?);
    let vm = process.add_vm(CONFIG.as_bytes(), b"test")?;
    process.advance(Duration::from_secs(60))?;
    // The live names come once a second each, first alone for 10 s, so that they are known before the flood.
    for _ in 0..10 {
        for number in 0..LIVE {
            admitted(&mut process, vm, &format!("live-{number}"))?;
        }
        process.advance(Duration::from_secs(1))?;
    }
    let before = process.memory_bytes(vm).unwrap_or_default();
    let (began, mut served) = (Instant::now(), 0);
    for number in 0..INVENTED {
        // Five invented names for each request of a live one, at 50,000 per second.
        admitted(&mut process, vm, &format!("invented-{number}"))?;
        if number % 50 == 0 {
            process.advance(Duration::from_millis(1))?;
        }
        if number % 5 == 0 {
            served += u32::from(admitted(&mut process, vm, &format!("live-{}", number / 5 % LIVE))?);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let (after, keys) = (process.memory_bytes(vm).unwrap_or_default(), process.shared_data().keys("forebay").len());
    println!(
        "{INVENTED} invented names at {LIVE} live ones in {seconds:.1} s: {:.1} MiB in the VM ({:.1} before), \
         {keys} shared keys, {served} of {} requests of live names admitted",
        after as f64 / f64::from(1 << 20),
        before as f64 / f64::from(1 << 20),
        INVENTED / 5
    );
    assert!(after < VM_BYTES_MAX, "{after} bytes");
    assert!(keys <= 4_096 + 20, "{keys}");
    assert!(served * 100 >= INVENTED / 5 * 99, "{served} of {}", INVENTED / 5);
    assert!(process.failed(vm).is_none());
    Ok(())
}
