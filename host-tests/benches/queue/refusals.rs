//! Streams that wait in vain: each is due at its own deadline.
//!
//! In the steady run streams come at a constant rate, and as many wait as come within the longest wait (Little's law).
//! The filter counts the wait from when it sees the request, which is after the client's send instant: so lateness holds
//! the way there too, and can never be negative.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hyper::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::Args;
use crate::lateness::{Answered, Lateness};
use crate::stack::{REFUSED, Stack, of};

/// How long streams wait, so that the wanted number of them does.
pub(crate) fn max_wait_ms(args: &Args) -> u32 {
    (args.waiting * 1_000 / args.rate).max(1)
}

/// Streams at a constant rate. Those that come while the queue still fills are not counted.
pub(crate) async fn steady(stack: &Stack, args: &Args) -> Result<Lateness> {
    let wait = Duration::from_millis(max_wait_ms(args).into());
    let filling = args.waiting as usize;
    let all = filling + (args.rate * args.seconds) as usize;
    let mut pace = interval(Duration::from_secs(1) / args.rate);
    // A client that falls behind catches up, so that the number that waits stays what it is.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut streams, mut from) = (JoinSet::new(), None);
    for number in 0..all {
        pace.tick().await;
        if number == filling {
            from = Some((Instant::now(), stack.cpu_s()?));
        }
        streams.spawn(wait_in_vain(stack.connection(number).clone(), wait, number >= filling));
    }
    let answered = finish(stack, streams, all).await?;
    let Some((began, cpu)) = from else { bail!("no stream was counted") };
    Lateness::of(&answered, stack.cpu_s()? - cpu, began.elapsed())
}

/// All streams as fast as they can be sent.
pub(crate) async fn together(stack: &Stack, args: &Args) -> Result<Lateness> {
    let wait = Duration::from_millis(max_wait_ms(args).into());
    let (began, cpu) = (Instant::now(), stack.cpu_s()?);
    let mut streams = JoinSet::new();
    for number in 0..args.waiting as usize {
        streams.spawn(wait_in_vain(stack.connection(number).clone(), wait, true));
    }
    let answered = finish(stack, streams, args.waiting as usize).await?;
    Lateness::of(&answered, stack.cpu_s()? - cpu, began.elapsed())
}

/// The refused ones. A few get the unit that comes each second; they are no refusals, and must be no more than that.
async fn finish(
    stack: &Stack,
    mut streams: JoinSet<Result<(StatusCode, bool, Answered)>>,
    all: usize,
) -> Result<Vec<Answered>> {
    let (mut answered, mut admitted, began) = (Vec::new(), 0, Instant::now());
    while let Some(stream) = streams.join_next().await {
        let (status, counts, stream) = stream??;
        match status {
            StatusCode::TOO_MANY_REQUESTS if counts => answered.push(stream),
            StatusCode::TOO_MANY_REQUESTS => {}
            StatusCode::OK => admitted += 1,
            other => bail!("a waiting stream was answered with {other}"),
        }
    }
    stack.check_queue().await?;
    if admitted * 20 > all {
        bail!("{admitted} of {all} streams were admitted within {:?}", began.elapsed());
    }
    Ok(answered)
}

async fn wait_in_vain(
    connection: forebay_host_tests::client::Multiplexed,
    wait: Duration,
    counts: bool,
) -> Result<(StatusCode, bool, Answered)> {
    let due = Instant::now() + wait;
    let status = connection.response(&of(REFUSED)).await?.status();
    Ok((status, counts, Answered { due, at: Instant::now() }))
}
