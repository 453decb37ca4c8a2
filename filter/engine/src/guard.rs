//! The guard of upstream concurrency: which cluster a request goes to, whether a slot of it is free, and when the slot is.
//!
//! [`Guard`] of the admission crate counts one worker's requests against the proxy's limit; here is what it does not know:
//! the clusters by name, the streams, and what the host says of an answer. A request asks after its tokens are in hand and
//! before they are spent ([`attempt`]), so that a refusal has nothing to refund. Its slot is held until its stream ends,
//! however it ends; its latency runs until the answer's headers, so that a long body is work in flight and no slowness.
//! An answer that did not come from upstream (a later filter's, a cluster without healthy hosts) says nothing about it,
//! but for time-outs, which say the most.
//!
//! The cluster is that of the route before this filter marks the request; a route that depends on the lane can lead it to
//! another one. Only requests that a rule limits are guarded: what is exempt, under no rule, or was charged at an earlier
//! proxy goes on, and is not counted.
//!
//! Invariants: at most [`MAX_CLUSTERS`] are known, the first that requests went to since the proxy's start (their names
//! come from its configuration), and requests to others are counted and not guarded; a stream holds at most one slot, and
//! none after its end; without a guard in the policy nothing here exists and the host is asked nothing.

mod gate;

use alloc::string::String;
use alloc::vec::Vec;

use forebay_admission::concurrency::{Ending, Strategy};
use forebay_admission::{ClusterState, Contended, Guard, GuardLedger, GuardSettings, Nanos};
use forebay_protocol::policy::{self as document, GuardMode, MAX_NAME_BYTES};
use hashbrown::HashMap;

use crate::effect::{Effect, Metric};
use crate::host::{Host, replace};
use crate::shared;
use crate::waiting::Need;

pub(crate) use gate::{Attempt, Gate, attempt};

/// Clusters of a proxy that are guarded. In shared data each takes 1,600 bytes and its name, 475 KiB in all; in a worker
/// about 300 bytes.
pub const MAX_CLUSTERS: usize = 256;

/// Slots at the start, unless the policy's least is more or its most less: at 10 ms an answer 10,000 requests a second
/// pass, so that a proxy that starts while all is well refuses nobody; from there an overload is met in a few seconds.
pub const START_CONCURRENCY: u64 = 100;

/// How long a worker that found all rows of the list of clusters taken does not look at it again.
const FULL_FOR: u64 = Nanos::SECOND;

const CLUSTER: &str = "xds\0cluster_name";
const DETAILS: &str = "response\0code_details";

/// A guard, compiled from the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    limit: GuardSettings,
    dry_run: bool,
}

impl Settings {
    /// Of a checked document; `None` when it has no guard.
    pub(crate) fn compile(guard: &document::Guard) -> Option<Self> {
        let strategy = match guard.mode {
            GuardMode::Off => return None,
            GuardMode::Gradient => Strategy::Gradient,
            GuardMode::Codel => Strategy::Delay { target_ns: u64::from(guard.target_ms?) * Nanos::MILLI },
        };
        let most = u64::from(guard.max_concurrency);
        let least = u64::from(guard.min_concurrency).min(most);
        let start = START_CONCURRENCY.clamp(least, most);
        Some(Self {
            limit: GuardSettings { strategy, start, least, most, ..GuardSettings::default() },
            dry_run: guard.dry_run,
        })
    }
}

#[derive(Debug)]
struct Cluster {
    guard: Guard,
    /// The limit that the proxy's stats say.
    told: u64,
    /// Whether the limit is the proxy's, and not only the one to start with.
    synced: bool,
}

impl Cluster {
    fn sync(&mut self, number: usize, now: Nanos, host: &mut impl Host) {
        self.guard.sync(number, now, &mut SharedGuards { host, failed: false });
        self.synced = true;
    }
}

/// What a worker knows of the clusters that requests go to.
#[derive(Debug)]
pub(crate) struct Guards {
    settings: Settings,
    /// Who holds this worker's slots; 0 before it has a number.
    member: u64,
    numbers: HashMap<Vec<u8>, usize>,
    /// By number.
    clusters: Vec<Cluster>,
    /// The cluster in which a stream holds a slot.
    flights: HashMap<u32, usize>,
    full_until: Nanos,
    counts: [(Metric, u64); 3],
}

