//! Version 1 of the messages. Frozen: a change of a field is a new version beside this one.
//!
//! Units: rates in milli-units per second, costs, bursts and amounts in whole units, durations in milliseconds.
//! Times are offsets from the moment of the answer, because filter and controller share no clock.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::envelope::Kind;

/// A table's place in the order of all tables. Filters refuse an older one; a new epoch follows a take-over or a
/// restored store, so that nothing valid is ever refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation {
    /// The planner's shard. One process is shard 0.
    pub shard: u32,
    /// Raised at every start of a planner.
    pub epoch: u64,
    /// Raised with every plan.
    pub sequence: u64,
}

/// A field that a later version added: `tag` names it, unknown tags are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Which field.
    pub tag: u16,
    /// Its encoded value.
    pub bytes: Vec<u8>,
}

/// Filter to controller, each second: what the whole proxy counted since it booted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The proxy's name, unique in the mesh.
    pub proxy: String,
    /// New whenever the proxy's shared data was lost, that is when the counters restart from zero.
    pub boot_id: u64,
    /// Rises with every report of one boot; a report that is not newer than the last one is ignored.
    pub sequence: u64,
    /// Time since the boot: what the counters of a proxy never heard of before are spread over.
    pub uptime_ms: u64,
    /// The table in force.
    pub generation: Generation,
    /// Versions of this protocol that the filter speaks.
    pub speaks: Vec<u16>,
    /// Keys whose counters moved since the last acknowledged report (all keys after a change of leader).
    pub rows: Vec<Row>,
    /// How the sync path itself fares.
    pub stats: SyncStats,
    /// Later fields.
    pub extensions: Vec<Extension>,
}

/// One key's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The tenant, or [`crate::OTHERS`].
    pub tenant: String,
    /// The resource.
    pub resource: String,
    /// Cumulative since the boot.
    pub counters: Counters,
}

/// Cumulative counts of one key. Offered demand is the sum of the three lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests admitted from the shadow bucket.
    pub reserved_requests: u64,
    /// Their cost, in units.
    pub reserved_units: u64,
    /// Requests admitted from the standard bucket.
    pub standard_requests: u64,
    /// Their cost, in units.
    pub standard_units: u64,
    /// Requests refused.
    pub refused_requests: u64,
    /// Their cost, in units.
    pub refused_units: u64,
}

/// Cumulative counts of the sync path, since the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStats {
    /// Answers that could not be decoded.
    pub undecodable_answers: u64,
    /// Answers above the size limit.
    pub oversized_answers: u64,
    /// Tables older than the one in force.
    pub stale_tables: u64,
    /// Calls that failed or timed out.
    pub failed_calls: u64,
    /// Tables taken into force.
    pub tables_applied: u64,
}

/// Controller to filter, in answer to a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAck {
    /// The newest table that the controller has.
    pub generation: Generation,
    /// How long that table stays valid from now, when the filter has exactly it.
    pub valid_for_ms: u32,
    /// Later fields.
    pub extensions: Vec<Extension>,
}

/// Filter to controller: answer when there is something newer than what I know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The proxy's name.
    pub proxy: String,
    /// As in [`Report`].
    pub boot_id: u64,
    /// The table in force; all zero when there is none.
    pub known: Generation,
    /// The table being collected part by part, and the next part wanted; `None` between tables.
    pub collecting: Option<(Generation, u16)>,
    /// Versions of this protocol that the filter speaks.
    pub speaks: Vec<u16>,
    /// Later fields.
    pub extensions: Vec<Extension>,
}

/// Controller to filter: one part of a table that names every contracted key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantTable {
    /// Which table.
    pub generation: Generation,
    /// This part, from 0.
    pub part: u16,
    /// Number of parts, at least 1.
    pub parts: u16,
    /// How long the grants hold from now; afterwards each key falls to its safe share.
    pub valid_for_ms: u32,
    /// The grants of this part.
    pub grants: Vec<Grant>,
    /// Later fields.
    pub extensions: Vec<Extension>,
}

/// What one proxy may admit for one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The tenant, or [`crate::OTHERS`].
    pub tenant: String,
    /// The resource.
    pub resource: String,
    /// Share of the contract's rate and burst while the table is valid.
    pub standard: Limit,
    /// Share to fall back to when validity ends.
    pub safe: Limit,
    /// The forecast behind the slots; 0 without one.
    pub forecast_version: u64,
    /// The shadow schedule, ascending and not overlapping.
    pub slots: Vec<Slot>,
}

/// A token bucket's parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Refill, in milli-units per second.
    pub rate_milli_per_s: u64,
    /// Depth, in units.
    pub burst: u64,
}

/// Pre-allocated capacity for a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The same for the same stretch in every generation: what was spent stays spent when a grant is pushed again.
    pub id: u64,
    /// Start, from the moment of the answer; negative when it has begun.
    pub starts_in_ms: i64,
    /// Length.
    pub length_ms: u32,
    /// Units to spend in it. Nothing carries over.
    pub amount: u64,
    /// How fast they may be spent.
    pub pace: Limit,
}

/// A decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the message that it names")]
pub enum Message {
    Report(Report),
    ReportAck(ReportAck),
    Watch(Watch),
    GrantTable(GrantTable),
}

impl Message {
    /// The envelope's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Report(_) => Kind::Report,
            Self::ReportAck(_) => Kind::ReportAck,
            Self::Watch(_) => Kind::Watch,
            Self::GrantTable(_) => Kind::GrantTable,
        }
    }
}
