//! Cumulative counters in, demand per calendar step out.
//!
//! A filter reports how much it has counted since it booted; what is new is the difference to the *cursor*, the counters
//! counted last. So a report that is lost, repeated or late changes nothing, and neither does a restart of the controller,
//! because cursors are stored together with the points that they account for.
//!
//! - **When it happened.** The difference is spread evenly over the time since the proxy's last counted report, across
//!   the steps that this time spans; also after an outage of the controller. What a proxy never
//!   heard of has counted is spread over the time since its boot, and of that the last hour is kept: history from before
//!   is guessed too coarsely to be worth having.
//! - **Zero and missing.** A step that some proxy's report covers has a point for every contract, 0 if nothing was
//!   offered; a step that no report covers has none. The first step of the first proxy may be covered in part only and
//!   then reads too low, once.
//! - **What is refused.** Reports that are not newer than the cursor; counters that run backwards within one boot (the
//!   key is skipped and counted); keys without a contract, except the shared bucket `*` of up to [`MAX_OTHERS`] resources.
//!
//! Demand is *offered* demand: all lanes, the borrowed and the refused ones too, else a forecast would learn the present limit.
//! What filters recognised as hostile is spread over the same steps and kept beside it, so that it is subtracted exactly
//! where it was added.
//! Retries of refused requests are not told apart yet.

pub(crate) mod counted;
mod flushing;
mod recent;
mod slots;
mod span;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use forebay_plan::{Key, Recent};
use forebay_protocol::{Further, OTHERS, Report};

use crate::store::Cursor;
use counted::{Cells, Counted, News, Told};
use recent::Level;
use slots::{Said, Sums};
use span::Span;

/// Resources whose shared bucket is recorded; a rule table has a handful.
const MAX_OTHERS: usize = 64;
/// Proxies that are remembered; more than that is a stray name in every report. 10,000 at 100 keys of 150 bytes: 150 MB.
const MAX_PROXIES: usize = 10_000;
/// Longest name of a proxy, in bytes.
const MAX_PROXY_NAME_BYTES: usize = 256;
/// Real time before the first report of a boot for which its counts are kept.
const FIRST_REPORT_KEPT: Duration = Duration::from_secs(3600);
/// After a start, proxies that reported this recently before it count as live until they had the time to show up, so
/// that the first one to call does not get the shares of all.
const PRESUMED_LIVE: Duration = Duration::from_secs(60);

/// What became of a report.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Counted: what is new, by key.
    Counted {
        news: Vec<News>,
        /// Rows skipped because a counter ran backwards.
        backwards: u64,
        /// Rows skipped because nobody contracted the key.
        unknown: u64,
    },
    /// Not newer than what was counted.
    Stale,
    /// More proxies or a longer name than can be.
    Refused,
}

/// Turns reports into additions to history.
pub(crate) struct Observer {
    step_s: i64,
    speed: f64,
    stale_after: Duration,
    contracted: BTreeSet<Key>,
    /// Each contract's place in the plan.
    places: HashMap<Key, usize>,
    others: HashSet<String>,
    proxies: HashMap<String, Proxy>,
    /// Units per (key, step) since the last flush.
    pending: BTreeMap<(Key, i64), f64>,
    /// The part of them that is hostile.
    pending_hostile: BTreeMap<(Key, i64), f64>,
    /// Steps that have got their zeros.
    zeroed: BTreeSet<i64>,
    /// Proxies that reported since the last flush, with the keys that moved.
    moved: BTreeMap<String, BTreeSet<Key>>,
    /// What came in the slots around now.
    slot_sums: Sums,
    /// Units admitted since the start of this process, by the contract's place.
    admitted_units: HashMap<usize, f64>,
}

struct Proxy {
    /// `None` until the first report is counted.
    boot: Option<Boot>,
    /// `None` while it is only known from before the start.
    seen_at: Option<Duration>,
    /// Steady time of the last report that was counted; what levels are held against.
    reported_at: Duration,
    /// Recent demand, by the contract's place.
    levels: HashMap<usize, Level>,
    /// What it said last of the slots around now, in this boot.
    slots: Said,
}

impl Proxy {
    /// Of which nothing else is known.
    fn seen_at(seen_at: Option<Duration>) -> Self {
        let (levels, slots) = (HashMap::new(), Said::default());
        Self { boot: None, seen_at, reported_at: Duration::ZERO, levels, slots }
    }
}

struct Boot {
    boot_id: u64,
    sequence: u64,
    reported_s: f64,
    counters: HashMap<Key, Counted>,
    cells: Cells,
}

/// The moment of a report, in both times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) calendar_s: f64,
    pub(crate) steady: Duration,
}

