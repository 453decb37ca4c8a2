//! Instances as processes of this machine: the default where there is one machine, and what the demo runs on.
//!
//! The intuition: every instance has a record in a folder, written before its process is started and again with the process's
//! id and start time. Whatever happens to the controller, the folder and `/proc` together say what there is: a manager made
//! anew adopts what lives, is never fooled by a process id that was used again, finds by its mark a process whose id was
//! not written any more, and ends marked processes that no record knows. Processes do not end with the controller.
//!
//! Invariants: one manager at a time owns a folder (a lock on it); a port belongs to one living instance; ready means
//! that the health check and all warming steps went well and the process lives; a crash loop starts no faster than
//! [`Backoff`] allows; only processes whose mark or start time fits are ever sent a signal, with their process group.
//!
//! A ready instance that fails single checks is still shown as ready: `unhealthy_after` of them in a row end it. A command
//! that is configured anew is what later instances run; those that run already are left alone.
//!
//! Where a supervisor ends a service's processes with it, it has to be told not to (systemd: `KillMode=process`), else
//! nothing is left to adopt.
//!
//! What it deliberately does not do: keep processes of other machines, isolate or limit what processes use (cgroups,
//! containers: the command may), or know of interruptions beforehand. Linux only, for `/proc`. Files are small and
//! local: they are read and written where the caller waits.

mod alive;
mod backoff;
mod health;
mod life;
mod record;
mod settings;
mod usage;

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use forebay_plan::capacity::{Group, Instance, InstanceState};

pub use backoff::Backoff;
pub use settings::{Drain, Health, Ports, ProcessSettings, Template, Warming};

use crate::{Applied, FailureKind, GroupFailure, InstanceManager, Observed, Order, ProvisionError};
use backoff::Failing;
use health::Warmings;
use record::{Folder, Record};
use usage::Meter;

/// The manager.
pub struct Process {
    settings: ProcessSettings,
    state: Mutex<State>,
    clock: Clock,
}

/// Unix milliseconds that do not jump while the manager lives.
struct Clock {
    wall_ms: u64,
    since: Instant,
}

/// What is known, beside what is in the folder.
struct State {
    folder: Folder,
    records: BTreeMap<String, Record>,
    /// Processes that this manager is the parent of: their ends have to be fetched.
    children: BTreeMap<String, Child>,
    /// Groups whose instances ended by themselves or would not start.
    failing: BTreeMap<Group, Failing>,
    warmings: Warmings,
    meter: Meter,
}

