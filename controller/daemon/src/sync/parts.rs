//! A proxy's table in parts that stay below 256 KiB.
//!
//! Every part of one generation must be cut at the same places, whenever it is asked for; so the cut goes by the longest
//! that a grant can be on the wire, which depends on the plan alone, and not by its present bytes, in which times vary.
//! Times are offsets from the moment of the answer.
//!
//! Beside the grants a part says which of its keys are short of capacity that is being provisioned, and in how long there
//! is more: clients that are refused are told to come back then.

use std::ops::Range;
use std::time::Duration;

use forebay_plan::{Grant, Mark, Share, share};
use forebay_protocol::extension::{MAX_READY_IN_MS, MoreReady, PROVISIONING, extension};
use forebay_protocol::{Extension, GrantTable, Limit, Message, Provisioning, Slot, Watch, encode};

use crate::state::{Shared, Table, generation};

/// Most bytes of a part's grants; the rest of 256 KiB is for the envelope and the table's own fields.
const PART_BYTES: usize = 255 << 10;
/// A varint of a u64.
const VARINT_BYTES: usize = 10;
/// Two limits (two varints each), the forecast version, and three lengths of at most three bytes.
const GRANT_BYTES: usize = 5 * VARINT_BYTES + 9 + MORE_READY_BYTES;
/// A row's number in three bytes and up to an hour of milliseconds in four, whether the key has it or not.
const MORE_READY_BYTES: usize = 7;
/// Id, start, length, amount and the two varints of the pace.
const SLOT_BYTES: usize = 6 * VARINT_BYTES;

impl Shared {
    /// The part that answers this watch, or `None` when it is to be held: the filter has the table or a newer one, or
    /// the table has no share for this proxy yet. With the mark of the hand that it is a part of.
    pub(crate) fn next_part(&self, watch: &Watch, table: &Table) -> Option<(Option<Mark>, Vec<u8>)> {
        let hand = match &table.hands {
            Some(hands) => Some(hands.get(&watch.proxy)?),
            None => None,
        };
        let ours = hand.map_or(table.generation, |hand| generation(hand.mark));
        let wanted = match watch.collecting {
            Some((generation, part)) if generation == ours => part,
            // A part of another table is of no use any more; the newest one begins at its start.
            Some(_) => 0,
            None if (watch.known.epoch, watch.known.sequence) >= (ours.epoch, ours.sequence) => return None,
            None => 0,
        };
        let grants = match hand {
            Some(hand) => hand.plan.grants.iter().zip(&hand.shares).map(dealt).collect(),
            None => {
                let index = table.proxies.binary_search(&watch.proxy).ok()?;
                let equal = share(&table.plan, index, table.proxies.len());
                // All proxies together stay within the contract, cut off or not.
                equal.into_iter().map(|grant| (grant.standard, grant)).collect::<Vec<_>>()
            }
        };
        let cuts = cut(&grants);
        let wanted = if usize::from(wanted) < cuts.len() { wanted } else { 0 };
        let range = cuts.get(usize::from(wanted))?.clone();
        let now_s = self.clock.calendar_now_s();
        let more_at = table.more_at.get(range.clone()).unwrap_or_default();
        let extensions = provisioning(more_at, self.clock.steady_now()).into_iter().collect();
        let grants = grants.get(range)?.iter().map(|(safe, grant)| self.wire(grant, *safe, now_s)).collect();
        let part = encode(&Message::GrantTable(GrantTable {
            generation: ours,
            part: wanted,
            parts: u16::try_from(cuts.len()).ok()?,
            valid_for_ms: milliseconds(self.config.sync.grant_validity),
            grants,
            extensions,
        }));
        Some((hand.map(|hand| hand.mark), part))
    }

    fn wire(&self, grant: &Grant, safe: forebay_plan::Limit, now_s: f64) -> forebay_protocol::Grant {
        let slots = grant.slots.iter().map(|slot| {
            let starts_s = slot.id as f64 * f64::from(self.config.step_s);
            Slot {
                id: slot.id,
                starts_in_ms: ((starts_s - now_s) / self.clock.speed() * 1000.0).round() as i64,
                length_ms: slot.length_ms,
                amount: slot.amount,
                pace: limit(slot.pace),
            }
        });
        forebay_protocol::Grant {
            tenant: grant.key.tenant.clone(),
            resource: grant.key.resource.clone(),
            standard: limit(grant.standard),
            safe: limit(safe),
            forecast_version: grant.forecast_version,
            slots: slots.collect(),
        }
    }
}

