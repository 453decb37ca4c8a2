//! The one worker of a proxy that talks to the controller.
//!
//! Leadership is a lease in shared data, renewed while the VM ticks; a VM that dies is followed within
//! [`LEADERSHIP`]. The leader sends a *report* each interval and keeps one *watch* hanging; a table that arrives goes to
//! shared data, part by part, and comes into force for all workers, the leader included, by the version record. Two
//! banks take turns, so that a table is never overwritten while it is the one in force.
//!
//! Nothing from the network can do harm: what does not decode, is too large or is older than the table in force is
//! counted and dropped, the last good table stays, and its expiry brings the safe shares. Failures are retried with
//! exponential pauses, jittered by the member's number so that a mesh does not retry in step.

mod reporting;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use forebay_admission::Nanos;
use forebay_protocol::envelope::VERSION as PROTOCOL_VERSION;
use forebay_protocol::{Generation, GrantTable, Message, SyncStats, Watch};

use crate::config::Controller;
use crate::effect::{CallKind, CallOut, Effect, Metric};
use crate::host::{Expected, Host, replace};
use crate::keys::Keys;
use crate::policy::telling::Attribute;
use crate::shared::{self, Boot, Leadership, Version};
use crate::table;

/// How long leadership lasts without renewal.
pub const LEADERSHIP: u64 = 3 * Nanos::SECOND;

/// Time-out of a report.
const REPORT_TIMEOUT_MS: u32 = 5_000;

/// Time-out of a watch; the controller holds it 20 s.
const WATCH_TIMEOUT_MS: u32 = 30_000;

/// First and longest pause after failed calls.
const PAUSES_MS: (u64, u64) = (100, 5_000);

/// An answer as the host delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Connection failure, reset, or no such cluster.
    Failed,
    /// A body above [`table::MAX_ANSWER_BYTES`], not read.
    Oversized,
    /// Status and body.
    Received {
        /// HTTP status.
        status: u16,
        /// The whole body.
        body: Vec<u8>,
    },
}

/// One of the two calls.
#[derive(Debug, Default)]
struct Line {
    in_flight: bool,
    failures: u32,
    next: Nanos,
}

/// The leader's state; idle in workers that do not lead.
#[derive(Debug, Default)]
pub(crate) struct Leader {
    member: u64,
    until: Nanos,
    report: Line,
    watch: Line,
    /// Keys of the report under way, in the order of its rows, with the marks of their counts.
    sent: Vec<(usize, u32)>,
    sent_revision: u64,
    collecting: Option<(Generation, u16)>,
    stats: SyncStats,
    proxy: Option<String>,
}

impl Leader {
    /// Whether this worker was the leader when it last stood.
    pub(crate) fn leads(&self) -> bool {
        self.until > Nanos::default()
    }

    /// Takes, keeps or leaves the leadership.
    pub(crate) fn stand(&mut self, member: u64, host: &mut impl Host, now: Nanos) {
        self.member = member;
        let mine = Leadership { member, until: now.plus(LEADERSHIP) };
        let mut won = false;
        let written = replace(host, shared::LEADER, |bytes| {
            let holder = bytes.and_then(Leadership::decode);
            won = holder.is_none_or(|holder| holder.member == member || now >= holder.until);
            won.then(|| mine.encode())
        });
        self.until = if won && written.is_ok() { mine.until } else { Nanos::default() };
        if self.until <= now {
            self.collecting = None;
        }
    }

    /// Sends what is due, if this worker leads.
    #[allow(clippy::too_many_arguments, reason = "the worker's parts, borrowed one by one")]
    pub(crate) fn act(
        &mut self,
        controller: &Controller,
        proxy_id: Option<&str>,
        boot: Boot,
        keys: &mut Keys,
        attributes: &[Attribute],
        host: &mut impl Host,
        now: Nanos,
        effects: &mut Vec<Effect>,
    ) {
        self.hand_over_stats(host, effects);
        if now >= self.until {
            return;
        }
        let proxy = self.proxy_name(proxy_id, host);
        let call = |kind, message: &Message, timeout_ms| {
            Effect::Call(CallOut {
                kind,
                cluster: controller.cluster.clone(),
                authority: controller.authority.clone(),
                body: forebay_protocol::encode(message),
                timeout_ms,
            })
        };
        if self.report.due(now) {
            self.report.in_flight = true;
            self.report.next = now.plus(u64::from(controller.report_interval_ms) * Nanos::MILLI);
            let report = Message::Report(self.report((&proxy, boot), keys, attributes, host, now));
            effects.push(call(CallKind::Report, &report, REPORT_TIMEOUT_MS));
        }
        if self.watch.due(now) {
            self.watch.in_flight = true;
            let watch = Message::Watch(Watch {
                proxy,
                boot_id: boot.id,
                known: in_force(host).generation,
                collecting: self.collecting,
                speaks: vec![PROTOCOL_VERSION],
                extensions: vec![],
            });
            effects.push(call(CallKind::Watch, &watch, WATCH_TIMEOUT_MS));
        }
    }

