//! The folder: one record per instance, the newest order that was taken, and what instances write.
//!
//! Files are replaced whole (written beside, flushed, renamed), so that a crash leaves the old or the new one. A number is
//! taken before it is used, so that ids are never used again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_plan::capacity::{Generation, Group, InstanceState};
use serde::{Deserialize, Serialize};

use super::alive::{self, Identity};
use crate::ProvisionError;

/// One instance.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Unique in the folder, for ever.
    pub(super) id: String,
    /// What the id ends with; higher ones are younger.
    pub(super) number: u64,
    pub(super) group: Group,
    pub(super) port: u16,
    pub(super) state: InstanceState,
    /// Known once it was started.
    pub(super) process: Option<Identity>,
    pub(super) requested_ms: u64,
    pub(super) answered_ms: Option<u64>,
    pub(super) ready_ms: Option<u64>,
    pub(super) draining_ms: Option<u64>,
    pub(super) gone_ms: Option<u64>,
    /// Failed checks in a row; begins anew with every manager.
    pub(super) failed_checks: u32,
    /// Since when this manager looks after it; what came before is not held against it.
    pub(super) watched_since_ms: u64,
    /// Whether this manager has asked it to end; some programs take being asked twice for an emergency.
    pub(super) is_asked_to_end: bool,
}

/// A record as it lies in its file.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    number: u64,
    service: String,
    pool: String,
    shape: String,
    port: u16,
    state: String,
    process: Option<Identity>,
    requested_ms: u64,
    answered_ms: Option<u64>,
    ready_ms: Option<u64>,
    draining_ms: Option<u64>,
    gone_ms: Option<u64>,
}

/// What the folder knows beside records.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Taken {
    /// Epoch and sequence.
    generation: Option<(u64, u64)>,
    /// The last that was given to an instance.
    number: u64,
}

/// The folder.
pub(super) struct Folder {
    path: PathBuf,
    taken: Taken,
    /// Held as long as this manager lives.
    _lock: File,
}

const TAKEN: &str = "taken.json";

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, ProvisionError> {
        fs::create_dir_all(path.join("instances")).map_err(|error| failed("make the folder", path, &error))?;
        // The mark of instances must be the same whatever folder the controller is started in.
        let path = &path.canonicalize().map_err(|error| failed("find the folder", path, &error))?;
        let lock = File::create(path.join("lock")).map_err(|error| failed("make the lock", path, &error))?;
        lock_soon(&lock, path)?;
        let taken = match fs::read(path.join(TAKEN)) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| failed("read", &path.join(TAKEN), &error.into()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Taken::default(),
            Err(error) => return Err(failed("read", &path.join(TAKEN), &error)),
        };
        Ok(Self { path: path.clone(), taken, _lock: lock })
    }

    /// All records. One that cannot be read stops the manager: its process would be ended as nobody's.
    pub(super) fn records(&self) -> Result<BTreeMap<String, Record>, ProvisionError> {
        let folder = self.path.join("instances");
        let entries = fs::read_dir(&folder).map_err(|error| failed("list", &folder, &error))?;
        let mut records = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(|error| failed("list", &folder, &error))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let bytes = fs::read(&path).map_err(|error| failed("read", &path, &error))?;
            let stored: Stored =
                serde_json::from_slice(&bytes).map_err(|error| unreadable(&path, &error.to_string()))?;
            let record = Record::try_from(stored).map_err(|detail| unreadable(&path, &detail))?;
            records.insert(record.id.clone(), record);
        }
        Ok(records)
    }

    pub(super) fn generation(&self) -> Option<Generation> {
        self.taken.generation.map(|(epoch, sequence)| Generation { epoch, sequence })
    }

    pub(super) fn take(&mut self, generation: Generation) -> Result<(), ProvisionError> {
        if self.generation() == Some(generation) {
            return Ok(());
        }
        self.replace_taken(Taken { generation: Some((generation.epoch, generation.sequence)), ..self.taken })
    }

    /// Gives a record its number and id.
    pub(super) fn number(&mut self, record: &mut Record) -> Result<(), ProvisionError> {
        self.replace_taken(Taken { number: self.taken.number + 1, ..self.taken })?;
        record.number = self.taken.number;
        record.id = format!("process-{}", record.number);
        Ok(())
    }

    pub(super) fn write(&self, record: &Record) -> Result<(), ProvisionError> {
        self.replace(&self.file(record, "json"), &Stored::from(record))
    }

    /// Removes what there is of an instance.
    pub(super) fn forget(&self, record: &Record) {
        for ending in ["log", "log.old", "json"] {
            // What is left is read again, and removed, by a later manager.
            let _ = fs::remove_file(self.file(record, ending));
        }
    }

    /// What the instance's environment says.
    pub(super) fn mark(&self, id: &str) -> String {
        format!("{}:{id}", self.path.display())
    }

    /// Where the instance writes.
    pub(super) fn output(&self, record: &Record) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.file(record, "log"))
    }

    /// Keeps the output within its bound: the process goes on appending to the same file, emptied.
    pub(super) fn bound_output(&self, record: &Record, max_bytes: u64) {
        let path = self.file(record, "log");
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > max_bytes) {
            // A disk that is full keeps neither copy; the instance is not to suffer from its output.
            let _ = fs::copy(&path, self.file(record, "log.old"));
            let _ = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(0));
        }
    }

    fn file(&self, record: &Record, ending: &str) -> PathBuf {
        self.path.join("instances").join(format!("{}.{ending}", record.id))
    }

    fn replace_taken(&mut self, taken: Taken) -> Result<(), ProvisionError> {
        self.replace(&self.path.join(TAKEN), &taken)?;
        self.taken = taken;
        Ok(())
    }

    fn replace(&self, path: &Path, value: &impl Serialize) -> Result<(), ProvisionError> {
        let beside = path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&beside)?;
            file.write_all(&serde_json::to_vec(value)?)?;
            file.sync_data()?;
            fs::rename(&beside, path)
        };
        write().map_err(|error| failed("write", path, &error))
    }
}

