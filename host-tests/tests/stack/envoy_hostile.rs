//! On the real Envoy: header values and tenant names that nobody sane would send.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use forebay_host_tests::client::{Connection, Request};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::envoy_rig::{MAIN, Rig, of, outcome, policy};

const NAMES: u32 = 100_000;
const CONNECTIONS: u32 = 8;
/// Were each name remembered anywhere, at 64 bytes with its bookkeeping, there would be more than this.
const GROWTH_MAX_KIB: u64 = 6_250;

#[tokio::test]
async fn hostile_tenant_headers_get_the_defined_default() -> Result<()> {
    let mut policy = policy(&[("acme", 1_000, 1_000)]);
    policy["policy"]["resources"][0]["others"] = json!({ "rate_per_s": 1_000, "burst": 20 });
    let rig = Rig::start(policy, None).await?;
    let mut connection = rig.connect().await?;
    let long = vec![b'x'; 60 << 10];
    let hostile: [&[u8]; 7] = [b"\xff\xfe\x80", &long, b"", b"*", b"ac\xc3", b"acme,acme", "\u{1f4a7}".as_bytes()];
    for tenant in hostile {
        let request = Request::get("/").header("x-tenant", tenant);
        let shown = String::from_utf8_lossy(&tenant[..tenant.len().min(20)]).into_owned();
        assert_eq!(bucket(&mut connection, request).await?, "others", "{shown}");
    }
    assert_eq!(bucket(&mut connection, Request::get("/")).await?, "others", "no tenant header");
    assert_eq!(bucket(&mut connection, of("acme")).await?, "acme");
    assert_eq!(bucket(&mut connection, of("acme").header("x-tenant", "b")).await?, "acme", "the first of two counts");
    assert_eq!(bucket(&mut connection, of("b").header("x-tenant", "acme")).await?, "others", "the first of two counts");
    for cost in [&b"-1"[..], b"\xff", b"1e9", &long] {
        assert_eq!(outcome(&connection.send(&of("acme").header("x-cost", cost)).await?), "standard", "the default");
    }
    assert_unharmed(&rig).await
}

/// Which bucket a request is charged to: the cost of 50 fits the contract's burst and never that of the others.
async fn bucket(connection: &mut Connection, request: Request) -> Result<&'static str> {
    let large = connection.send(&request.clone().header("x-cost", "50")).await?;
    if large.status == 200 {
        return Ok("acme");
    }
    ensure!(large.status == 429 && large.header("retry-after").is_none(), "{} {}", large.status, large.text());
    let small = outcome(&connection.send(&request).await?);
    ensure!(small == "standard", "a cost of 1: {small}");
    Ok("others")
}

#[tokio::test]
async fn a_hundred_thousand_names_leave_no_trace() -> Result<()> {
    let rig = Rig::start(policy(&[("acme", 1_000, 1_000)]), None).await?;
    // Connections, buffers and code paths exist once before the count begins.
    send_names(&rig, 0, 10_000).await?;
    let before = resident_kib(&rig)?;
    let began = Instant::now();
    send_names(&rig, 10_000, NAMES).await?;
    let seconds = began.elapsed().as_secs_f64();
    let grown = resident_kib(&rig)?.saturating_sub(before);
    println!("{NAMES} tenant names in {seconds:.1} s: Envoy grew by {grown} KiB from {before} KiB");
    assert!(grown <= GROWTH_MAX_KIB, "{grown} KiB");
    assert_eq!(outcome(&rig.connect().await?.send(&of("acme")).await?), "standard");
    assert_eq!(rig.upstream.total(), 1, "nobody else has a contract");
    assert_unharmed(&rig).await
}

/// No VM has failed.
async fn assert_unharmed(rig: &Rig) -> Result<()> {
    let stats = rig.envoy.stats().await?;
    let reloads: u64 = stats.iter().filter(|(name, _)| name.contains("vm_reload")).map(|(_, count)| count).sum();
    assert_eq!(reloads, 0, "{}", rig.envoy.log());
    assert!(!rig.envoy.log().contains("Uncaught"), "{}", rig.envoy.log());
    Ok(())
}

/// Sends `count` requests of as many tenants from number `first` on, over several connections; all are refused.
async fn send_names(rig: &Rig, first: u32, count: u32) -> Result<()> {
    let address = rig.envoy.address(MAIN)?;
    let share = count / CONNECTIONS;
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let begins = first + connection * share;
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            for number in begins..begins + share {
                send_name(&mut stream, number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// One request in plain bytes, which is several times as fast as with a real client.
async fn send_name(stream: &mut TcpStream, number: u32) -> Result<()> {
    let request = format!("GET / HTTP/1.1\r\nhost: forebay\r\nx-tenant: tenant-{number}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (mut answer, mut length) = ([0; 2048], 0);
    // The body of every refusal ends with this.
    while !answer[..length].ends_with(b"\"violated-policies\":[\"requests\"]}") {
        let more = stream.read(&mut answer[length..]).await?;
        ensure!(more > 0, "no refusal but {}", String::from_utf8_lossy(&answer[..length]));
        length += more;
    }
    ensure!(answer.starts_with(b"HTTP/1.1 429 "), "{}", String::from_utf8_lossy(&answer[..length]));
    Ok(())
}

/// Resident memory of Envoy.
fn resident_kib(rig: &Rig) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.envoy.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}
