//! What the worker counted, from its accounts to shared data and the proxy's metrics.

use alloc::vec::Vec;

use forebay_admission::Counts;
use forebay_protocol::Counters;

use super::Worker;
use crate::effect::{Effect, Metric};
use crate::host::{Host, replace};
use crate::shared;

impl Worker {
    /// Adds what was counted since the last time to shared data.
    pub(super) fn hand_over_counts(&mut self, host: &mut impl Host, effects: &mut Vec<Effect>) {
        let mut total = Counts::default();
        // What names without contract used is counted for their resource's others.
        if let Some(strangers) = &mut self.keys.strangers {
            for (others, counts) in strangers.take_counts(&mut self.keys.accounts) {
                if let Some(others) = self.keys.accounts.get_mut(others) {
                    others.add_counts(&counts);
                }
            }
        }
        let busy = if self.busy { usize::MAX } else { 0 };
        for (key, account) in self.keys.keys.iter().zip(&mut self.keys.accounts).take(busy) {
            let counts = account.counts();
            if counts == Counts::default() {
                continue;
            }
            let added = replace(host, &key.count_key, |bytes| {
                let counters = bytes.and_then(shared::decode_counters).unwrap_or_default();
                Some(shared::encode_counters(&add(&counters, &counts)))
            });
            // After a lost race the counts stay here until the next time.
            if added.is_ok() {
                account.clear_counts();
                total.absorb(&counts);
            }
        }
        let exempt = core::mem::take(&mut self.exempt);
        let counted = [
            (Metric::Reserved, total.reserved.requests),
            (Metric::Standard, total.standard.requests),
            (Metric::Borrowed, total.borrowed.requests),
            (Metric::Refused, total.refused.requests),
            (Metric::Exempt, exempt),
            (Metric::FailedOpen, core::mem::take(&mut self.failed_open)),
            (Metric::RefundedUnits, total.settled.refunded),
            (Metric::ChargedUnits, total.settled.charged),
            (Metric::ForgivenUnits, total.settled.forgiven),
        ];
        effects.extend(counted.iter().filter(|(_, n)| *n > 0).map(|(metric, n)| Effect::Count(*metric, *n)));
        self.record.named.hand_over(effects);
        effects.extend(self.settled_counts());
    }
}

fn add(counters: &Counters, counts: &Counts) -> Counters {
    Counters {
        reserved_requests: counters.reserved_requests.saturating_add(counts.reserved.requests),
        reserved_units: counters.reserved_units.saturating_add(counts.reserved.units),
        standard_requests: counters.standard_requests.saturating_add(counts.standard.requests),
        standard_units: counters.standard_units.saturating_add(counts.standard.units),
        refused_requests: counters.refused_requests.saturating_add(counts.refused.requests),
        refused_units: counters.refused_units.saturating_add(counts.refused.units),
    }
}
