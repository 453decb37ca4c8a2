//! What was decided about each key's forecasts, newest [`MAX_CHOICES`] per key, as JSON that people can query too.
//!
//! The table is made where it is missing, in files of any version: a build that does not know it is not disturbed by it.

use forebay_forecast::{Choice, Chosen};
use forebay_plan::Key;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Row, Transaction, params};

use super::key_id;

/// Choices kept per key: ten days of hourly fits, most of a year of daily ones. 256 x about 1 KB is half of what eight
/// weeks of points take.
pub(crate) const MAX_CHOICES: u32 = 256;

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS choices (
  id INTEGER PRIMARY KEY, key_id INTEGER NOT NULL REFERENCES keys (id), at_s INTEGER NOT NULL, chosen TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS choices_by_key ON choices (key_id, id);
";

/// Adds a choice; of too many the oldest leave.
pub(super) fn note(transaction: &Transaction<'_>, key: &Key, choice: &Choice) -> rusqlite::Result<()> {
    let id = key_id(transaction, key)?;
    let chosen = serde_json::to_string(&choice.chosen).map_err(|error| Error::ToSqlConversionFailure(error.into()))?;
    transaction.prepare_cached("INSERT INTO choices (key_id, at_s, chosen) VALUES (?1, ?2, ?3)")?.execute(params![
        id,
        choice.at_s,
        chosen
    ])?;
    transaction
        .prepare_cached(
            "DELETE FROM choices WHERE key_id = ?1
             AND id <= (SELECT id FROM choices WHERE key_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![id, MAX_CHOICES])?;
    Ok(())
}

/// The choices about a key, oldest first.
pub(super) fn read(connection: &Connection, key: &Key) -> rusqlite::Result<Vec<Choice>> {
    let choice = |row: &Row<'_>| {
        let unreadable = |error: serde_json::Error| Error::FromSqlConversionFailure(1, Type::Text, error.into());
        let chosen: Chosen = serde_json::from_str(row.get_ref(1)?.as_str()?).map_err(unreadable)?;
        Ok(Choice { at_s: row.get(0)?, chosen })
    };
    let mut statement = connection.prepare_cached(
        "SELECT at_s, chosen FROM choices
         WHERE key_id = (SELECT id FROM keys WHERE tenant = ?1 AND resource = ?2) ORDER BY id",
    )?;
    statement.query_map(params![key.tenant, key.resource], choice)?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::HistoryStore;
    use crate::store::sqlite::SqliteStore;

    fn borrowed(at_s: i64) -> Choice {
        Choice { at_s, chosen: Chosen::ColdStart { donors: 5, own_weight: 0.25 } }
    }

    #[test]
    fn choices_are_bounded_per_key_forgotten_with_history_and_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let [shop, bank] = ["shop", "bank"].map(|tenant| Key::new(tenant, "requests"));
        let most = i64::from(MAX_CHOICES);
        {
            let mut store = SqliteStore::open(folder.path(), 300).unwrap();
            assert_eq!(store.choices(&shop).unwrap(), []);
            let many: Vec<_> = (0..most + 5).map(|at_s| (shop.clone(), borrowed(at_s))).collect();
            store.note_choices(&many).unwrap();
            store.note_choices(&[(bank.clone(), borrowed(1))]).unwrap();
        }
        let mut store = SqliteStore::open(folder.path(), 300).unwrap();
        let kept = store.choices(&shop).unwrap();
        assert_eq!((kept.len() as u32, &kept[0], kept.last()), (MAX_CHOICES, &borrowed(5), Some(&borrowed(most + 4))));
        assert_eq!(store.choices(&bank).unwrap(), [borrowed(1)]);
        store.forget(10).unwrap();
        assert_eq!(store.choices(&shop).unwrap()[0], borrowed(10));
        assert_eq!(store.choices(&bank).unwrap(), []);
    }

    #[test]
    fn a_reader_changes_nothing_and_needs_a_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(SqliteStore::open_to_read(folder.path()).is_err());
        let shop = Key::new("shop", "requests");
        let mut store = SqliteStore::open(folder.path(), 300).unwrap();
        store.note_choices(&[(shop.clone(), borrowed(1))]).unwrap();
        let mut reader = SqliteStore::open_to_read(folder.path()).unwrap();
        assert_eq!(reader.choices(&shop).unwrap(), [borrowed(1)]);
        store.note_choices(&[(shop.clone(), borrowed(2))]).unwrap();
        assert_eq!(reader.choices(&shop).unwrap().len(), 2, "it reads beside the writer");
        assert!(reader.set_epoch(1).is_err());
    }
}
