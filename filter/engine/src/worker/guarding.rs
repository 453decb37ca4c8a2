//! The worker's part in guarding upstreams, at each point of a stream's life.

use alloc::string::String;
use alloc::vec::Vec;

use forebay_admission::Nanos;

use super::Worker;
use crate::effect::Effect;
use crate::host::Host;
use crate::metric_names::cluster_gauge;

impl Worker {
    /// Streams of this worker that hold a slot of an upstream.
    pub fn in_flight(&self) -> usize {
        self.streams.guards().map_or(0, |guards| guards.in_flight())
    }

    /// The name of the gauge that [`Effect::GuardLimit`] gave by number.
    pub fn guard_gauge(&self, number: u16) -> Option<String> {
        Some(cluster_gauge(&self.streams.guards()?.name(number)?))
    }

    /// Whether the stream holds a slot.
    pub(crate) fn holds_slot(&self, stream: u32) -> bool {
        self.streams.guards().is_some_and(|guards| guards.knows(stream))
    }

    /// The answer's headers are here.
    pub(crate) fn guard_answered(&mut self, stream: u32, host: &mut impl Host) {
        if let Some(guards) = self.streams.guards_mut() {
            guards.answered(stream, host);
        }
    }

    /// The stream is no more.
    pub(crate) fn guard_ended(&mut self, stream: u32, host: &mut impl Host) {
        if let Some(guards) = self.streams.guards_mut() {
            guards.ended(stream, host);
        }
    }

    /// The long tick.
    pub(super) fn guard_tick(&mut self, now: Nanos, host: &mut impl Host, effects: &mut Vec<Effect>) {
        let member = self.member;
        if let Some(guards) = self.streams.guards_mut() {
            guards.tick(member, now, host, effects);
        }
    }
}
