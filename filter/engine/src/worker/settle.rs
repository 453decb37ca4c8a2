//! The worker's part in settling: its accounts and shared data for [`Settling`], at each point of a stream's life.

use forebay_admission::Nanos;

use super::Worker;
use crate::effect::{Effect, Metric};
use crate::host::Host;
use crate::ledger::SharedLedger;
use crate::settling::{Books, Settling};

impl Worker {
    /// Whether the answer's body is read: then the request asks upstream for one without encoding.
    pub fn reads_answer(&self, stream: u32) -> bool {
        self.settling.get().is_some_and(|settling| settling.reads_body(stream))
    }

    /// Whether something of the stream is still to be settled.
    pub(crate) fn settles(&self, stream: u32) -> bool {
        self.settling.get().is_some_and(|settling| settling.follows(stream))
    }

    /// How many streams are followed to be settled.
    pub fn unsettled_streams(&self) -> usize {
        self.settling.get().map_or(0, Settling::len)
    }

    /// The answer's headers, which the host reads.
    pub(crate) fn settle_headers(&mut self, stream: u32, end_of_stream: bool, host: &mut impl Host) {
        if !self.settles(stream) {
            return;
        }
        if let Some(settling) = self.settling.get_mut() {
            settling.headers(stream, &mut |name| host.response_header(name));
        }
        self.with_books(host, |settling, now, books| {
            if end_of_stream {
                settling.whole(stream, now, books);
            } else {
                settling.known(stream, now, books);
            }
        });
    }

    /// A piece of the answer's body.
    pub(crate) fn settle_body(&mut self, stream: u32, size: usize, chunk: &[u8], end: bool, host: &mut impl Host) {
        if let Some(settling) = self.settling.get_mut() {
            settling.body(stream, size as u64, chunk);
        }
        if end && self.settles(stream) {
            self.with_books(host, |settling, now, books| settling.whole(stream, now, books));
        }
    }

    /// The stream is no more.
    pub(crate) fn settle_end(&mut self, stream: u32, host: &mut impl Host) {
        if self.settles(stream) {
            self.with_books(host, |settling, now, books| settling.gone(stream, now, books));
        }
    }

    /// Long streams, and what lost its races.
    pub(super) fn settle_due(&mut self, now: Nanos, host: &mut impl Host) {
        if self.settling.get().is_some_and(|settling| settling.is_due(now)) {
            self.with_books(host, |settling, now, books| settling.tick(now, books));
        }
    }

    /// What settling came to, for the metrics.
    pub(super) fn settled_counts(&mut self) -> impl Iterator<Item = Effect> + use<> {
        let counts = self.settling.get_mut().map(Settling::take_counts).unwrap_or_default();
        [(Metric::Settled, counts.settled), (Metric::KeptEstimate, counts.estimated)]
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .map(|(metric, n)| Effect::Count(metric, n))
    }

    fn with_books<H: Host>(
        &mut self,
        host: &mut H,
        f: impl FnOnce(&mut Settling, Nanos, &mut Books<'_, SharedLedger<'_, H>>),
    ) {
        let Some(settling) = self.settling.get_mut() else { return };
        let now = host.now();
        let conditions = super::conditions(self.boot, &self.version, self.workers, &self.pools, now);
        let (accounts, mut ledger) = self.keys.open(host);
        let mut books = Books { accounts, conditions: &conditions, ledger: &mut ledger };
        f(settling, now, &mut books);
        // What settling counted is to be handed over.
        self.busy = true;
    }
}