impl Process {
    /// Takes over the folder with whatever lives of it.
    ///
    /// # Errors
    /// [`ProvisionError::Unreachable`] when the folder cannot be used, or another manager uses it.
    pub fn open(settings: ProcessSettings) -> Result<Self, ProvisionError> {
        let clock = Clock::start();
        let folder = Folder::open(&settings.folder)?;
        let mut records = folder.records()?;
        let marked = alive::marked(&folder.mark(""));
        for record in records.values_mut() {
            record.adopt(&marked, &folder, clock.now_ms())?;
        }
        for (mark, pid) in &marked {
            let is_known = records.values().any(|record| folder.mark(&record.id) == *mark && record.is_alive());
            if !is_known {
                alive::end_group(*pid);
            }
        }
        let state = State {
            folder,
            records,
            children: BTreeMap::new(),
            failing: BTreeMap::new(),
            warmings: Warmings::default(),
            meter: Meter::default(),
        };
        Ok(Self { settings, state: Mutex::new(state), clock })
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InstanceManager for Process {
    async fn observe(&self) -> Result<Observed, ProvisionError> {
        let checks = {
            let mut state = self.locked();
            state.move_on(&self.settings, self.clock.now_ms())?;
            state.checks(&self.settings)
        };
        let results = health::run(checks, &self.settings).await;
        let mut state = self.locked();
        let now_ms = self.clock.now_ms();
        // What ended while it was asked does not serve, whoever answered.
        state.move_on(&self.settings, now_ms)?;
        for (id, result) in results {
            state.note(&id, result, &self.settings, now_ms)?;
        }
        state.warm(&self.settings, now_ms);
        Ok(state.observed())
    }

    async fn apply(&self, order: &Order) -> Result<Applied, ProvisionError> {
        let mut state = self.locked();
        if let Some(taken) = state.folder.generation().filter(|taken| *taken > order.generation) {
            return Err(ProvisionError::StaleGeneration { asked: order.generation, taken });
        }
        state.folder.take(order.generation)?;
        state.move_on(&self.settings, self.clock.now_ms())?;
        let mut counts: BTreeMap<Group, u32> = state.records.values().map(|record| (record.group.clone(), 0)).collect();
        counts.extend(order.targets.iter().map(|target| (target.group.clone(), target.count)));
        let mut applied = Applied::default();
        // First what goes, so that its room is known before anything new is counted.
        for (group, count) in &counts {
            applied.stopped += state.stop_above(group, *count, self.clock.now_ms())?;
        }
        for (group, count) in &counts {
            let (started, failure) = state.start_up_to(group, *count, &self.settings, self.clock.now_ms());
            applied.started += started;
            applied.failures.extend(failure.map(|(kind, detail)| GroupFailure { group: group.clone(), kind, detail }));
        }
        Ok(applied)
    }
}

impl State {
    fn observed(&mut self) -> Observed {
        let instances = self.records.values().map(Record::instance).collect();
        let alive = self.records.values().filter(|record| record.is_alive());
        let groups = alive.filter_map(|record| Some((record.id.clone(), record.process?.pid))).collect();
        let usage = self.meter.look(&groups, Instant::now());
        Observed { generation: self.folder.generation(), instances, usage, ..Observed::default() }
    }

    fn wanted(&self, group: &Group) -> Vec<&Record> {
        self.records.values().filter(|record| record.group == *group && record.state.is_wanted()).collect()
    }

    /// Drains what is above `count`, what does not serve first and of the others the youngest.
    fn stop_above(&mut self, group: &Group, count: u32, now_ms: u64) -> Result<u32, ProvisionError> {
        let mut wanted = self.wanted(group);
        wanted.sort_by_key(|record| (record.state, std::cmp::Reverse(record.number)));
        let surplus = wanted.len().saturating_sub(count as usize);
        let ids: Vec<String> = wanted.into_iter().take(surplus).map(|record| record.id.clone()).collect();
        for id in &ids {
            let Some(record) = self.records.get_mut(id) else { continue };
            record.drain(now_ms);
            self.folder.write(record)?;
        }
        Ok(ids.len() as u32)
    }

    /// Starts what is missing; how many, and why not all.
    fn start_up_to(
        &mut self,
        group: &Group,
        count: u32,
        settings: &ProcessSettings,
        now_ms: u64,
    ) -> (u32, Option<(FailureKind, String)>) {
        let missing = (count as usize).saturating_sub(self.wanted(group).len());
        for started in 0..missing {
            if let Err(failure) = self.start(group, settings, now_ms) {
                return (started as u32, Some(failure));
            }
        }
        (missing as u32, None)
    }

    fn start(&mut self, group: &Group, settings: &ProcessSettings, now_ms: u64) -> Result<(), (FailureKind, String)> {
        let Some(template) = settings.template(group) else {
            return Err((FailureKind::Unknown, format!("no command is configured for {group}")));
        };
        let alive = |is_meant: &dyn Fn(&Record) -> bool| {
            self.records.values().filter(|record| record.is_alive() && is_meant(record)).count()
        };
        let (all, of_group) = (alive(&|_| true), alive(&|record| record.group == *group));
        if all >= settings.max_processes as usize || of_group >= template.max_processes as usize {
            let detail = format!(
                "{of_group} of at most {} processes of the group and {all} of at most {} in all are there",
                template.max_processes, settings.max_processes
            );
            return Err((FailureKind::QuotaExceeded, detail));
        }
        if let Some(failing) = self.failing.get(group).filter(|failing| failing.waits(now_ms)) {
            return Err((FailureKind::Failed, failing.to_string()));
        }
        let Some(port) = settings.ports.free(self.records.values().filter(|record| record.is_alive())) else {
            return Err((FailureKind::OutOfCapacity, "no port of the configured range is free".to_owned()));
        };
        self.spawn(Record::new(group, port, now_ms), template).map_err(|detail| {
            self.failing.entry(group.clone()).or_default().note(&detail, &settings.backoff, now_ms);
            (FailureKind::Failed, detail)
        })
    }

    /// Record, process, record: a crash between any two of them leaves what the next manager can find.
    fn spawn(&mut self, mut record: Record, template: &Template) -> Result<(), String> {
        self.folder.number(&mut record).map_err(|error| error.to_string())?;
        self.folder.write(&record).map_err(|error| error.to_string())?;
        match template.spawn(&record, &self.folder) {
            Ok(child) => {
                record.state = InstanceState::Starting;
                record.process = alive::identity(child.id());
                self.children.insert(record.id.clone(), child);
                // Without this the process is found by its mark.
                let written = self.folder.write(&record).map_err(|error| error.to_string());
                self.records.insert(record.id.clone(), record);
                written
            }
            Err(error) => {
                // It never was: an instance that does not exist is not shown as gone.
                self.folder.forget(&record);
                Err(format!("start {:?}: {error}", template.program))
            }
        }
    }
}

impl Record {
    fn instance(&self) -> Instance {
        Instance {
            id: self.id.clone(),
            group: self.group.clone(),
            state: self.state,
            requested_ms: self.requested_ms,
            ready_ms: self.ready_ms,
            address: Some(self.address()),
            is_interrupted: false,
        }
    }
}

impl Clock {
    fn start() -> Self {
        // A machine whose clock stands before 1970 counts as being there.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_ms: wall.as_millis() as u64, since: Instant::now() }
    }

    fn now_ms(&self) -> u64 {
        self.wall_ms.saturating_add(self.since.elapsed().as_millis() as u64)
    }
}
