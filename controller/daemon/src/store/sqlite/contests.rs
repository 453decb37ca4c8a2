//! Contests of two models that are under way, one a key, as JSON. The table is made where it is missing, in files of any
//! version: a build that does not know it is not disturbed by it.

use forebay_plan::Key;
use rusqlite::{Connection, Error, OptionalExtension, Transaction, params};

use super::key_id;
use crate::store::Contest;

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS contests (key_id INTEGER PRIMARY KEY REFERENCES keys (id), contest TEXT NOT NULL);
";

/// A key's contest; nothing if it was stored by a build whose contests were others.
pub(super) fn read(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Contest>> {
    let mut statement = connection.prepare_cached(
        "SELECT contest FROM contests WHERE key_id = (SELECT id FROM keys WHERE tenant = ?1 AND resource = ?2)",
    )?;
    let stored: Option<String> = statement.query_row(params![key.tenant, key.resource], |row| row.get(0)).optional()?;
    Ok(stored.and_then(|stored| serde_json::from_str(&stored).ok()))
}

/// Replaces a key's contest, or ends it.
pub(super) fn set(transaction: &Transaction<'_>, key: &Key, contest: Option<&Contest>) -> rusqlite::Result<()> {
    let id = key_id(transaction, key)?;
    match contest {
        Some(contest) => {
            let text = serde_json::to_string(contest).map_err(|error| Error::ToSqlConversionFailure(error.into()))?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO contests (key_id, contest) VALUES (?1, ?2)")?
                .execute(params![id, text])?
        }
        None => transaction.prepare_cached("DELETE FROM contests WHERE key_id = ?1")?.execute([id])?,
    };
    Ok(())
}
