//! What the worker counted, from its accounts to shared data and the proxy's metrics.

use alloc::vec::Vec;

use forebay_admission::Counts;
use forebay_protocol::Count;

use super::Worker;
use crate::effect::{Effect, Metric};
use crate::host::{Host, replace};
use crate::shared;
use crate::totals::Totals;

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
        let slot = if self.busy { self.slot_of_counts(host) } else { 0 };
        let layout = self.keys.numbering.layout;
        let keys = self.keys.keys.iter_mut().zip(&mut self.keys.accounts).zip(&mut self.keys.cells);
        for ((key, account), cells) in keys.take(busy) {
            let counts = account.counts();
            if counts == Counts::default() && cells.is_empty() {
                continue;
            }
            let hostile = key.hostile;
            let added = replace(host, &key.count_key, |bytes| {
                let mut totals = Totals::decode(bytes.unwrap_or_default());
                totals.absorb(&counts, hostile, slot);
                if !cells.is_empty() {
                    totals.absorb_cells(layout, cells);
                }
                Some(totals.encode())
            });
            // After a lost race the counts stay here until the next time.
            if added.is_ok() {
                account.clear_counts();
                cells.clear();
                total.absorb(&counts);
                if hostile != Count::default() {
                    let name = shared::hostile_key(&key.tenant, &key.resource);
                    let told = replace(host, &name, |bytes| Some(shared::hostile_after(bytes, hostile)));
                    key.hostile = if told.is_ok() { Count::default() } else { hostile };
                }
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

    /// The slot that most of what was counted since the last hand-over came in, for comparison with the forecast; 0 when
    /// no forecast is known of any.
    fn slot_of_counts(&self, host: &mut impl Host) -> u64 {
        let Some((slots, _)) = host.shared_get(shared::SLOTS) else { return 0 };
        let middle = host.now().minus(self.flush_interval() / 2);
        shared::slot_at(&slots, middle)
    }
}