impl Observer {
    /// Goes on from the stored cursors.
    pub(crate) fn new(
        step_s: u32,
        speed: f64,
        stale_after: Duration,
        keys: Vec<Key>,
        cursors: Vec<Cursor>,
        now: Moment,
    ) -> Self {
        let mut observer = Self {
            step_s: i64::from(step_s),
            speed,
            stale_after,
            places: keys.iter().cloned().enumerate().map(|(place, key)| (key, place)).collect(),
            contracted: keys.into_iter().collect(),
            others: HashSet::new(),
            proxies: HashMap::new(),
            pending: BTreeMap::new(),
            pending_hostile: BTreeMap::new(),
            zeroed: BTreeSet::new(),
            moved: BTreeMap::new(),
            slot_sums: Sums::default(),
            admitted_units: HashMap::new(),
        };
        for cursor in cursors {
            let silent_real_s = (now.calendar_s - cursor.reported_s) / speed;
            let boot = Boot {
                boot_id: cursor.boot_id,
                sequence: cursor.sequence,
                reported_s: cursor.reported_s,
                counters: cursor.counters.into_iter().collect(),
                cells: Cells::resumed(),
            };
            let seen_at = (silent_real_s <= PRESUMED_LIVE.as_secs_f64()).then_some(now.steady);
            let proxy = Proxy { boot: Some(boot), ..Proxy::seen_at(seen_at) };
            observer.proxies.insert(cursor.proxy, proxy);
        }
        observer
    }

    /// Counts a report.
    pub(crate) fn report(&mut self, report: &Report, now: Moment) -> Outcome {
        if !self.see(&report.proxy, now.steady) {
            return Outcome::Refused;
        }
        let Some(proxy) = self.proxies.get_mut(&report.proxy) else {
            return Outcome::Refused;
        };
        let uptime = Duration::from_millis(report.uptime_ms.max(1));
        let kept = uptime.min(FIRST_REPORT_KEPT);
        let since_boot_s = now.calendar_s - kept.as_secs_f64() * self.speed;
        let mut kept_share = kept.as_secs_f64() / uptime.as_secs_f64();
        let (from_s, same_boot) = match &proxy.boot {
            Some(boot) if boot.boot_id == report.boot_id => {
                if report.sequence <= boot.sequence {
                    return Outcome::Stale;
                }
                kept_share = 1.0;
                (boot.reported_s, true)
            }
            Some(earlier) => (since_boot_s.max(earlier.reported_s), false),
            None => (since_boot_s, false),
        };
        // A calendar that was set back gives an empty stretch, and then all of it belongs to this moment.
        let span = Span { from_s: from_s.min(now.calendar_s), to_s: now.calendar_s, step_s: self.step_s };
        let (mut counters, mut cells) = match proxy.boot.take() {
            Some(boot) if same_boot => (boot.counters, boot.cells),
            _ => Default::default(),
        };
        if !same_boot {
            proxy.slots.clear();
        }
        let told = Told::of(report);
        let now_step = span.last_step().unsigned_abs();

        let moved = self.moved.entry(report.proxy.clone()).or_default();
        let (mut news, mut backwards, mut unknown) = (Vec::new(), 0, 0);
        for (number, row) in report.rows.iter().enumerate() {
            let key = Key::new(row.tenant.clone(), row.resource.clone());
            if !known(&self.contracted, &mut self.others, &key) {
                unknown += 1;
                continue;
            }
            let before = counters.get(&key).copied().unwrap_or_default();
            let details = told.row(number);
            let further = details.map_or(before.further, |row| Further::read(&mut row.counts.iter().copied()));
            let counted = Counted { counters: row.counters, further };
            let Some(delta) = counted.since(&before) else {
                backwards += 1;
                continue;
            };
            if let Some(&place) = self.places.get(&key) {
                let before = proxy.levels.get(&place).copied();
                let real_s = (span.to_s - span.from_s) / self.speed;
                proxy.levels.insert(place, Level::after(before, &delta, real_s, now.steady));
                if same_boot {
                    *self.admitted_units.entry(place).or_insert(0.0) += delta.admitted_units() as f64;
                }
                self.slot_sums.take(&mut proxy.slots, place, [further.running, further.last], now_step);
            }
            counters.insert(key.clone(), counted.not_before(&before));
            moved.insert(key.clone());
            let (offered, hostile) = (delta.offered().units as f64, delta.further.hostile.units as f64);
            for (step, share) in span.shares() {
                *self.pending.entry((key.clone(), step)).or_insert(0.0) += offered * kept_share * share;
                if hostile > 0.0 {
                    *self.pending_hostile.entry((key.clone(), step)).or_insert(0.0) += hostile * kept_share * share;
                }
            }
            let attributes = details.map_or(Vec::new(), |row| cells.count(&key, row, told.attributes()));
            news.push(News { key, counted: delta, has_details: details.is_some(), attributes });
        }
        for (step, _) in span.shares() {
            if self.zeroed.insert(step) {
                for key in &self.contracted {
                    self.pending.entry((key.clone(), step)).or_insert(0.0);
                }
            }
        }
        // Steps older than a day are not revisited in practice, and a second zero changes nothing.
        while self.zeroed.len() > 86_400 / self.step_s as usize + 2 {
            self.zeroed.pop_first();
        }
        proxy.reported_at = now.steady;
        let (boot_id, sequence, reported_s) = (report.boot_id, report.sequence, now.calendar_s);
        proxy.boot = Some(Boot { boot_id, sequence, reported_s, counters, cells });
        Outcome::Counted { news, backwards, unknown }
    }

