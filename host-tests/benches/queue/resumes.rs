//! Streams that wait for tokens: the m-th is due when the m-th token since the bucket was empty is there.
//!
//! The relation of the clocks: the bucket is full when the run begins, and one request that costs all of it empties it.
//! Envoy decides on that one at an instant `a` between the client's send instant `t0` and the answer. The bucket gains a
//! token each `1 / rate` from `a` on, and as long as somebody waits it never overflows; so the m-th stream after it can
//! go on at `a + m / rate` at the earliest, and is due here at `t0 + m / rate`, which is at most the answer time earlier.
//!
//! The number of waiting streams stays the same: every answer is followed by another stream on the same connection. The
//! streams that are answered while the queue still fills are not counted.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hyper::StatusCode;
use tokio::sync::mpsc;

use crate::Args;
use crate::lateness::{Answered, Lateness};
use crate::stack::{COST, RESUMED, Stack, of};

/// Longer than any stream waits here; the longest that a policy may say.
pub(crate) const MAX_WAIT_MS: u32 = 60_000;

/// What the queue takes to fill: all streams at once are some 100 ms of Envoy's time.
const FILLING: Duration = Duration::from_secs(1);

/// The lateness, and by how much at most it begins too early.
pub(crate) async fn steady(stack: &Stack, args: &Args) -> Result<(Lateness, Duration)> {
    let t0 = Instant::now();
    let emptying = of(RESUMED).header(COST, stack.burst.to_string());
    let status = stack.connection(0).response(&emptying).await?.status();
    let counted_early = t0.elapsed();
    if status != StatusCode::OK {
        bail!("the bucket was not full: {status}");
    }
    let from = t0 + FILLING;
    let until = from + Duration::from_secs(args.seconds.into());
    let (done, mut answers) = mpsc::unbounded_channel();
    for number in 0..args.waiting as usize {
        let (connection, done) = (stack.connection(number).clone(), done.clone());
        tokio::spawn(async move {
            while Instant::now() < until {
                let answer = connection.response(&of(RESUMED)).await.map(|answer| answer.status());
                let stop = answer.is_err();
                if done.send((answer, Instant::now())).is_err() || stop {
                    break;
                }
            }
        });
    }
    drop(done);
    let mut at = Vec::new();
    let (mut cpu_from, mut cpu_until) = (None, None);
    while let Some((answer, instant)) = answers.recv().await {
        match answer? {
            StatusCode::OK => at.push(instant),
            other => bail!("a waiting stream was answered with {other}"),
        }
        if instant >= from && cpu_from.is_none() {
            cpu_from = Some(stack.cpu_s()?);
        }
        if instant >= until && cpu_until.is_none() {
            cpu_until = Some(stack.cpu_s()?);
        }
    }
    stack.check_queue().await?;
    at.sort_unstable();
    let due = |m: usize| t0 + Duration::from_secs_f64(m as f64 / f64::from(args.rate));
    let answered = at.iter().enumerate().map(|(place, at)| Answered { due: due(place + 1), at: *at });
    let answered: Vec<_> = answered.filter(|stream| (from..until).contains(&stream.due)).collect();
    let (Some(cpu_from), Some(cpu_until)) = (cpu_from, cpu_until) else { bail!("the run was too short") };
    Ok((Lateness::of(&answered, cpu_until - cpu_from, until - from)?, counted_early))
}
