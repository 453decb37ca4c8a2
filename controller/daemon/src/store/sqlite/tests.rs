//! What a file keeps over reopening, and which files are refused.

use forebay_protocol::{Counters, Further};

use super::*;
use crate::observe::counted::Counted;

fn point(tenant: &str, start_s: i64, value: f64) -> Point {
    Point { key: Key::new(tenant, "requests"), start_s, value }
}

fn cursor(boot_id: u64, counters: Vec<(Key, Counted)>) -> Cursor {
    Cursor { proxy: "gateway".to_owned(), boot_id, sequence: u64::MAX, reported_s: 1.5, counters }
}

#[test]
fn points_add_up_and_cursors_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Key::new("shop", "requests");
    let counted = Counted {
        counters: Counters { refused_units: u64::MAX, ..Counters::default() },
        further: Further { charged_units: u64::MAX, ..Further::default() },
    };
    {
        let mut store = SqliteStore::open(folder.path(), 300).unwrap();
        let cursors = vec![cursor(7, vec![(shop.clone(), counted)])];
        store
            .add(&Flush { points: vec![point("shop", 300, 2.0), point("shop", 600, 1.0)], hostile: vec![], cursors })
            .unwrap();
        store.add(&Flush { points: vec![point("shop", 300, 0.5)], ..Flush::default() }).unwrap();
        store.set_epoch(42).unwrap();
        store.set_cap(&shop, 600, 0.25).unwrap();
    }
    let mut store = SqliteStore::open(folder.path(), 300).unwrap();
    let points = store.range(&shop, 0, 10_000).unwrap();
    assert_eq!(points[0], StoredPoint { start_s: 300, value: 2.5, hostile: 0.0, cap: None });
    assert_eq!(points[1], StoredPoint { start_s: 600, value: 1.0, hostile: 0.0, cap: Some(0.25) });
    assert_eq!(store.cursors().unwrap(), [cursor(7, vec![(shop.clone(), counted)])]);
    assert_eq!(store.epoch().unwrap(), 42);

    store.add(&Flush { cursors: vec![cursor(8, vec![])], ..Flush::default() }).unwrap();
    assert_eq!(store.cursors().unwrap(), [cursor(8, vec![])], "a new boot starts from nothing");
    assert_eq!(store.replace(&mut vec![point("shop", 600, 9.0)].into_iter()).unwrap(), 1);
    assert_eq!(
        store.range(&shop, 600, 601).unwrap()[0],
        StoredPoint { start_s: 600, value: 9.0, hostile: 0.0, cap: None }
    );
    assert_eq!(store.forget(600).unwrap(), 1);
    assert_eq!(store.range(&shop, 0, 10_000).unwrap().len(), 1);
}

#[test]
fn a_file_of_the_first_version_is_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Key::new("shop", "requests");
    let counters = Counters { standard_units: 5, ..Counters::default() };
    let counted = Counted { counters, further: Further { refunded_units: 3, ..Further::default() } };
    let mut store = SqliteStore::open(folder.path(), 300).unwrap();
    store.add(&Flush { cursors: vec![cursor(7, vec![(shop.clone(), counted)])], ..Flush::default() }).unwrap();
    drop(store);
    let first = Connection::open(folder.path().join("history.sqlite3")).unwrap();
    first.execute_batch("ALTER TABLE counters DROP COLUMN further; PRAGMA user_version = 1").unwrap();
    drop(first);
    for _ in 0..2 {
        let store = SqliteStore::open(folder.path(), 300).unwrap();
        let known = Counted { counters, ..Counted::default() };
        assert_eq!(store.cursors().unwrap(), [cursor(7, vec![(shop.clone(), known)])]);
    }
}

#[test]
fn another_step_or_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(folder.path(), 300).unwrap());
    assert!(matches!(SqliteStore::open(folder.path(), 60), Err(StoreError::Step { found: 300, wanted: 60, .. })));
    let other = Connection::open(folder.path().join("history.sqlite3")).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(SqliteStore::open(folder.path(), 300), Err(StoreError::Schema { found: 99, .. })));
}
