//! What is counted of a key beside its counters, as words in a fixed order: new ones are added at the end, so that older and newer
//! peers read what both know.

/// Requests and their cost in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests.
    pub requests: u64,
    /// Units.
    pub units: u64,
}

/// What was offered in a slot, and what had been expected of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCount {
    /// The slot; 0 when there is none.
    pub id: u64,
    /// Median, in units; 0 without a forecast.
    pub predicted: u64,
    /// Upper bound, in units; 0 without a forecast.
    pub upper: u64,
    /// What came so far.
    pub offered: Count,
}

/// What is counted of a key beside its [`Counters`](crate::Counters); cumulative but for the two slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Further {
    /// Admitted from capacity reserved for others. Part of offered demand, and of no lane of the counters.
    pub borrowed: Count,
    /// The part of it that no reservation stood behind.
    pub overcommitted: Count,
    /// Units admitted and not used.
    pub refunded_units: u64,
    /// Units used beyond what was admitted, and charged.
    pub charged_units: u64,
    /// Units used beyond what was admitted, and beyond what a bucket may owe.
    pub forgiven_units: u64,
    /// What a plain standard bucket would have refused, whatever happened.
    pub refused_by_plain: Count,
    /// The part of it that was admitted.
    pub rescued: Count,
    /// Refused although a plain standard bucket would have admitted it.
    pub worse_than_plain: Count,
    /// Offered while a shadow slot was running.
    pub in_slot: Count,
    /// Slots whose demand passed this proxy's part of the forecast's upper bound.
    pub burst_slots: u64,
    /// Units above it.
    pub burst_units: u64,
    /// The newest slot in which something came.
    pub running: SlotCount,
    /// The one before it in which something came.
    pub last: SlotCount,
    /// Offered under a rule that the policy marks as hostile: part of offered demand, and of the lane that it came to.
    pub hostile: Count,
}

impl Further {
    /// How many of the words only grow: all before the slots.
    pub const CUMULATIVE: usize = 17;
    /// Words of the present order: behind the slots stands what is hostile, which only grows too.
    pub const WORDS: usize = Self::CUMULATIVE + 12;

    /// The words in their order on the wire.
    #[inline(never)]
    pub fn words(&self) -> [u64; Self::WORDS] {
        let Self { borrowed, overcommitted, refused_by_plain, rescued, worse_than_plain, in_slot, .. } = *self;
        let Self { running, last, hostile, .. } = *self;
        [
            borrowed.requests,
            borrowed.units,
            overcommitted.requests,
            overcommitted.units,
            self.refunded_units,
            self.charged_units,
            self.forgiven_units,
            refused_by_plain.requests,
            refused_by_plain.units,
            rescued.requests,
            rescued.units,
            worse_than_plain.requests,
            worse_than_plain.units,
            in_slot.requests,
            in_slot.units,
            self.burst_slots,
            self.burst_units,
            running.id,
            running.predicted,
            running.upper,
            running.offered.requests,
            running.offered.units,
            last.id,
            last.predicted,
            last.upper,
            last.offered.requests,
            last.offered.units,
            hostile.requests,
            hostile.units,
        ]
    }

    /// Reads words; missing ones are 0, surplus ones are left where they are.
    pub fn read(words: &mut impl Iterator<Item = u64>) -> Self {
        let mut all = [0; Self::WORDS];
        for word in &mut all {
            *word = words.next().unwrap_or(0);
        }
        Self::of(all)
    }

    /// The inverse of [`Further::words`].
    #[inline(never)]
    fn of(words: [u64; Self::WORDS]) -> Self {
        let [b0, b1, o0, o1, refunded_units, charged_units, forgiven_units, p0, p1, r0, r1, w0, w1, i0, i1, rest @ ..] =
            words;
        let [burst_slots, burst_units, n0, n1, n2, n3, n4, l0, l1, l2, l3, l4, h0, h1] = rest;
        let count = |requests, units| Count { requests, units };
        let slot = |[id, predicted, upper, requests, units]: [u64; 5]| SlotCount {
            id,
            predicted,
            upper,
            offered: Count { requests, units },
        };
        Self {
            borrowed: count(b0, b1),
            overcommitted: count(o0, o1),
            refunded_units,
            charged_units,
            forgiven_units,
            refused_by_plain: count(p0, p1),
            rescued: count(r0, r1),
            worse_than_plain: count(w0, w1),
            in_slot: count(i0, i1),
            burst_slots,
            burst_units,
            running: slot([n0, n1, n2, n3, n4]),
            last: slot([l0, l1, l2, l3, l4]),
            hostile: count(h0, h1),
        }
    }
}
