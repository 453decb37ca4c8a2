//! What is known of each key's anomalies: the ledger of what training leaves out, a row an entry, its reason as JSON that
//! people can query too; and what the key's detector has seen, so that a restart does not make it blind for two days.
//!
//! The tables are made where they are missing, in files of any version: a build that does not know them is not disturbed
//! by them. How many entries a key has at most is the ledger's to bound; what a detector has seen is about 8 KB.

use forebay_forecast::{Detector, Entry};
use forebay_plan::Key;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Row, Transaction, params};

use super::key_id;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS anomalies (
  key_id INTEGER NOT NULL REFERENCES keys (id), id INTEGER NOT NULL, from_s INTEGER NOT NULL, to_s INTEGER NOT NULL,
  reason TEXT NOT NULL, lifted_from_s INTEGER, PRIMARY KEY (key_id, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS detectors (key_id INTEGER PRIMARY KEY REFERENCES keys (id), seen TEXT NOT NULL);
";

/// A key's entries, oldest first.
pub(super) fn ledger(connection: &Connection, key: &Key) -> rusqlite::Result<Vec<Entry>> {
    let entry = |row: &Row<'_>| {
        let unreadable = |error: serde_json::Error| Error::FromSqlConversionFailure(3, Type::Text, error.into());
        Ok(Entry {
            id: row.get::<_, i64>(0)? as u64,
            from_s: row.get(1)?,
            to_s: row.get(2)?,
            reason: serde_json::from_str(row.get_ref(3)?.as_str()?).map_err(unreadable)?,
            lifted_from_s: row.get(4)?,
        })
    };
    let mut statement = connection.prepare_cached(
        "SELECT id, from_s, to_s, reason, lifted_from_s FROM anomalies
         WHERE key_id = (SELECT id FROM keys WHERE tenant = ?1 AND resource = ?2) ORDER BY id",
    )?;
    statement.query_map(params![key.tenant, key.resource], entry)?.collect()
}

/// Replaces a key's entries.
pub(super) fn set_ledger(transaction: &Transaction<'_>, key: &Key, entries: &[Entry]) -> rusqlite::Result<()> {
    let key_id = key_id(transaction, key)?;
    transaction.prepare_cached("DELETE FROM anomalies WHERE key_id = ?1")?.execute([key_id])?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO anomalies (key_id, id, from_s, to_s, reason, lifted_from_s) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for entry in entries {
        let reason = json(&entry.reason)?;
        insert.execute(params![key_id, entry.id as i64, entry.from_s, entry.to_s, reason, entry.lifted_from_s])?;
    }
    Ok(())
}

/// What a key's detector has seen; nothing if it was stored by a build whose detectors were others.
pub(super) fn detector(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Detector>> {
    let mut statement = connection.prepare_cached(
        "SELECT seen FROM detectors WHERE key_id = (SELECT id FROM keys WHERE tenant = ?1 AND resource = ?2)",
    )?;
    let seen: Option<String> = statement.query_row(params![key.tenant, key.resource], |row| row.get(0)).optional()?;
    Ok(seen.and_then(|seen| serde_json::from_str(&seen).ok()))
}

pub(super) fn set_detector(transaction: &Transaction<'_>, key: &Key, detector: &Detector) -> rusqlite::Result<()> {
    let key_id = key_id(transaction, key)?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO detectors (key_id, seen) VALUES (?1, ?2)")?
        .execute(params![key_id, json(detector)?])?;
    Ok(())
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

#[cfg(test)]
mod tests {
    use forebay_forecast::{Expected, Label, LabelKind, Ledger, Said};

    use super::*;
    use crate::store::HistoryStore;
    use crate::store::sqlite::SqliteStore;

    #[test]
    fn entries_and_detectors_survive_reopening_and_are_forgotten_with_the_history() {
        let folder = tempfile::tempdir().unwrap();
        let shop = Key::new("shop", "requests");
        let mut ledger = Ledger::default();
        for (kind, to_s) in [(LabelKind::Normal, 600), (LabelKind::Anomalous, 900)] {
            let said = Said { by: "ana".to_owned(), at_s: 1_000, note: String::new() };
            ledger.label(Label { from_s: 300, to_s, kind, said });
        }
        let mut detector = Detector::new(300, 12);
        detector.observe(&[Expected { start_s: 300, median: 10.0, below: 1.0, above: 1.0 }], 50.0);
        {
            let mut store = SqliteStore::open(folder.path(), 300).unwrap();
            store.set_ledger(&shop, &ledger.entries()[..1]).unwrap();
            store.set_ledger(&shop, ledger.entries()).unwrap();
            store.set_detectors(&[(&shop, &detector)]).unwrap();
        }
        let mut store = SqliteStore::open(folder.path(), 300).unwrap();
        assert_eq!(store.ledger(&shop).unwrap(), ledger.entries());
        assert_eq!(format!("{:?}", store.detector(&shop).unwrap()), format!("{:?}", Some(detector)));
        let other = Key::new("feed", "requests");
        assert!(store.ledger(&other).unwrap().is_empty() && store.detector(&other).unwrap().is_none());
        store.forget(600).unwrap();
        assert_eq!(store.ledger(&shop).unwrap(), &ledger.entries()[1..]);
        store.connection.execute("UPDATE detectors SET seen = '{}'", []).unwrap();
        assert!(store.detector(&shop).unwrap().is_none(), "one of another build begins anew");
    }
}
