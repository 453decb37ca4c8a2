//! How far the counters of each proxy were counted.
//!
//! Version 2 of the schema has `counters.further`: what filters count beside the counters, as words without the zeros at
//! their end, little endian. u64 values are stored as the i64 with the same bits.

use forebay_plan::Key;
use forebay_protocol::extension::trimmed;
use forebay_protocol::{Counters, Further};
use rusqlite::{Connection, Row, Transaction, params};

use super::key_id;
use crate::observe::counted::Counted;
use crate::store::Cursor;

const COUNTERS: &str = "
SELECT tenant, resource, reserved_requests, reserved_units, standard_requests, standard_units,
       refused_requests, refused_units, further
FROM counters JOIN keys ON id = key_id WHERE proxy = ?1";

/// All cursors, by name.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<Cursor>> {
    let mut proxies = connection.prepare("SELECT name, boot_id, sequence, reported_s FROM proxies ORDER BY name")?;
    let cursor = |row: &Row<'_>| {
        Ok(Cursor {
            proxy: row.get(0)?,
            boot_id: row.get::<_, i64>(1)? as u64,
            sequence: row.get::<_, i64>(2)? as u64,
            reported_s: row.get(3)?,
            counters: Vec::new(),
        })
    };
    let rows = proxies.query_map([], cursor)?;
    let mut cursors = rows.collect::<Result<Vec<_>, _>>()?;
    let mut counters = connection.prepare(COUNTERS)?;
    for cursor in &mut cursors {
        let rows = counters.query_map([&cursor.proxy], counters_row)?;
        cursor.counters = rows.collect::<Result<_, _>>()?;
    }
    Ok(cursors)
}

/// Replaces a cursor, and of its counters those that moved.
pub(super) fn write(transaction: &Transaction<'_>, cursor: &Cursor) -> rusqlite::Result<()> {
    let (boot_id, sequence) = (cursor.boot_id as i64, cursor.sequence as i64);
    // The counters of an earlier boot mean nothing to this one.
    transaction
        .prepare_cached("DELETE FROM proxies WHERE name = ?1 AND boot_id != ?2")?
        .execute(params![cursor.proxy, boot_id])?;
    transaction
        .prepare_cached(
            "INSERT INTO proxies (name, boot_id, sequence, reported_s) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET sequence = excluded.sequence, reported_s = excluded.reported_s",
        )?
        .execute(params![cursor.proxy, boot_id, sequence, cursor.reported_s])?;
    for (key, Counted { counters, further }) in &cursor.counters {
        let id = key_id(transaction, key)?;
        let further: Vec<u8> = trimmed(&further.words()).iter().flat_map(|word| word.to_le_bytes()).collect();
        transaction
            .prepare_cached("INSERT OR REPLACE INTO counters VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
            .execute(params![
                cursor.proxy,
                id,
                counters.reserved_requests as i64,
                counters.reserved_units as i64,
                counters.standard_requests as i64,
                counters.standard_units as i64,
                counters.refused_requests as i64,
                counters.refused_units as i64,
                further,
            ])?;
    }
    Ok(())
}

fn counters_row(row: &Row<'_>) -> rusqlite::Result<(Key, Counted)> {
    let count = |column| row.get::<_, i64>(column).map(|value| value as u64);
    let counters = Counters {
        reserved_requests: count(2)?,
        reserved_units: count(3)?,
        standard_requests: count(4)?,
        standard_units: count(5)?,
        refused_requests: count(6)?,
        refused_units: count(7)?,
    };
    let further: Option<Vec<u8>> = row.get(8)?;
    let further = further.unwrap_or_default();
    let mut words = further.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes);
    let counted = Counted { counters, further: Further::read(&mut words) };
    Ok((Key::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?), counted))
}