    /// Takes an answer in.
    pub(crate) fn answered(
        &mut self,
        kind: CallKind,
        answer: Answer,
        keys: &mut Keys,
        host: &mut impl Host,
        effects: &mut Vec<Effect>,
    ) {
        let now = host.now();
        let understood = match (kind, answer) {
            (_, Answer::Oversized) => {
                self.stats.oversized_answers += 1;
                false
            }
            // Nothing new within the time: ask again.
            (CallKind::Watch, Answer::Received { status: 204 | 504, .. }) => true,
            (_, Answer::Received { status: 200, body }) => match (kind, forebay_protocol::decode(&body)) {
                (CallKind::Report, Ok(Message::ReportAck(ack))) => {
                    self.acknowledged(&ack, keys, host, now);
                    true
                }
                (CallKind::Watch, Ok(Message::GrantTable(part))) => self.arrived(&part, &body, host, now),
                _ => {
                    self.stats.undecodable_answers += 1;
                    false
                }
            },
            (_, Answer::Failed | Answer::Received { .. }) => {
                self.stats.failed_calls += 1;
                false
            }
        };
        let (member, line) = match kind {
            CallKind::Report => (self.member, &mut self.report),
            CallKind::Watch => (self.member, &mut self.watch),
        };
        line.in_flight = false;
        if understood {
            line.failures = 0;
        } else {
            if kind == CallKind::Watch {
                // A failed watch starts its table over.
                self.collecting = None;
            }
            line.failures = line.failures.saturating_add(1);
            let pause_ms = pause_ms(line.failures, member);
            line.next = line.next.max(now.plus(pause_ms * Nanos::MILLI));
            if line.failures == 1 {
                effects.push(Effect::Warn(format!("forebay: {kind:?} to the controller failed; trying again")));
            }
        }
    }

    /// One part of a table. `false` when it is not usable.
    fn arrived(&mut self, part: &GrantTable, bytes: &[u8], host: &mut impl Host, now: Nanos) -> bool {
        let current = in_force(host);
        if current.parts > 0 && part.generation <= current.generation {
            self.collecting = None;
            if part.generation < current.generation {
                self.stats.stale_tables += 1;
                return false;
            }
            return true;
        }
        let expected = match self.collecting {
            Some((generation, next)) if generation == part.generation => next,
            _ => 0,
        };
        if table::grants(part, now).is_none() || part.part != expected {
            self.stats.undecodable_answers += 1;
            return false;
        }
        let bank = current.bank ^ 1;
        let mut value = Vec::with_capacity(8 + bytes.len());
        value.extend_from_slice(&now.0.to_le_bytes());
        value.extend_from_slice(bytes);
        let key = shared::table_key(bank, u64::from(part.part));
        if host.shared_set(&key, &value, Expected::Anything).is_err() {
            return false;
        }
        if part.part + 1 < part.parts {
            self.collecting = Some((part.generation, part.part + 1));
            return true;
        }
        self.collecting = None;
        let version = Version {
            generation: part.generation,
            expires_at: now.plus(u64::from(part.valid_for_ms) * Nanos::MILLI),
            bank,
            parts: u64::from(part.parts),
        };
        self.stats.tables_applied += 1;
        host.shared_set(shared::VERSION, &version.encode(), Expected::Anything).is_ok()
    }

    /// Adds this worker's part of the sync counters to the proxy's.
    fn hand_over_stats(&mut self, host: &mut impl Host, effects: &mut Vec<Effect>) {
        if self.stats == SyncStats::default() {
            return;
        }
        let mine = self.stats;
        let added = replace(host, shared::SYNC, |bytes| {
            let all = bytes.and_then(shared::decode_sync_stats).unwrap_or_default();
            Some(shared::encode_sync_stats(&SyncStats {
                undecodable_answers: all.undecodable_answers.saturating_add(mine.undecodable_answers),
                oversized_answers: all.oversized_answers.saturating_add(mine.oversized_answers),
                stale_tables: all.stale_tables.saturating_add(mine.stale_tables),
                failed_calls: all.failed_calls.saturating_add(mine.failed_calls),
                tables_applied: all.tables_applied.saturating_add(mine.tables_applied),
            }))
        });
        if added.is_ok() {
            self.stats = SyncStats::default();
            let counted = [
                (Metric::UndecodableAnswers, mine.undecodable_answers),
                (Metric::OversizedAnswers, mine.oversized_answers),
                (Metric::StaleTables, mine.stale_tables),
                (Metric::FailedCalls, mine.failed_calls),
                (Metric::TablesApplied, mine.tables_applied),
            ];
            effects.extend(counted.iter().filter(|(_, n)| *n > 0).map(|(metric, n)| Effect::Count(*metric, *n)));
        }
    }

    fn proxy_name(&mut self, configured: Option<&str>, host: &mut impl Host) -> String {
        if self.proxy.is_none() {
            let name = match configured {
                Some(name) => Some(name.to_string()),
                None => host.proxy_name().and_then(|bytes| String::from_utf8(bytes).ok()),
            };
            self.proxy = name.filter(|name| !name.is_empty());
        }
        self.proxy.clone().unwrap_or_else(|| "unnamed".to_string())
    }
}

impl Line {
    fn due(&self, now: Nanos) -> bool {
        !self.in_flight && now >= self.next
    }
}

fn in_force(host: &mut impl Host) -> Version {
    host.shared_get(shared::VERSION).and_then(|(bytes, _)| Version::decode(&bytes)).unwrap_or_default()
}

/// Exponential, with up to a half more by the member's number and the attempt.
fn pause_ms(failures: u32, member: u64) -> u64 {
    let (first, longest) = PAUSES_MS;
    let pause = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
    let spread = member.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(failures)) % (pause / 2);
    pause + spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ_between_members() {
        for failures in 1..40 {
            let pause = pause_ms(failures, 7);
            assert!((100..7_500).contains(&pause), "{failures}: {pause}");
        }
        assert!(pause_ms(10, 1) != pause_ms(10, 2));
        assert!(pause_ms(8, 1) >= 5_000);
    }
}
