//! The leader's report, and what its acknowledgement brings: renewed validity and what is expected of the slots.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use forebay_admission::{Expected as ExpectedDemand, Nanos};
use forebay_protocol::envelope::VERSION as PROTOCOL_VERSION;
use forebay_protocol::extension::{
    DETAILS, DetailRow, EXPECTATIONS, MAX_EXPECTED_SLOTS, SlotTime, extension, find, trimmed,
};
use forebay_protocol::{Count, Details, Expectations, Report, ReportAck, Row, SyncStats};

use super::{Leader, in_force};
use crate::cells::names;
use crate::host::{Expected, Host, replace};
use crate::keys::Keys;
use crate::policy::telling::Attribute;
use crate::shared::{self, Boot, Version};
use crate::totals::Totals;

/// Most rows in one report: with names of the longest size it stays below the protocol's body limit.
const MAX_ROWS: usize = 5_000;

/// Most cells of attributes in one report, at up to 13 bytes; keys beyond it come with the next.
const MAX_CELLS_SENT: usize = 16_384;

impl Leader {
    pub(super) fn report(
        &mut self,
        (proxy, boot): (&str, Boot),
        keys: &Keys,
        attributes: &[Attribute],
        host: &mut impl Host,
        now: Nanos,
    ) -> Report {
        self.sent.clear();
        self.sent_revision = keys.revision;
        let mut rows = Vec::new();
        let mut details = Details { attributes: Vec::new(), rows: Vec::new() };
        let mut cells_left = MAX_CELLS_SENT;
        for (index, key) in keys.keys.iter().enumerate() {
            let found = host.shared_get(&key.count_key).filter(|(_, mark)| *mark != key.reported);
            let Some((bytes, mark)) = found else { continue };
            let mut totals = Totals::decode(&bytes);
            if keys.has_hostile {
                let found = host.shared_get(&shared::hostile_key(&key.tenant, &key.resource));
                totals.further.hostile = found.map_or(Count::default(), |(bytes, _)| shared::hostile_of(&bytes));
            }
            let cells = if totals.layout == keys.numbering.layout { totals.cells.as_slice() } else { &[] };
            let cells: Vec<_> = (0u16..).zip(cells.iter().copied()).filter(|(_, count)| *count > 0).collect();
            let Some(left) = cells_left.checked_sub(cells.len()).filter(|_| rows.len() < MAX_ROWS) else { break };
            cells_left = left;
            self.sent.push((index, mark));
            rows.push(Row { tenant: key.tenant.clone(), resource: key.resource.clone(), counters: totals.counters });
            details.rows.push(DetailRow { counts: trimmed(&totals.further.words()).to_vec(), cells });
        }
        if cells_left < MAX_CELLS_SENT {
            details.attributes = names(attributes);
        }
        Report {
            proxy: proxy.to_string(),
            boot_id: boot.id,
            // The steady clock is the same in all workers, so it orders reports across a change of leader.
            sequence: now.0,
            uptime_ms: now.since(boot.born) / Nanos::MILLI,
            generation: in_force(host).generation,
            speaks: vec![PROTOCOL_VERSION],
            rows,
            stats: self.total_stats(host),
            extensions: vec![extension(DETAILS, &details)],
        }
    }

    pub(super) fn acknowledged(&mut self, ack: &ReportAck, keys: &mut Keys, host: &mut impl Host, now: Nanos) {
        // Key numbers may have changed meanwhile; then everything is reported once more, which changes nothing.
        if self.sent_revision == keys.revision {
            for (index, mark) in &self.sent {
                if let Some(key) = keys.keys.get_mut(*index) {
                    key.reported = *mark;
                }
            }
            if let Some(expected) = find::<Expectations>(&ack.extensions, EXPECTATIONS) {
                self.expect(&expected, keys, host, now);
            }
            self.sent.clear();
        }
        let version = in_force(host);
        if version.parts > 0 && version.generation == ack.generation {
            let expires_at = now.plus(u64::from(ack.valid_for_ms) * Nanos::MILLI);
            let _ = host.shared_set(shared::VERSION, &Version { expires_at, ..version }.encode(), Expected::Anything);
        }
    }

    /// Notes when the slots are and what is expected of them. Slots that make no sense are left alone.
    fn expect(&self, expected: &Expectations, keys: &Keys, host: &mut impl Host, now: Nanos) {
        let slots = &expected.slots;
        let ascending = slots.iter().zip(slots.iter().skip(1)).all(|(a, b)| a.id < b.id);
        if slots.is_empty() || slots.len() > MAX_EXPECTED_SLOTS || !ascending {
            return;
        }
        let times: Vec<u64> = slots.iter().flat_map(|slot| time_words(slot, now)).collect();
        // Without it nothing is compared for a while; the next acknowledgement says it again.
        let _ = host.shared_set(shared::SLOTS, &shared::encode_words(&times), Expected::Anything);
        for ((index, _), row) in self.sent.iter().zip(&expected.rows) {
            let Some(key) = keys.keys.get(*index).filter(|_| !row.is_empty()) else { continue };
            // After a lost race the next acknowledgement of this key says it again.
            let _ = replace(host, &key.count_key, |bytes| {
                let before = Totals::decode(bytes?);
                let mut totals = before.clone();
                for (slot, (predicted, upper)) in slots.iter().zip(row) {
                    totals.expect(slot.id, ExpectedDemand { predicted: *predicted, upper: *upper });
                }
                (totals != before).then(|| totals.encode())
            });
        }
    }

    fn total_stats(&self, host: &mut impl Host) -> SyncStats {
        host.shared_get(shared::SYNC).and_then(|(bytes, _)| shared::decode_sync_stats(&bytes)).unwrap_or_default()
    }
}

/// A slot's record at [`shared::SLOTS`].
fn time_words(slot: &SlotTime, now: Nanos) -> [u64; 3] {
    let offset = slot.starts_in_ms.unsigned_abs().saturating_mul(Nanos::MILLI);
    let length = u64::from(slot.length_ms).saturating_mul(Nanos::MILLI);
    // One that began before the steady clock's origin is cut at its own end.
    let (start, end) = if slot.starts_in_ms < 0 {
        (now.minus(offset), now.plus(length).minus(offset))
    } else {
        (now.plus(offset), now.plus(offset).plus(length))
    };
    [slot.id, start.0, end.0]
}
