//! The books of one key: how many units left the shared bucket, by looking at it after every event.
//!
//! A bucket changes by refilling, which is computed, and by workers that draw or give back, which is the rest. Draws and
//! give-backs are whole units, so the sum is exact. A bucket refills up to what its claims leave free: what would flow
//! over is not out. What a full bucket cannot take back would look like a loss; so the bucket is emptied by hand
//! ([`Balance::emptied`]) before the workers are made to give back.

use anyhow::{Context, Result};
use forebay_admission::units::NANO;
use forebay_admission::{Bucket, KeyState, Limit};

#[derive(Debug)]
pub(crate) struct Balance {
    limit: Limit,
    last: KeyState,
    out_nano: i128,
}

impl Balance {
    /// Starts the books with the state as it lies in shared data.
    pub(crate) fn open(limit: Limit, state: Option<&[u8]>) -> Result<Self> {
        Ok(Self { limit, last: known(state)?, out_nano: 0 })
    }

    /// Looks at the state after an event.
    pub(crate) fn see(&mut self, state: Option<&[u8]>) -> Result<()> {
        let now = known(state)?;
        if now != self.last {
            self.last.refill(self.limit, now.standard.at());
            self.out_nano += i128::from(self.last.standard.level_nano()) - i128::from(now.standard.level_nano());
            self.last = now;
        }
        Ok(())
    }

    /// The state with an empty bucket, to put into shared data; the books do not count it as drawn.
    pub(crate) fn emptied(&mut self, state: Option<&[u8]>) -> Result<Vec<u8>> {
        self.see(state)?;
        self.last.standard = Bucket::new(0, self.last.standard.at());
        Ok(self.last.encode().to_vec())
    }

    /// Units that left the bucket and did not come back.
    pub(crate) fn out(&self) -> i128 {
        self.out_nano / i128::from(NANO)
    }
}

fn known(state: Option<&[u8]>) -> Result<KeyState> {
    state.and_then(KeyState::decode).context("the key has no state that can be read")
}