    /// Notes that a proxy is there; `false` when there is no room for it.
    pub(crate) fn see(&mut self, proxy: &str, now: Duration) -> bool {
        if let Some(known) = self.proxies.get_mut(proxy) {
            known.seen_at = Some(now);
            return true;
        }
        if self.proxies.len() >= MAX_PROXIES || proxy.is_empty() || proxy.len() > MAX_PROXY_NAME_BYTES {
            return false;
        }
        self.proxies.insert(proxy.to_owned(), Proxy::seen_at(Some(now)));
        true
    }

    /// What was lately seen of each contract at the live proxies.
    pub(crate) fn recent(&self, now: Duration) -> Recent {
        let live = self.proxies.iter().filter(|(_, proxy)| self.is_live(proxy, now));
        let seen = |proxy: &Proxy| {
            proxy.levels.iter().filter_map(|(place, level)| level.seen(*place, proxy.reported_at)).collect()
        };
        live.map(|(name, proxy)| (name.clone(), seen(proxy))).collect()
    }

    /// What is offered of each contract on average, at the live proxies together, in units per second; by place.
    pub(crate) fn offered_per_s(&self, now: Duration) -> HashMap<usize, f64> {
        let mut offered = HashMap::new();
        for proxy in self.proxies.values().filter(|proxy| self.is_live(proxy, now)) {
            for (place, level) in &proxy.levels {
                *offered.entry(*place).or_insert(0.0) += level.mean_per_s(proxy.reported_at);
            }
        }
        offered
    }

    /// Units that were admitted of each contract since this process began, by place. What proxies counted before their
    /// first report to it is left out: nobody knows when that was.
    pub(crate) fn admitted_units(&self) -> &HashMap<usize, f64> {
        &self.admitted_units
    }

    /// Which part of a key's demand in these slots is a proxy's, from 0 to 1; `None` for a key without contract.
    pub(crate) fn parts(&self, proxy: &str, key: &Key, slots: [u64; 2], proxies: usize) -> Option<[f64; 2]> {
        let place = *self.places.get(key)?;
        let said = self.proxies.get(proxy).map(|proxy| &proxy.slots);
        Some(slots.map(|slot| self.slot_sums.part(said, place, slot, proxies)))
    }

    /// A contract's place in the plan.
    pub(crate) fn place(&self, key: &Key) -> Option<usize> {
        self.places.get(key).copied()
    }

    /// Proxies that reported before this process began, and how long they had been silent then, in real time.
    pub(crate) fn remembered(&self, now: Moment) -> Vec<(String, Duration)> {
        let silence = |boot: &Boot| {
            Duration::try_from_secs_f64((now.calendar_s - boot.reported_s) / self.speed).unwrap_or(Duration::ZERO)
        };
        self.proxies.iter().filter_map(|(name, proxy)| Some((name.clone(), silence(proxy.boot.as_ref()?)))).collect()
    }

    /// Names of the proxies that are live, sorted.
    pub(crate) fn live(&self, now: Duration) -> Vec<String> {
        let live = self.proxies.iter().filter(|(_, proxy)| self.is_live(proxy, now));
        let mut names: Vec<String> = live.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    fn is_live(&self, proxy: &Proxy, now: Duration) -> bool {
        proxy.seen_at.is_some_and(|seen_at| now.saturating_sub(seen_at) <= self.stale_after)
    }

    /// Up to when all live proxies have reported; `None` when no live proxy has.
    pub(crate) fn reported_until_s(&self, now: Duration) -> Option<f64> {
        let live = self.proxies.values().filter(|proxy| self.is_live(proxy, now));
        live.filter_map(|proxy| proxy.boot.as_ref()).map(|boot| boot.reported_s).min_by(f64::total_cmp)
    }
}

fn known(contracted: &BTreeSet<Key>, others: &mut HashSet<String>, key: &Key) -> bool {
    if contracted.contains(key) {
        return true;
    }
    if key.tenant != OTHERS {
        return false;
    }
    if !others.contains(&key.resource) {
        if others.len() >= MAX_OTHERS {
            return false;
        }
        others.insert(key.resource.clone());
    }
    true
}
