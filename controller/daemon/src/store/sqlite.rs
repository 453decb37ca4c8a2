//! The history store for one machine: one SQLite file, `history.sqlite3`.
//!
//! Points are rows of a table without row ids, ordered by key and step, so that a key's history is one contiguous read.
//! Eight weeks of 5-minute steps are 16,000 rows or about 400 KB per key; compressed chunks would be a tenth of that and
//! are not done here. Write-ahead logging lets `forebay import` write while a controller reads.
//!
//! `synchronous = NORMAL`: a killed process loses nothing, a machine that loses power may lose the last moments, points
//! and cursors together. A file of version 1 of the schema is changed when it is opened.

mod anomalies;
mod capacity;
pub(crate) mod choices;
mod contests;
mod cursors;
mod hostile;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_forecast::{Choice, Detector, Entry};
use forebay_plan::Key;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};

use super::{Contest, Cursor, Flush, HistoryStore, Point, StoreError, StoredPoint};

const SCHEMA_VERSION: i64 = 2;
/// How long a write waits for another process, such as an import, to finish its own.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE keys (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, resource TEXT NOT NULL, UNIQUE (tenant, resource));
CREATE TABLE points (
  key_id INTEGER NOT NULL REFERENCES keys (id), start_s INTEGER NOT NULL, value REAL NOT NULL, cap REAL,
  PRIMARY KEY (key_id, start_s)
) WITHOUT ROWID;
CREATE TABLE proxies (
  name TEXT PRIMARY KEY, boot_id INTEGER NOT NULL, sequence INTEGER NOT NULL, reported_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE counters (
  proxy TEXT NOT NULL REFERENCES proxies (name) ON DELETE CASCADE, key_id INTEGER NOT NULL REFERENCES keys (id),
  reserved_requests INTEGER NOT NULL, reserved_units INTEGER NOT NULL,
  standard_requests INTEGER NOT NULL, standard_units INTEGER NOT NULL,
  refused_requests INTEGER NOT NULL, refused_units INTEGER NOT NULL, further BLOB,
  PRIMARY KEY (proxy, key_id)
) WITHOUT ROWID;
";

/// From version 1 to 2.
const ADD_FURTHER: &str = "ALTER TABLE counters ADD COLUMN further BLOB";

/// An open history file.
pub(crate) struct SqliteStore {
    connection: Connection,
    file: PathBuf,
    /// Whether the file says what is hostile; one that was opened to be read may be older than that.
    knows_hostile: bool,
}

impl SqliteStore {
    /// Opens `data_dir/history.sqlite3`, made where there is none, for steps of `step_s`.
    pub(crate) fn open(data_dir: &Path, step_s: u32) -> Result<Self, StoreError> {
        std::fs::create_dir_all(data_dir)
            .map_err(|source| StoreError::Folder { folder: data_dir.to_owned(), source })?;
        let file = data_dir.join("history.sqlite3");
        let failed = |operation| {
            let file = file.clone();
            move |source| StoreError::Sqlite { operation, file, source }
        };
        let mut connection = Connection::open(&file).map_err(failed("open history"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed("open history"))?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")
            .map_err(failed("open history"))?;
        // An immediate transaction, so that of two processes that open a new file one makes it and the other sees it.
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(failed("open history"))?;
        let found: i64 = transaction
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(failed("read schema version"))?;
        match found {
            0 => {
                transaction.execute_batch(SCHEMA).map_err(failed("create schema"))?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed("create schema"))?;
                set_meta(&transaction, "step_s", i64::from(step_s)).map_err(failed("create schema"))?;
            }
            1 | SCHEMA_VERSION => {
                if found == 1 {
                    transaction.execute_batch(ADD_FURTHER).map_err(failed("change schema"))?;
                    transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed("change schema"))?;
                }
                let found = meta(&transaction, "step_s").map_err(failed("read step"))?.unwrap_or_default();
                if found != i64::from(step_s) {
                    return Err(StoreError::Step { file, found, wanted: step_s });
                }
            }
            found => return Err(StoreError::Schema { file, found, known: SCHEMA_VERSION }),
        }
        transaction.execute_batch(anomalies::TABLES).map_err(failed("create schema"))?;
        transaction.execute_batch(choices::TABLE).map_err(failed("create schema"))?;
        transaction.execute_batch(contests::TABLE).map_err(failed("create schema"))?;
        transaction.execute_batch(capacity::TABLES).map_err(failed("create schema"))?;
        transaction.execute_batch(hostile::TABLE).map_err(failed("create schema"))?;
        transaction.commit().map_err(failed("open history"))?;
        Ok(Self { connection, file, knows_hostile: true })
    }

    /// Opens `data_dir/history.sqlite3`, which a controller has made, for reading; nothing is made or changed.
    pub(crate) fn open_to_read(data_dir: &Path) -> Result<Self, StoreError> {
        let file = data_dir.join("history.sqlite3");
        let failed = |source| StoreError::Sqlite { operation: "open history to read", file: file.clone(), source };
        let connection = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(&failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
        let knows_hostile = connection.table_exists(None, "hostile").map_err(failed)?;
        Ok(Self { connection, file, knows_hostile })
    }

    fn failed(&self, operation: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let file = self.file.clone();
        move |source| StoreError::Sqlite { operation, file: file.clone(), source }
    }
}

impl HistoryStore for SqliteStore {
    fn add(&mut self, flush: &Flush) -> Result<(), StoreError> {
        let failed = self.failed("add to history");
        let transaction = self.connection.transaction().map_err(&failed)?;
        for point in &flush.points {
            let id = key_id(&transaction, &point.key).map_err(&failed)?;
            transaction
                .prepare_cached(
                    "INSERT INTO points (key_id, start_s, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET value = value + excluded.value",
                )
                .and_then(|mut insert| insert.execute(params![id, point.start_s, point.value]))
                .map_err(&failed)?;
        }
        for point in &flush.hostile {
            hostile::add(&transaction, point).map_err(&failed)?;
        }
        for cursor in &flush.cursors {
            cursors::write(&transaction, cursor).map_err(&failed)?;
        }
        transaction.commit().map_err(failed)
    }

    fn replace(&mut self, points: &mut dyn Iterator<Item = Point>) -> Result<u64, StoreError> {
        let failed = self.failed("import into history");
        let transaction = self.connection.transaction().map_err(&failed)?;
        let mut written = 0;
        for point in points {
            let id = key_id(&transaction, &point.key).map_err(&failed)?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO points (key_id, start_s, value) VALUES (?1, ?2, ?3)")
                .and_then(|mut insert| insert.execute(params![id, point.start_s, point.value]))
                .map_err(&failed)?;
            hostile::clear(&transaction, id, point.start_s).map_err(&failed)?;
            written += 1;
        }
        transaction.commit().map_err(failed)?;
        Ok(written)
    }

    fn set_cap(&mut self, key: &Key, start_s: i64, cap: f64) -> Result<(), StoreError> {
        let update = "UPDATE points SET cap = ?4 WHERE start_s = ?3
                      AND key_id = (SELECT id FROM keys WHERE tenant = ?1 AND resource = ?2)";
        self.connection
            .prepare_cached(update)
            .and_then(|mut update| update.execute(params![key.tenant, key.resource, start_s, cap]))
            .map_err(self.failed("note a cap"))?;
        Ok(())
    }

    fn range(&self, key: &Key, from_s: i64, to_s: i64) -> Result<Vec<StoredPoint>, StoreError> {
        let query = "SELECT start_s, value, cap FROM points
                     WHERE key_id = (SELECT id FROM keys WHERE tenant = ?1 AND resource = ?2)
                     AND start_s >= ?3 AND start_s < ?4 ORDER BY start_s";
        let failed = self.failed("read history");
        let hostile = if self.knows_hostile {
            hostile::range(&self.connection, key, from_s, to_s).map_err(&failed)?
        } else {
            BTreeMap::new()
        };
        let point = |row: &Row<'_>| {
            let (start_s, measured): (i64, f64) = (row.get(0)?, row.get(1)?);
            let hostile = hostile.get(&start_s).copied().unwrap_or(0.0);
            // A negative value is an importer's, and not changed here.
            let value = if hostile > 0.0 { (measured - hostile).max(0.0) } else { measured };
            Ok(StoredPoint { start_s, value, hostile, cap: row.get(2)? })
        };
        let mut statement = self.connection.prepare_cached(query).map_err(&failed)?;
        let rows = statement.query_map(params![key.tenant, key.resource, from_s, to_s], point).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    fn ledger(&self, key: &Key) -> Result<Vec<Entry>, StoreError> {
        anomalies::ledger(&self.connection, key).map_err(self.failed("read the ledger"))
    }

    fn set_ledger(&mut self, key: &Key, entries: &[Entry]) -> Result<(), StoreError> {
        let failed = self.failed("write the ledger");
        let transaction = self.connection.transaction().map_err(&failed)?;
        anomalies::set_ledger(&transaction, key, entries).map_err(&failed)?;
        transaction.commit().map_err(failed)
    }

    fn detector(&self, key: &Key) -> Result<Option<Detector>, StoreError> {
        anomalies::detector(&self.connection, key).map_err(self.failed("read detectors"))
    }

    fn set_detectors(&mut self, detectors: &[(&Key, &Detector)]) -> Result<(), StoreError> {
        let failed = self.failed("write detectors");
        let transaction = self.connection.transaction().map_err(&failed)?;
        for (key, detector) in detectors {
            anomalies::set_detector(&transaction, key, detector).map_err(&failed)?;
        }
        transaction.commit().map_err(failed)
    }

    fn note_choices(&mut self, choices: &[(Key, Choice)]) -> Result<(), StoreError> {
        let failed = self.failed("note choices");
        let transaction = self.connection.transaction().map_err(&failed)?;
        for (key, choice) in choices {
            choices::note(&transaction, key, choice).map_err(&failed)?;
        }
        transaction.commit().map_err(failed)
    }

    fn choices(&self, key: &Key) -> Result<Vec<Choice>, StoreError> {
        choices::read(&self.connection, key).map_err(self.failed("read choices"))
    }

    fn contest(&self, key: &Key) -> Result<Option<Contest>, StoreError> {
        contests::read(&self.connection, key).map_err(self.failed("read contests"))
    }

    fn set_contests(&mut self, contests: &[(&Key, Option<Contest>)]) -> Result<(), StoreError> {
        let failed = self.failed("write contests");
        let transaction = self.connection.transaction().map_err(&failed)?;
        for (key, contest) in contests {
            contests::set(&transaction, key, contest.as_ref()).map_err(&failed)?;
        }
        transaction.commit().map_err(failed)
    }

    fn cursors(&self) -> Result<Vec<Cursor>, StoreError> {
        cursors::read(&self.connection).map_err(self.failed("read cursors"))
    }

    fn epoch(&self) -> Result<u64, StoreError> {
        let epoch = meta(&self.connection, "epoch").map_err(self.failed("read epoch"))?;
        Ok(epoch.unwrap_or_default() as u64)
    }

    fn set_epoch(&mut self, epoch: u64) -> Result<(), StoreError> {
        set_meta(&self.connection, "epoch", epoch as i64).map_err(self.failed("write epoch"))
    }

    fn forget(&mut self, before_s: i64) -> Result<u64, StoreError> {
        let failed = self.failed("forget old history");
        let transaction = self.connection.transaction().map_err(&failed)?;
        let gone = transaction.execute("DELETE FROM points WHERE start_s < ?1", [before_s]).map_err(&failed)?;
        transaction.execute("DELETE FROM hostile WHERE start_s < ?1", [before_s]).map_err(&failed)?;
        transaction.execute("DELETE FROM proxies WHERE reported_s < ?1", [before_s]).map_err(&failed)?;
        transaction.execute("DELETE FROM anomalies WHERE to_s <= ?1", [before_s]).map_err(&failed)?;
        transaction.execute("DELETE FROM choices WHERE at_s < ?1", [before_s]).map_err(&failed)?;
        transaction.commit().map_err(failed)?;
        Ok(gone as u64)
    }
}

fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

fn set_meta(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", params![name, value])?;
    Ok(())
}

fn key_id(transaction: &Transaction<'_>, key: &Key) -> rusqlite::Result<i64> {
    let known = transaction
        .prepare_cached("SELECT id FROM keys WHERE tenant = ?1 AND resource = ?2")?
        .query_row(params![key.tenant, key.resource], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    transaction
        .prepare_cached("INSERT INTO keys (tenant, resource) VALUES (?1, ?2)")?
        .execute(params![key.tenant, key.resource])?;
    Ok(transaction.last_insert_rowid())
}

#[cfg(test)]
mod tests;
