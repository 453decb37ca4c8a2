//! What of capacity must survive a restart, in tables beside the history. Documents are JSON, so that people can query
//! them too. The tables are made where they are missing, in files of any version.

use std::collections::BTreeMap;

use forebay_plan::Key;
use forebay_plan::simulation::{QUANTILES, Sight};
use rusqlite::{OptionalExtension, params};

use super::SqliteStore;
use crate::capacity::allocations::Allocation;
use crate::capacity::foreseeing::{SEEN_KEPT_S, Seen};
use crate::capacity::ledger::Supply;
use crate::capacity::spending::Spending;
use crate::store::capacity::CapacityStore;
use crate::store::{HistoryStore, StoreError};

/// Decisions kept: at one every five minutes three months, and about 50 MB at 2 KB each.
const MAX_DECISIONS: u32 = 25_000;

/// How far back the ledger reaches, calendar seconds: a year, of which five-minute steps take about 4 MB a service.
const SUPPLY_KEPT_S: i64 = 366 * 86_400;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS capacity_state (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS allocations (id TEXT PRIMARY KEY, made_ms INTEGER NOT NULL, allocation TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS capacity_decisions (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, decision TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS capacity_supply (
  service TEXT NOT NULL, start_s INTEGER NOT NULL, ready_per_s REAL NOT NULL, cost_micros REAL NOT NULL,
  PRIMARY KEY (service, start_s)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS capacity_seen (
  service TEXT NOT NULL, start_s INTEGER NOT NULL, demand_per_s REAL, served INTEGER NOT NULL, upper BLOB NOT NULL,
  PRIMARY KEY (service, start_s)
) WITHOUT ROWID;
";

const SPENDING: &str = "spending";

impl SqliteStore {
    fn state(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.connection
            .prepare_cached("SELECT state FROM capacity_state WHERE name = ?1")
            .and_then(|mut query| query.query_row([name], |row| row.get(0)).optional())
            .map_err(self.failed("read what is known of capacity"))
    }

    fn set_state(&mut self, name: &str, state: &str) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO capacity_state (name, state) VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute([name, state]))
            .map_err(self.failed("note what is known of capacity"))?;
        Ok(())
    }

    /// A document that this build wrote; one of another shape is an error, because money must not be forgotten.
    fn parsed<T: serde::de::DeserializeOwned>(&self, text: &str) -> Result<T, StoreError> {
        let unread = |error: serde_json::Error| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
        };
        serde_json::from_str(text).map_err(unread).map_err(self.failed("read what is known of capacity"))
    }
}

/// What came of a step as it is stored. Older builds read what says nothing as served.
fn outcome(seen: &Seen) -> i64 {
    match seen.sight.served {
        Some(served) => i64::from(served),
        None if seen.is_retold => RETOLD,
        None => 2,
    }
}

const RETOLD: i64 = 3;

/// Forecasts as they are stored, four bytes each, little endian: they are rounded to that before they are used.
fn packed(upper: &[f64]) -> Vec<u8> {
    upper.iter().flat_map(|upper| (*upper as f32).to_le_bytes()).collect()
}

/// Those that another build stored fewer of are not known.
fn unpacked(bytes: &[u8]) -> [f64; QUANTILES.len()] {
    let stored: Vec<f64> = bytes.as_chunks::<4>().0.iter().map(|four| f64::from(f32::from_le_bytes(*four))).collect();
    std::array::from_fn(|place| stored.get(place).copied().unwrap_or(f64::NAN))
}

fn text<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

impl CapacityStore for SqliteStore {
    fn spending(&self) -> Result<Option<Spending>, StoreError> {
        self.state(SPENDING)?.map(|stored| self.parsed(&stored)).transpose()
    }

    fn set_spending(&mut self, spending: &Spending) -> Result<(), StoreError> {
        let stored = text(spending).map_err(self.failed("note what was spent"))?;
        self.set_state(SPENDING, &stored)
    }

    fn allocations(&self) -> Result<Vec<Allocation>, StoreError> {
        let failed = self.failed("read allocations");
        let mut query = self
            .connection
            .prepare_cached("SELECT allocation FROM allocations ORDER BY made_ms, id")
            .map_err(&failed)?;
        let rows = query.query_map([], |row| row.get::<_, String>(0)).map_err(&failed)?;
        let stored: Vec<String> = rows.collect::<Result<_, _>>().map_err(&failed)?;
        stored.iter().map(|stored| self.parsed(stored)).collect()
    }

    fn set_allocations(&mut self, allocations: &[Allocation]) -> Result<(), StoreError> {
        if allocations.is_empty() {
            return Ok(());
        }
        let failed = self.failed("note allocations");
        let transaction = self.connection.transaction().map_err(&failed)?;
        for one in allocations {
            let stored = text(one).map_err(&failed)?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO allocations (id, made_ms, allocation) VALUES (?1, ?2, ?3)")
                .and_then(|mut insert| insert.execute(params![one.id, one.made_ms as i64, stored]))
                .map_err(&failed)?;
        }
        transaction.commit().map_err(failed)
    }

    fn note_decision(&mut self, at_ms: u64, decision: &str) -> Result<(), StoreError> {
        let failed = self.failed("note a decision");
        self.connection
            .prepare_cached("INSERT INTO capacity_decisions (at_ms, decision) VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute(params![at_ms as i64, decision]))
            .map_err(&failed)?;
        self.connection
            .prepare_cached(
                "DELETE FROM capacity_decisions
                 WHERE id <= (SELECT id FROM capacity_decisions ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            )
            .and_then(|mut delete| delete.execute([MAX_DECISIONS]))
            .map_err(failed)?;
        Ok(())
    }

    fn decisions(&self, most: u32) -> Result<Vec<String>, StoreError> {
        let failed = self.failed("read decisions");
        let mut query = self
            .connection
            .prepare_cached("SELECT decision FROM capacity_decisions ORDER BY id DESC LIMIT ?1")
            .map_err(&failed)?;
        let rows = query.query_map([most], |row| row.get(0)).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    fn add_supply(&mut self, supply: &[Supply]) -> Result<(), StoreError> {
        let failed = self.failed("note supply");
        for one in supply {
            self.connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO capacity_supply (service, start_s, ready_per_s, cost_micros)
                     VALUES (?1, ?2, ?3, ?4)",
                )
                .and_then(|mut insert| {
                    insert.execute(params![one.service, one.start_s, one.ready_per_s, one.cost_micros])
                })
                .map_err(&failed)?;
            self.connection
                .prepare_cached("DELETE FROM capacity_supply WHERE service = ?1 AND start_s < ?2")
                .and_then(|mut delete| delete.execute(params![one.service, one.start_s - SUPPLY_KEPT_S]))
                .map_err(&failed)?;
        }
        Ok(())
    }

    fn supply(&self, service: &str, from_s: i64, to_s: i64) -> Result<Vec<Supply>, StoreError> {
        let failed = self.failed("read supply");
        let mut query = self
            .connection
            .prepare_cached(
                "SELECT start_s, ready_per_s, cost_micros FROM capacity_supply
                 WHERE service = ?1 AND start_s >= ?2 AND start_s < ?3 ORDER BY start_s",
            )
            .map_err(&failed)?;
        let rows = query.query_map(params![service, from_s, to_s], |row| {
            let (start_s, ready_per_s, cost_micros) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Supply { service: service.to_owned(), start_s, ready_per_s, cost_micros })
        });
        rows.map_err(&failed)?.collect::<Result<_, _>>().map_err(failed)
    }

    fn add_seen(&mut self, seen: &[Seen]) -> Result<(), StoreError> {
        if seen.is_empty() {
            return Ok(());
        }
        let failed = self.failed("note what was seen of demand");
        let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
        let transaction = self.connection.transaction().map_err(&failed)?;
        for one in seen {
            let demand_per_s = Some(one.sight.demand_per_s).filter(|demand| !demand.is_nan());
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO capacity_seen (service, start_s, demand_per_s, served, upper)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )
                .and_then(|mut insert| {
                    let upper = packed(&one.sight.upper);
                    let outcome = outcome(one);
                    insert.execute(params![one.service, one.start_s, demand_per_s, outcome, upper])
                })
                .map_err(&failed)?;
            let newest_s = newest.entry(one.service.as_str()).or_insert(one.start_s);
            *newest_s = one.start_s.max(*newest_s);
        }
        for (service, newest_s) in newest {
            transaction
                .prepare_cached("DELETE FROM capacity_seen WHERE service = ?1 AND start_s < ?2")
                .and_then(|mut delete| delete.execute(params![service, newest_s - SEEN_KEPT_S]))
                .map_err(&failed)?;
        }
        transaction.commit().map_err(failed)
    }

    fn seen(&self, service: &str, from_s: i64, to_s: i64) -> Result<Vec<Seen>, StoreError> {
        let failed = self.failed("read what was seen of demand");
        let mut query = self
            .connection
            .prepare_cached(
                "SELECT start_s, demand_per_s, served, upper FROM capacity_seen
                 WHERE service = ?1 AND start_s >= ?2 AND start_s < ?3 ORDER BY start_s",
            )
            .map_err(&failed)?;
        let rows = query.query_map(params![service, from_s, to_s], |row| {
            let demand_per_s: Option<f64> = row.get(1)?;
            let upper: Vec<u8> = row.get(3)?;
            let demand_per_s = demand_per_s.unwrap_or(f64::NAN);
            let outcome = row.get::<_, i64>(2)?;
            let served = (outcome < 2).then_some(outcome == 1);
            let sight = Sight { demand_per_s, served, upper: unpacked(&upper) };
            let is_retold = outcome == RETOLD;
            Ok(Seen { service: service.to_owned(), start_s: row.get(0)?, sight, is_retold })
        });
        rows.map_err(&failed)?.collect::<Result<_, _>>().map_err(failed)
    }

    fn offered(&self, keys: &[Key], from_s: i64, to_s: i64) -> Result<BTreeMap<i64, f64>, StoreError> {
        let mut offered = BTreeMap::new();
        for key in keys {
            for point in self.range(key, from_s, to_s)? {
                *offered.entry(point.start_s).or_insert(0.0) += point.value.max(0.0);
            }
        }
        Ok(offered)
    }

    fn learned(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.state(&format!("learned {name}"))
    }

    fn set_learned(&mut self, name: &str, learned: &str) -> Result<(), StoreError> {
        self.set_state(&format!("learned {name}"), learned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_read_as_it_was_written_and_leaves_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path(), 300).unwrap();
        let seen = |service: &str, start_s: i64, served: Option<bool>, is_retold: bool| {
            let sight = Sight { demand_per_s: 3.5, served, upper: [1.25; QUANTILES.len()] };
            Seen { service: service.to_owned(), start_s, sight, is_retold }
        };
        let of_shop = [
            seen("shop", 600, None, true),
            seen("shop", 900, None, false),
            seen("shop", 1200, Some(true), false),
            seen("shop", 1500, Some(false), false),
        ];
        let others = [seen("feed", 0, Some(true), false), seen("feed", SEEN_KEPT_S + 1, Some(true), false)];
        store.add_seen(&[others.as_slice(), &of_shop].concat()).unwrap();
        assert_eq!(store.seen("shop", 0, 10_000).unwrap(), of_shop);
        assert_eq!(store.seen("feed", 0, i64::MAX).unwrap(), others[1..], "of each by its own newest");
        // As builds before could tell only whether a step had been short.
        let old = "INSERT OR REPLACE INTO capacity_seen VALUES ('shop', 600, NULL, 1, x'')";
        store.connection.execute_batch(old).unwrap();
        let read = store.seen("shop", 600, 601).unwrap();
        assert!(read[0].sight.served == Some(true) && read[0].sight.demand_per_s.is_nan() && !read[0].is_retold);
    }
}
