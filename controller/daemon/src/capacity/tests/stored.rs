//! What is written down: again where it failed, and not where nothing changed.

use forebay_plan::capacity::InstanceState;

use super::Rig;

impl Rig {
    /// On the file of the store, beside it.
    fn sql(&self, statements: &str) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.folder.path().join("history.sqlite3")).unwrap();
        connection.execute_batch(statements).unwrap();
        connection
    }

    fn stored(&self, name: &str) -> Option<String> {
        let query = "SELECT state FROM capacity_state WHERE name = ?1";
        self.sql("").query_row(query, [format!("learned {name}")], |row| row.get(0)).ok()
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_written_with_the_next_turn() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(2).await;
    let before = rig.stored("pools");
    rig.sql(
        "CREATE TRIGGER full BEFORE INSERT ON capacity_state WHEN new.name = 'learned pools'
         BEGIN SELECT RAISE(ABORT, 'disk full'); END",
    );
    // The first instances become ready, which is learned once; then nothing is for a while.
    rig.turns(20).await;
    assert_eq!(rig.count(InstanceState::Ready), 3, "capacity goes on");
    assert_eq!(rig.stored("pools"), before);
    rig.sql("DROP TRIGGER full");
    rig.capacity.store_all();
    let after = rig.stored("pools");
    assert!(after != before && after.as_ref().is_some_and(|after| after.contains("leads")), "{after:?}");
}

#[tokio::test]
async fn a_dwell_is_written_when_a_group_begins_or_ends_to_be_wanted_and_not_at_each_turn() {
    let mut rig = Rig::new();
    rig.sql(
        "CREATE TABLE written (name TEXT);
         CREATE TRIGGER noted AFTER INSERT ON capacity_state WHEN new.name = 'learned dwell'
         BEGIN INSERT INTO written VALUES (new.name); END",
    );
    let written =
        |rig: &Rig| -> u32 { rig.sql("").query_row("SELECT count(*) FROM written", [], |row| row.get(0)).unwrap() };
    rig.expect(|_| 50.0);
    rig.turns(20).await;
    assert_eq!(rig.count(InstanceState::Ready), 6);
    let wanted = written(&rig);
    rig.turns(40).await;
    assert!(wanted > 0 && written(&rig) == wanted, "the same as before is not written: {} {wanted}", written(&rig));
    rig.expect(|_| 20.0);
    rig.turns(10).await;
    assert_eq!((rig.count(InstanceState::Ready), written(&rig)), (6, wanted + 1), "since when less is wanted");
}
