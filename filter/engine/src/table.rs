//! A grant table from the wire into steady time: parsed once, into domain types, refused whole when it is not sane.

use alloc::string::String;
use alloc::vec::Vec;

use forebay_admission::{Grant, Limit, Nanos, Rate, Slot};
use forebay_protocol::extension::{MAX_READY_IN_MS, PROVISIONING, find};
use forebay_protocol::policy::MAX_NAME_BYTES;
use forebay_protocol::{GrantTable, Provisioning, v1};

/// Longest answer in bytes that is looked at.
pub const MAX_ANSWER_BYTES: usize = 256 << 10;

/// Most parts of a table: 64 x 256 KiB hold a hundred thousand keys.
pub const MAX_PARTS: u16 = 64;

/// Most keys that a proxy takes from a controller: about 400 bytes each in every VM, 26 MiB.
pub const MAX_KEYS: usize = 65_536;

/// Most slots of one grant: a day in quarters of an hour.
pub const MAX_SLOTS: usize = 96;

/// A key and what it is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGrant {
    /// The tenant, or [`forebay_protocol::OTHERS`].
    pub tenant: String,
    /// The resource.
    pub resource: String,
    /// In steady time.
    pub grant: Grant,
    /// The forecast behind the grant's slots; 0 without one.
    pub forecast_version: u64,
    /// When its pool, which is short, is expected to have more capacity ready; the origin when nothing is known. It says
    /// nothing once it has passed.
    pub more_at: Nanos,
}

/// The grants of a part that arrived at `arrived`. `None` when the part breaks a rule of the protocol: names out of
/// bounds, slots that are too many, not ascending or overlapping, a part number beyond the parts.
pub fn grants(part: &GrantTable, arrived: Nanos) -> Option<Vec<KeyGrant>> {
    if part.parts == 0 || part.parts > MAX_PARTS || part.part >= part.parts || part.grants.len() > MAX_KEYS {
        return None;
    }
    let mut grants: Vec<KeyGrant> = part.grants.iter().map(|grant| key_grant(grant, arrived)).collect::<Option<_>>()?;
    // Beside the grants and not part of them: what is odd about it takes no table from force.
    for more in find::<Provisioning>(&part.extensions, PROVISIONING).unwrap_or_default().rows {
        let grant = usize::try_from(more.row).ok().and_then(|row| grants.get_mut(row));
        if let (Some(grant), ..=MAX_READY_IN_MS) = (grant, more.in_ms) {
            grant.more_at = arrived.plus(u64::from(more.in_ms).saturating_mul(Nanos::MILLI));
        }
    }
    Some(grants)
}

fn key_grant(wire: &v1::Grant, arrived: Nanos) -> Option<KeyGrant> {
    let named = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains('\0');
    if !named(&wire.tenant) || !named(&wire.resource) || wire.slots.len() > MAX_SLOTS {
        return None;
    }
    let slots: Vec<Slot> = wire.slots.iter().map(|wire| slot(wire, arrived)).collect();
    let ascending = |(a, b): (&Slot, &Slot)| a.id < b.id && a.end <= b.start;
    if !slots.iter().zip(slots.iter().skip(1)).all(ascending) {
        return None;
    }
    Some(KeyGrant {
        tenant: wire.tenant.clone(),
        resource: wire.resource.clone(),
        grant: Grant { standard: limit(&wire.standard), safe: limit(&wire.safe), slots, pool: None },
        forecast_version: wire.forecast_version,
        more_at: Nanos::default(),
    })
}

fn limit(wire: &v1::Limit) -> Limit {
    Limit::new(Rate::from_milli_per_s(wire.rate_milli_per_s), wire.burst)
}

fn slot(wire: &v1::Slot, arrived: Nanos) -> Slot {
    let offset = wire.starts_in_ms.unsigned_abs().saturating_mul(Nanos::MILLI);
    let length = u64::from(wire.length_ms).saturating_mul(Nanos::MILLI);
    // A running slot began before the answer; one that began before the steady clock's origin is cut at its own end.
    let (start, end) = if wire.starts_in_ms < 0 {
        (arrived.minus(offset), arrived.plus(length).minus(offset))
    } else {
        (arrived.plus(offset), arrived.plus(offset).plus(length))
    };
    Slot { id: wire.id, start, end, amount: wire.amount, pace: limit(&wire.pace) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use forebay_protocol::Generation;

    fn table(slots: Vec<v1::Slot>) -> GrantTable {
        let grant = v1::Grant {
            tenant: "a".into(),
            resource: "r".into(),
            standard: v1::Limit { rate_milli_per_s: 1_000, burst: 2 },
            safe: v1::Limit::default(),
            forecast_version: 0,
            slots,
        };
        GrantTable {
            generation: Generation::default(),
            part: 0,
            parts: 1,
            valid_for_ms: 1,
            grants: vec![grant],
            extensions: vec![],
        }
    }

    fn slot_at(id: u64, starts_in_ms: i64) -> v1::Slot {
        v1::Slot { id, starts_in_ms, length_ms: 10, amount: 1, pace: v1::Limit::default() }
    }

    #[test]
    fn offsets_become_instants() {
        let arrived = Nanos(100 * Nanos::MILLI);
        let grants = grants(&table(vec![slot_at(1, -4), slot_at(2, 6)]), arrived).unwrap();
        let spans: Vec<_> =
            grants[0].grant.slots.iter().map(|s| (s.start.0 / Nanos::MILLI, s.end.0 / Nanos::MILLI)).collect();
        assert_eq!(spans, [(96, 106), (106, 116)]);
    }

    #[test]
    fn what_is_provisioned_is_told_to_the_keys_it_names_and_harms_no_table() {
        use forebay_protocol::extension::{MoreReady, extension};
        let arrived = Nanos(100 * Nanos::MILLI);
        let mut part = table(vec![]);
        part.grants = vec![part.grants[0].clone(); 3];
        let more_at = |part: &GrantTable| -> Vec<u64> {
            grants(part, arrived).unwrap().iter().map(|key| key.more_at.0 / Nanos::MILLI).collect()
        };
        assert_eq!(more_at(&part), [0, 0, 0]);
        let rows = [(1, 250), (2, MAX_READY_IN_MS + 1), (3, 9), (u32::MAX, 9)];
        let rows = rows.map(|(row, in_ms)| MoreReady { row, in_ms }).to_vec();
        part.extensions = vec![extension(PROVISIONING, &Provisioning { rows })];
        assert_eq!(more_at(&part), [0, 350, 0], "too late, or of no key of this part");
        part.extensions[0].bytes.truncate(2);
        assert_eq!(more_at(&part), [0, 0, 0], "damage says nothing, and the grants stay");
    }

    #[test]
    fn insane_tables_are_refused_whole() {
        let arrived = Nanos(0);
        assert!(grants(&table(vec![slot_at(2, 0), slot_at(1, 10)]), arrived).is_none(), "ids descend");
        assert!(grants(&table(vec![slot_at(1, 0), slot_at(2, 9)]), arrived).is_none(), "slots overlap");
        assert!(grants(&table((0..97).map(|i| slot_at(i, i as i64 * 10)).collect()), arrived).is_none(), "too many");
        let mut part = table(vec![]);
        part.part = 1;
        assert!(grants(&part, arrived).is_none(), "part 1 of 1");
        let mut nul = table(vec![]);
        nul.grants[0].tenant = "a\0b".into();
        assert!(grants(&nul, arrived).is_none(), "NUL separates names in shared data");
    }
}
