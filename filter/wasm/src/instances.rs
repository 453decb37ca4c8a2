//! The plugin instances of this VM. A new plugin configuration makes a new instance in the same VM while the old one
//! drains, and several listeners may share the VM: so there can be more than one.

use std::cell::RefCell;

use forebay_admission::Nanos;
use forebay_engine::worker::TICK_MS;
use forebay_engine::{CallKind, Metric, Worker};

use crate::abi::{self, MetricKind};

/// An instance that has not ticked for so long has been removed by the host.
const FORGET_AFTER: u64 = 60 * Nanos::SECOND;

/// A plugin instance: the engine's worker and the host's numbers for what it asked for.
pub(crate) struct Instance {
    pub(crate) root: u32,
    pub(crate) worker: Worker,
    pub(crate) calls: Vec<(u32, CallKind)>,
    pub(crate) metrics: Vec<(Metric, u32)>,
    pub(crate) over_admission_bound: Option<u32>,
    /// The host's numbers for the counters that the policy names, from the first time that they count something.
    named: Vec<Option<u32>>,
    last_tick: Nanos,
}

/// All of them, and the stream that the host has just created.
pub(crate) struct Instances {
    all: Vec<Instance>,
    stream: (u32, u32),
}

thread_local! {
    static INSTANCES: RefCell<Instances> = const { RefCell::new(Instances { all: Vec::new(), stream: (0, 0) }) };
}

/// Runs `f` on the instances; `None` if they are in use, which the host's calling order excludes.
pub(crate) fn with<R>(f: impl FnOnce(&mut Instances) -> R) -> Option<R> {
    INSTANCES.with(|instances| instances.try_borrow_mut().ok().map(|mut instances| f(&mut instances)))
}

impl Instance {
    /// Adds to a counter that the policy names.
    pub(crate) fn count_named(&mut self, number: u16, by: u64) {
        let place = usize::from(number);
        if self.named.len() <= place {
            self.named.resize(place + 1, None);
        }
        let Some(known) = self.named.get_mut(place) else { return };
        if known.is_none() {
            let name = self.worker.counter_name(number);
            *known = name.and_then(|name| abi::define_metric(MetricKind::Counter, &name).ok());
        }
        if let Some(id) = *known {
            abi::increment_metric(id, by);
        }
    }
}

impl Instances {
    /// Remembers whose stream comes next.
    pub(crate) fn stream_created(&mut self, stream: u32, root: u32) {
        self.stream = (stream, root);
    }

    /// Puts a configured worker in place, instead of an earlier one of the same root.
    pub(crate) fn configured(&mut self, root: u32, worker: Worker) {
        self.all.retain(|instance| instance.root != root);
        let define = |kind, name| abi::define_metric(kind, name).ok();
        let metrics = Metric::NAMES
            .iter()
            .filter_map(|(metric, name)| define(MetricKind::Counter, name).map(|id| (*metric, id)))
            .collect();
        self.all.push(Instance {
            root,
            worker,
            calls: Vec::new(),
            metrics,
            over_admission_bound: define(MetricKind::Gauge, Metric::OVER_ADMISSION_BOUND),
            named: Vec::new(),
            last_tick: Nanos(abi::steady_nanos()),
        });
    }

    /// The instance that a stream belongs to; the newest, should the host have created another stream in between.
    pub(crate) fn of_stream(&mut self, stream: u32) -> Option<&mut Instance> {
        let (created, root) = self.stream;
        let known = self.all.iter().position(|instance| created == stream && instance.root == root);
        let index = known.or(self.all.len().checked_sub(1))?;
        self.all.get_mut(index)
    }

    /// The instance that follows a stream to its end, if any does.
    #[cfg(feature = "streams")]
    pub(crate) fn following(&mut self, stream: u32) -> Option<&mut Instance> {
        self.all.iter_mut().find(|instance| instance.worker.follows(stream))
    }

    /// The instance with this root context.
    pub(crate) fn of_root(&mut self, root: u32) -> Option<&mut Instance> {
        self.all.iter_mut().find(|instance| instance.root == root)
    }

    /// Notes a tick of `root` and forgets instances that no longer have any.
    pub(crate) fn ticked(&mut self, root: u32) {
        let now = Nanos(abi::steady_nanos());
        let alive = |instance: &Instance| now.since(instance.last_tick) < FORGET_AFTER;
        for instance in &mut self.all {
            if instance.root == root {
                instance.last_tick = now;
            }
        }
        self.all.retain(|instance| instance.root == root || alive(instance));
    }
}

/// Asks for the tick.
pub(crate) fn start_ticking() {
    if abi::set_tick_period_ms(TICK_MS).is_err() {
        abi::log(abi::Level::Critical, "forebay: the host gives no ticks; grants will not arrive");
    }
}
