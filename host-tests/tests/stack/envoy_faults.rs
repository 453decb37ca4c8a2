//! On the real Envoy: answers of the controller that are no good, and a controller that is gone.

use std::time::{Duration, Instant};

use anyhow::Result;
use forebay_host_tests::client::Connection;
use forebay_host_tests::poll;
use forebay_protocol::v1::Limit;
use forebay_protocol::{Message, encode};

use super::envoy_rig::{DEADLINE, Load, Rig, after, load, of, outcome, policy};
use super::envoy_scripted::{Scripted, grant, table};

#[tokio::test]
async fn bad_answers_are_counted_and_ignored() -> Result<()> {
    let mut controller = Scripted::start().await?;
    let rig = Rig::start(policy(&[]), Some(controller.address())).await?;
    let mut connections = rig.connect_to_both().await?;
    controller.push(table(5, 600_000, vec![grant("a", 1_000, 1_000)])).await?;
    for connection in &mut connections {
        poll::until("table 5", DEADLINE, async || {
            Ok((outcome(&connection.send(&of("a")).await?) == "standard").then_some(()))
        })
        .await?;
    }

    let newer = encode(&Message::GrantTable(table(6, 600_000, vec![])));
    let older = encode(&Message::GrantTable(table(4, 600_000, vec![])));
    // A correct table that is only too large: it would withdraw the grant if it were read.
    let huge = (0..8_000).map(|number| grant(&format!("tenant-{number:030}"), 1, 1)).collect();
    let oversized = encode(&Message::GrantTable(table(6, 600_000, huge)));
    assert!(oversized.len() > 256 << 10);
    let bad = [
        ("undecodable_answers", 200, b"garbage".to_vec()),
        ("undecodable_answers", 200, newer[..newer.len() - 1].to_vec()),
        ("oversized_answers", 200, oversized),
        ("stale_tables", 200, older),
        ("failed_calls", 503, newer),
    ];
    for (metric, status, body) in bad {
        let before = rig.filter_stat(&format!("sync.{metric}")).await?;
        controller.answer(status, body).await?;
        poll::until(metric, DEADLINE, async || {
            Ok((rig.filter_stat(&format!("sync.{metric}")).await? > before).then_some(()))
        })
        .await?;
        for connection in &mut connections {
            assert_eq!(outcome(&connection.send(&of("a")).await?), "standard", "after {metric}");
        }
    }
    let names = ["undecodable_answers", "oversized_answers", "stale_tables", "tables_applied"];
    let mut counts = Vec::new();
    for name in names {
        counts.push(rig.filter_stat(&format!("sync.{name}")).await?);
    }
    println!("{names:?}: {counts:?}");
    assert_eq!(counts, [2, 1, 1, 1]);
    // The filter goes on watching and takes the next good table.
    controller.push(table(7, 600_000, vec![])).await?;
    poll::until("table 7", DEADLINE, async || {
        Ok((outcome(&connections[0].send(&of("a")).await?) == "429").then_some(()))
    })
    .await
}

/// How long a table holds without contact.
const VALIDITY: Duration = Duration::from_millis(1_500);
/// Rate and burst of the share that a cut-off proxy falls back to.
const SAFE: (u64, u64) = (20, 5);
/// Ticks until a worker looks, a turn of the load, and a busy machine.
const SLACK: Duration = Duration::from_millis(250);

#[tokio::test]
async fn without_the_controller_nothing_fails_and_keys_fall_to_their_safe_share() -> Result<()> {
    let mut controller = Scripted::start().await?;
    let rig = Rig::start(policy(&[]), Some(controller.address())).await?;
    let [mut first, mut second] = rig.connect_to_both().await?;
    let mut shop = grant("shop", 100_000, 1_000);
    shop.safe = Limit { rate_milli_per_s: SAFE.0 * 1_000, burst: SAFE.1 };
    let pushed = controller.push(table(1, VALIDITY.as_millis() as u32, vec![shop])).await?;
    for connection in [&mut first, &mut second] {
        poll::until("grant", DEADLINE, async || {
            Ok((outcome(&connection.send(&of("shop")).await?) == "standard").then_some(()))
        })
        .await?;
    }
    let request = of("shop");
    // Until two seconds into the safe share; the deadline only ends a test that has failed.
    let done = |load: &Load| {
        load.refused_at.is_some_and(|at| at.elapsed() > Duration::from_secs(2)) || load.began.elapsed() > DEADLINE
    };
    let gone = async {
        // Acknowledgements keep the grant alive beyond its first validity.
        poll::until("load beyond the first validity", DEADLINE, async || {
            Ok((pushed.elapsed() > VALIDITY * 2).then_some(()))
        })
        .await?;
        drop(controller);
        anyhow::Ok(Instant::now())
    };
    let (a, b, killed) = tokio::try_join!(load(&mut first, &request, done), load(&mut second, &request, done), gone)?;
    for load in [&a, &b] {
        assert_eq!(load.count("standard") + load.count("429"), load.total(), "{:?}", load.outcomes);
    }
    let refused = a.refused_at.into_iter().chain(b.refused_at).min().expect("the safe share is far below the load");
    let after_kill = refused.saturating_duration_since(killed);
    let (admitted, seconds) = safe_share(&mut first, &mut second).await?;
    let bound = SAFE.1 as f64 + SAFE.0 as f64 * seconds;
    println!(
        "controller gone under load: {} requests, first refusal {after_kill:.1?} later, then {admitted} admitted in \
         {seconds:.3} s, at most {bound:.1}",
        a.total() + b.total()
    );
    assert!(refused > killed, "the acknowledgements kept the grant in force");
    assert!(after_kill <= VALIDITY + SLACK, "{after_kill:.1?}");
    assert!(admitted as f64 <= bound && admitted > 0, "{admitted} admitted, at most {bound:.1}");
    assert!(rig.filter_stat("sync.failed_calls").await? > 0);
    Ok(())
}

/// What both workers admit within a second of their safe share; leases of better times are spent by now.
async fn safe_share(first: &mut Connection, second: &mut Connection) -> Result<(u64, f64)> {
    let (request, second_long) = (of("shop"), Duration::from_secs(1));
    let (a, b) =
        tokio::try_join!(load(first, &request, after(second_long)), load(second, &request, after(second_long)))?;
    let seconds = (a.ended.max(b.ended) - a.began.min(b.began)).as_secs_f64();
    Ok((a.count("standard") + b.count("standard"), seconds))
}