/// Whole milliseconds, as far as the wire has room for them.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn limit(limit: forebay_plan::Limit) -> Limit {
    Limit { rate_milli_per_s: limit.rate_milli_per_s, burst: limit.burst }
}

/// What is told of the keys of a part; nothing where nothing is known.
fn provisioning(more_at: &[Option<Duration>], now: Duration) -> Option<Extension> {
    let more = |(row, more_at): (usize, &Option<Duration>)| {
        let in_ms = milliseconds(more_at.as_ref()?.checked_sub(now)?);
        let row = u32::try_from(row).ok()?;
        (1..=MAX_READY_IN_MS).contains(&in_ms).then_some(MoreReady { row, in_ms })
    };
    let rows: Vec<MoreReady> = more_at.iter().enumerate().filter_map(more).collect();
    (!rows.is_empty()).then(|| extension(PROVISIONING, &Provisioning { rows }))
}

/// A share as a grant, with the safe limit beside it.
fn dealt((grant, share): (&Grant, &Share)) -> (forebay_plan::Limit, Grant) {
    let forecast_version = share.forecast_version;
    (
        share.safe,
        Grant { key: grant.key.clone(), standard: share.standard, forecast_version, slots: share.slots.clone() },
    )
}

/// Where the parts begin and end; at least one part.
fn cut(grants: &[(forebay_plan::Limit, Grant)]) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut begins, mut bytes) = (0, 0);
    for (i, (_, grant)) in grants.iter().enumerate() {
        let names = grant.key.tenant.len() + grant.key.resource.len();
        let longest = GRANT_BYTES + names + grant.slots.len() * SLOT_BYTES;
        if bytes + longest > PART_BYTES && i > begins {
            parts.push(begins..i);
            (begins, bytes) = (i, 0);
        }
        bytes += longest;
    }
    parts.push(begins..grants.len());
    parts
}

#[cfg(test)]
mod tests {
    use forebay_plan::{Key, Limit, Slot};
    use forebay_protocol::extension::find;

    use super::*;

    #[test]
    fn parts_are_gapless() {
        let pace = Limit { rate_milli_per_s: u64::MAX, burst: u64::MAX };
        let slot = Slot { id: u64::MAX, length_ms: u32::MAX, amount: u64::MAX, pace };
        let grant = |i| Grant {
            key: Key::new(format!("tenant-{i}"), "requests"),
            standard: pace,
            forecast_version: u64::MAX,
            slots: vec![slot; 96],
        };
        let grants: Vec<_> = (0..1000).map(|i| (pace, grant(i))).collect();
        let parts = cut(&grants);
        assert!(parts.len() > 2);
        assert_eq!((parts[0].start, parts[parts.len() - 1].end), (0, 1000));
        assert!(parts.windows(2).all(|two| two[0].end == two[1].start && !two[0].is_empty()));
        assert_eq!(cut(&[]), vec![0..0], "an empty table has one empty part");
    }

    #[test]
    fn what_has_passed_or_is_too_far_away_is_not_told() {
        let s = Duration::from_secs;
        let more_at = [None, Some(s(100)), Some(s(90)), Some(s(40)), Some(s(3_691)), Some(s(3_690))];
        let told = provisioning(&more_at, s(90)).unwrap();
        let rows = [(1, 10_000), (5, MAX_READY_IN_MS)].map(|(row, in_ms)| MoreReady { row, in_ms }).to_vec();
        assert_eq!(find(&[told], PROVISIONING), Some(Provisioning { rows }));
        assert_eq!(provisioning(&more_at, s(4_000)), None, "a table without it is the table that it always was");
        let last = vec![Some(Duration::from_millis(u64::from(MAX_READY_IN_MS))); 60_000];
        let bytes = provisioning(&last, Duration::ZERO).unwrap().bytes.len();
        assert!(bytes <= 60_000 * MORE_READY_BYTES + 3, "{bytes} bytes");
    }
}
