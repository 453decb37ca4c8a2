//! What a worker counts per key between two hand-overs.
//!
//! Admitted units are what requests were admitted with, an estimate where the true cost is known only afterwards.
//! Settlement is counted beside it and never changes it, so that
//! `used = reserved + standard + borrowed - refunded + charged + forgiven` holds exactly whenever it is looked at.

/// Requests and units by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Their cost.
    pub units: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, units: u64) {
        self.requests = self.requests.saturating_add(1);
        self.units = self.units.saturating_add(units);
    }

    pub(crate) fn absorb(&mut self, more: &Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.units = self.units.saturating_add(more.units);
    }
}

/// Units by what settlement did with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Admitted and not used. Also those of a slot that is over, which nobody gets any more.
    pub refunded: u64,
    /// Used beyond what was admitted, and charged.
    pub charged: u64,
    /// Used beyond what was admitted, and beyond what a bucket may owe.
    pub forgiven: u64,
}

/// What a worker counted for a key since it last handed its counts over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Admitted from the shadow bucket.
    pub reserved: Tally,
    /// Admitted from the standard bucket.
    pub standard: Tally,
    /// Admitted from capacity that was reserved for others, best effort included.
    pub borrowed: Tally,
    /// The part of `borrowed` that no reservation stood behind.
    pub overcommitted: Tally,
    /// Refused.
    pub refused: Tally,
    /// Settled afterwards.
    pub settled: Settled,
    /// What a plain standard bucket would have refused, whatever happened; [`score`](crate::score) says how exactly.
    pub would_have_refused_plain: Tally,
    /// The part of it that was admitted: what shadow and borrowing are worth.
    pub rescued: Tally,
    /// Refused although a plain bucket would have admitted it.
    pub worse_than_plain: Tally,
    /// Offered while a shadow slot was running; what of it is not in `reserved` the shadow bucket alone would have refused.
    pub in_slot: Tally,
}

impl Counts {
    /// What came, admitted or not.
    pub fn offered(&self) -> Tally {
        let mut offered = self.reserved;
        for part in [&self.standard, &self.borrowed, &self.refused] {
            offered.absorb(part);
        }
        offered
    }

    /// Adds what another account, or the same one earlier, counted.
    pub fn absorb(&mut self, more: &Self) {
        self.reserved.absorb(&more.reserved);
        self.standard.absorb(&more.standard);
        self.borrowed.absorb(&more.borrowed);
        self.overcommitted.absorb(&more.overcommitted);
        self.refused.absorb(&more.refused);
        self.settled.refunded = self.settled.refunded.saturating_add(more.settled.refunded);
        self.settled.charged = self.settled.charged.saturating_add(more.settled.charged);
        self.settled.forgiven = self.settled.forgiven.saturating_add(more.settled.forgiven);
        self.would_have_refused_plain.absorb(&more.would_have_refused_plain);
        self.rescued.absorb(&more.rescued);
        self.worse_than_plain.absorb(&more.worse_than_plain);
        self.in_slot.absorb(&more.in_slot);
    }
}
