//! The part of points that filters recognised as hostile: a row a step, where there was any.
//!
//! Points stay as they were measured; what is read of them is demand, which is the point less this. The table is made where
//! it is missing, in files of any version: a build that does not know it is not disturbed by it, and takes all for demand.

use std::collections::BTreeMap;

use forebay_plan::Key;
use rusqlite::{Connection, Transaction, params};

use super::key_id;
use crate::store::Point;

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS hostile (
  key_id INTEGER NOT NULL REFERENCES keys (id), start_s INTEGER NOT NULL, value REAL NOT NULL,
  PRIMARY KEY (key_id, start_s)
) WITHOUT ROWID;
";

/// Adds to what is there.
pub(super) fn add(transaction: &Transaction<'_>, point: &Point) -> rusqlite::Result<()> {
    let id = key_id(transaction, &point.key)?;
    transaction
        .prepare_cached(
            "INSERT INTO hostile (key_id, start_s, value) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET value = value + excluded.value",
        )?
        .execute(params![id, point.start_s, point.value])?;
    Ok(())
}

/// What is known of a step is replaced by somebody who knows better.
pub(super) fn clear(transaction: &Transaction<'_>, key_id: i64, start_s: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM hostile WHERE key_id = ?1 AND start_s = ?2")?
        .execute(params![key_id, start_s])?;
    Ok(())
}

/// By the second at which their steps begin, in units per second.
pub(super) fn range(
    connection: &Connection,
    key: &Key,
    from_s: i64,
    to_s: i64,
) -> rusqlite::Result<BTreeMap<i64, f64>> {
    let mut statement = connection.prepare_cached(
        "SELECT start_s, value FROM hostile
         WHERE key_id = (SELECT id FROM keys WHERE tenant = ?1 AND resource = ?2) AND start_s >= ?3 AND start_s < ?4",
    )?;
    let rows =
        statement.query_map(params![key.tenant, key.resource, from_s, to_s], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Flush, HistoryStore, StoredPoint};

    #[test]
    fn what_is_hostile_is_added_up_kept_apart_replaced_and_forgotten_with_its_points() {
        let folder = tempfile::tempdir().unwrap();
        let shop = Key::new("shop", "requests");
        let point = |start_s: i64, value: f64| Point { key: shop.clone(), start_s, value };
        let flush = Flush {
            points: vec![point(300, 10.0), point(600, 10.0), point(900, 10.0)],
            hostile: vec![point(300, 4.0), point(600, 12.0)],
            cursors: vec![],
        };
        let mut store = SqliteStore::open(folder.path(), 300).unwrap();
        store.add(&flush).unwrap();
        store.add(&flush).unwrap();
        drop(store);
        let mut store = SqliteStore::open(folder.path(), 300).unwrap();
        let read = |store: &SqliteStore| store.range(&shop, 0, 10_000).unwrap();
        let of = |start_s, value, hostile| StoredPoint { start_s, value, hostile, cap: None };
        let demand_is_never_below_zero = of(600, 0.0, 24.0);
        assert_eq!(read(&store), [of(300, 12.0, 8.0), demand_is_never_below_zero, of(900, 20.0, 0.0)]);
        store.replace(&mut [point(300, 7.0)].into_iter()).unwrap();
        assert_eq!(read(&store)[0], of(300, 7.0, 0.0));
        store.forget(900).unwrap();
        store.add(&Flush { points: vec![point(600, 1.0)], ..Flush::default() }).unwrap();
        assert_eq!(read(&store)[0], of(600, 1.0, 0.0));
    }

    #[test]
    fn a_file_that_knows_of_none_is_read_by_who_may_not_change_it() {
        let folder = tempfile::tempdir().unwrap();
        let shop = Key::new("shop", "requests");
        let mut store = SqliteStore::open(folder.path(), 300).unwrap();
        store.replace(&mut [Point { key: shop.clone(), start_s: 300, value: 7.0 }].into_iter()).unwrap();
        store.connection.execute("DROP TABLE hostile", []).unwrap();
        let reader = SqliteStore::open_to_read(folder.path()).unwrap();
        assert_eq!(reader.range(&shop, 0, 1_000).unwrap()[0].value, 7.0);
    }
}