impl Guards {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            member: 0,
            numbers: HashMap::new(),
            clusters: Vec::new(),
            flights: HashMap::new(),
            full_until: Nanos(0),
            counts: [Metric::GuardRefused, Metric::GuardWouldRefuse, Metric::GuardUnguarded].map(|name| (name, 0)),
        }
    }

    /// Takes this worker's number, or that it has none. Another one means that shared data began anew, and with it the
    /// clusters' numbers.
    fn join(&mut self, member: Option<u64>) {
        let member = member.unwrap_or_default();
        if member != self.member {
            *self = Self { counts: self.counts, member, ..Self::new(self.settings) };
        }
    }

    /// The number of the cluster that the host's request goes to; `None` when it goes to none, or to one that is not
    /// guarded. `member` is this worker's number.
    pub(crate) fn cluster(&mut self, member: Option<u64>, now: Nanos, host: &mut impl Host) -> Option<usize> {
        self.join(member);
        // A request without a cluster is answered by the proxy itself.
        let name = host.property(CLUSTER).ok().flatten().filter(|name| !name.is_empty())?;
        if let Some(number) = self.numbers.get(&name) {
            return Some(*number);
        }
        let number = if member.is_none() { None } else { self.enlist(name, now, host) };
        if number.is_none() {
            self.count(Metric::GuardUnguarded);
        }
        number
    }

    /// Whether the stream holds a slot.
    pub(crate) fn knows(&self, stream: u32) -> bool {
        self.flights.contains_key(&stream)
    }

    /// Streams of this worker that hold a slot.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether the tick has something to do for any cluster.
    pub(crate) fn hold_slots(&self) -> bool {
        self.clusters.iter().any(|cluster| cluster.guard.next_event().is_some())
    }

    /// Until when a request that waits for this need not be tried; `None` for anything else than slots.
    pub(crate) fn short(&self, need: Need, now: Nanos) -> Option<Nanos> {
        let Need::Slot { cluster, rank } = need else { return None };
        self.clusters.get(cluster)?.guard.short(rank, now)
    }

    /// A request is refused for want of a slot.
    pub(crate) fn refused(&mut self) {
        self.count(Metric::GuardRefused);
    }

    /// The headers of a stream's answer are here, whoever made it.
    pub(crate) fn answered(&mut self, stream: u32, host: &mut impl Host) {
        let Some(cluster) = self.flights.get(&stream).and_then(|number| self.clusters.get_mut(*number)) else { return };
        if tells_of_upstream(host.property(DETAILS).ok().flatten().as_deref()) {
            cluster.guard.answered(stream, host.now());
        }
    }

    /// The stream is over.
    pub(crate) fn ended(&mut self, stream: u32, host: &mut impl Host) {
        let Some(number) = self.flights.remove(&stream) else { return };
        let Some(cluster) = self.clusters.get_mut(number) else { return };
        // What it took was said when its answer began; without one it says nothing.
        cluster.guard.end(stream, Ending::Ignored, Nanos::default());
        if cluster.guard.hands_back() {
            let now = host.now();
            cluster.sync(number, now, host);
        }
    }

    /// The tick: hands over what was measured, returns idle slots, says where the limits are.
    pub(crate) fn tick(&mut self, member: Option<u64>, now: Nanos, host: &mut impl Host, effects: &mut Vec<Effect>) {
        self.join(member);
        for (number, cluster) in self.clusters.iter_mut().enumerate() {
            if cluster.guard.next_event().is_some() {
                cluster.sync(number, now, host);
            }
            let limit = cluster.guard.limit();
            if limit != cluster.told && cluster.synced {
                cluster.told = limit;
                effects.push(Effect::GuardLimit(u16::try_from(number).unwrap_or(u16::MAX), limit));
            }
        }
        for (metric, count) in &mut self.counts {
            if *count > 0 {
                effects.push(Effect::Count(*metric, core::mem::take(count)));
            }
        }
    }

    /// The name of a cluster, for metrics.
    pub(crate) fn name(&self, number: u16) -> Option<String> {
        let (name, _) = self.numbers.iter().find(|(_, known)| **known == usize::from(number))?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// Puts a name on the list that all workers share, and learns what others have put there.
    fn enlist(&mut self, name: Vec<u8>, now: Nanos, host: &mut impl Host) -> Option<usize> {
        if now < self.full_until || name.len() > MAX_NAME_BYTES || name.contains(&0) {
            return None;
        }
        let mut listed = Vec::new();
        let replaced = replace(host, shared::GUARDED, |bytes| {
            listed = bytes.unwrap_or_default().to_vec();
            let mut names = listed.split(|byte| *byte == 0).filter(|one| !one.is_empty());
            let known = names.clone().any(|one| one == name);
            if known || names.by_ref().count() >= MAX_CLUSTERS {
                return None;
            }
            listed.extend_from_slice(&name);
            listed.push(0);
            Some(listed.clone())
        });
        if replaced.is_err() {
            return None;
        }
        let names = listed.split(|byte| *byte == 0).filter(|one| !one.is_empty()).take(MAX_CLUSTERS);
        for (number, one) in names.enumerate().skip(self.clusters.len()) {
            let guard = Guard::new(self.settings.limit, self.member);
            self.clusters.push(Cluster { guard, told: 0, synced: false });
            self.numbers.insert(one.to_vec(), number);
        }
        let number = self.numbers.get(&name).copied();
        if number.is_none() {
            self.full_until = now.plus(FULL_FOR);
        }
        number
    }

    fn count(&mut self, metric: Metric) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == metric) {
            *count = count.saturating_add(1);
        }
    }
}

/// Whether an answer with these details (`%RESPONSE_CODE_DETAILS%`) says how fast the upstream is. A host that does not
/// say where answers come from has upstream's.
fn tells_of_upstream(details: Option<&[u8]>) -> bool {
    const FROM_UPSTREAM: [&[u8]; 4] =
        [b"via_upstream", b"response_timeout", b"upstream_response_timeout", b"upstream_per_try_timeout"];
    details.is_none_or(|details| details.is_empty() || FROM_UPSTREAM.iter().any(|known| details.starts_with(known)))
}

/// Shared data as the guard's ledger.
struct SharedGuards<'a, H> {
    host: &'a mut H,
    failed: bool,
}

impl<H: Host> GuardLedger for SharedGuards<'_, H> {
    fn replace(
        &mut self,
        cluster: usize,
        change: &mut dyn FnMut(Option<ClusterState>) -> Option<ClusterState>,
    ) -> Result<(), Contended> {
        replace(self.host, &shared::guard_key(cluster), |bytes| {
            change(bytes.and_then(ClusterState::decode)).map(|state| state.encode().to_vec())
        })
        .map_err(|_| {
            self.failed = true;
            Contended
        })
    }
}
