//! Waiting for something to become true: ask, pause briefly, ask again, until a deadline.
//!
//! The pause is short beside what anything here takes (processes start in tenths of a second), and the deadline is an
//! error that says what never came, so that a hanging part is named and not guessed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often the question is asked again.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until the answer is there. `what` completes the sentence "within N s: no {what}".
pub async fn until<T>(what: &str, deadline: Duration, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if started.elapsed() > deadline {
            bail!("within {:.1} s: no {what}", deadline.as_secs_f64());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