/// Locks the folder, which an earlier controller that has just ended may still seem to use: a process that it was about to
/// start holds everything of it until it runs its own program, a moment later. Once the lock is had, every such process runs,
/// and its mark can be seen.
fn lock_soon(lock: &File, path: &Path) -> Result<(), ProvisionError> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(failed("lock the folder", path, &error)),
        }
    }
    Err(ProvisionError::Unreachable {
        operation: "take over the folder",
        detail: format!("{}: another controller uses it; end that one first", path.display()),
    })
}

impl Record {
    /// One that was asked for; its number comes from the folder.
    pub(super) fn new(group: &Group, port: u16, now_ms: u64) -> Self {
        Self {
            id: String::new(),
            number: 0,
            group: group.clone(),
            port,
            state: InstanceState::Requested,
            process: None,
            requested_ms: now_ms,
            answered_ms: None,
            ready_ms: None,
            draining_ms: None,
            gone_ms: None,
            failed_checks: 0,
            watched_since_ms: now_ms,
            is_asked_to_end: false,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.state != InstanceState::Gone
    }

    /// Fills in what depends on the instance.
    pub(super) fn fill_in(&self, text: &str) -> String {
        let Group { service, pool, shape } = &self.group;
        let pairs = [("{id}", &self.id), ("{service}", service), ("{pool}", pool), ("{shape}", shape)];
        let text = text.replace("{port}", &self.port.to_string());
        pairs.iter().fold(text, |text, (name, value)| text.replace(name, value))
    }

    /// Finds the process of a record that an earlier manager left. Whether it lives is seen at the next look.
    pub(super) fn adopt(
        &mut self,
        marked: &BTreeMap<String, u32>,
        folder: &Folder,
        now_ms: u64,
    ) -> Result<(), ProvisionError> {
        self.watched_since_ms = now_ms;
        // Times of a clock that has been put back since would make everything wait for it.
        for time in [&mut self.answered_ms, &mut self.ready_ms, &mut self.draining_ms, &mut self.gone_ms] {
            *time = time.map(|time| time.min(now_ms));
        }
        self.requested_ms = self.requested_ms.min(self.ready_ms.unwrap_or(now_ms));
        if self.is_alive() && self.process.is_none() {
            self.process = marked.get(&folder.mark(&self.id)).and_then(|pid| alive::identity(*pid));
            self.state = self.state.max(InstanceState::Starting);
            folder.write(self)?;
        }
        Ok(())
    }
}

impl From<&Record> for Stored {
    fn from(record: &Record) -> Self {
        let Group { service, pool, shape } = record.group.clone();
        Self {
            id: record.id.clone(),
            number: record.number,
            service,
            pool,
            shape,
            port: record.port,
            state: record.state.name().to_owned(),
            process: record.process,
            requested_ms: record.requested_ms,
            answered_ms: record.answered_ms,
            ready_ms: record.ready_ms,
            draining_ms: record.draining_ms,
            gone_ms: record.gone_ms,
        }
    }
}

impl TryFrom<Stored> for Record {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { service, pool, shape, .. } = stored;
        Ok(Self {
            id: stored.id,
            number: stored.number,
            group: Group { service, pool, shape },
            port: stored.port,
            state: crate::state::from_name(&stored.state).ok_or_else(|| format!("no state {:?}", stored.state))?,
            process: stored.process,
            requested_ms: stored.requested_ms,
            answered_ms: stored.answered_ms,
            ready_ms: stored.ready_ms,
            draining_ms: stored.draining_ms,
            gone_ms: stored.gone_ms,
            failed_checks: 0,
            watched_since_ms: 0,
            is_asked_to_end: false,
        })
    }
}

fn unreadable(path: &Path, detail: &str) -> ProvisionError {
    let path = path.display();
    let detail = format!("read {path}: {detail}; move the file away, and its process is ended and started anew");
    ProvisionError::Unreachable { operation: "keep records", detail }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> ProvisionError {
    ProvisionError::Unreachable { operation: "keep records", detail: format!("{what} {}: {error}", path.display()) }
}
