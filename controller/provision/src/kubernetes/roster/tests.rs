//! How much a change writes, and that nobody is left out who was to be remembered.

use super::*;

const BEGIN_MS: u64 = 1_800_000_000_000;

/// The `number`th instance, asked for at `requested_ms`, under an id as long as those of pods.
fn instance(number: u64, requested_ms: u64) -> Instance {
    let group =
        Group { service: format!("service-{}", number % 10), pool: "spot".to_owned(), shape: "Small".to_owned() };
    Instance {
        id: format!("01234567-89ab-cdef-0123-{number:012}"),
        group,
        state: InstanceState::Ready,
        requested_ms,
        ready_ms: Some(requested_ms + 30_000),
        address: None,
        is_interrupted: false,
    }
}

/// So many as come over a day, a few each minute.
fn over_a_day(count: u64) -> Vec<Instance> {
    (0..count).map(|number| instance(number, BEGIN_MS + number * 24 * 60 * MINUTE_MS / count)).collect()
}

/// Bytes that a cluster is sent, and that it stores, to bring one roster to the other.
fn written_bytes(before: &Roster, after: &Roster) -> usize {
    let changed = after.changed(before).into_iter();
    changed.map(|number| json!({ "data": after.sheet(number) }).to_string().len()).sum()
}

fn held(roster: &Roster) -> usize {
    let texts = roster.sheets.values().flat_map(BTreeMap::values);
    texts.map(|text| serde_json::from_str::<Entry>(text).map_or(0, |entry| entry.instances.len())).sum()
}

#[test]
fn a_change_writes_its_sheet_and_a_scale_up_those_of_its_minute() {
    let mut instances = over_a_day(5_000);
    let (before, left_out) = of(&instances);
    assert_eq!((held(&before), left_out), (5_000, 0));
    let all_bytes = written_bytes(&Roster::default(), &before);
    assert!(all_bytes > 300_000, "{all_bytes}");

    let mut fewer = instances.clone();
    fewer.remove(2_500);
    let one_bytes = written_bytes(&before, &of(&fewer).0);
    assert!(one_bytes < all_bytes / 15, "one that ends writes {one_bytes} of {all_bytes}");

    let now_ms = BEGIN_MS + 25 * 60 * MINUTE_MS;
    instances.extend((5_000..5_500).map(|number| instance(number, now_ms)));
    let (after, _) = of(&instances);
    let up_bytes = written_bytes(&before, &after);
    assert!(up_bytes < all_bytes * 2 / 5, "500 more write {up_bytes} of {all_bytes}");
    // As they become ready, and as they are given back, it is those sheets again.
    assert!(after.changed(&before).len() <= SHEETS_OF_A_MINUTE as usize);
}

#[test]
fn a_cluster_that_starts_at_once_has_room() {
    let instances: Vec<Instance> = (0..100_000).map(|number| instance(number, BEGIN_MS)).collect();
    let (roster, left_out) = of(&instances);
    assert_eq!((held(&roster), left_out), (100_000, 0), "as many as are remembered");
    for sheet in roster.sheets.values() {
        let bytes: usize = sheet.iter().map(|(name, text)| name.len() + text.len()).sum();
        assert!(bytes <= 1 << 20, "a ConfigMap of {bytes} bytes is refused");
    }
}

#[test]
fn what_has_no_room_is_counted_and_the_rest_is_kept() {
    let long = "i".repeat(200);
    let instances: Vec<Instance> =
        (0..40_000).map(|number| Instance { id: format!("{long}-{number}"), ..instance(number, BEGIN_MS) }).collect();
    let (roster, left_out) = of(&instances);
    assert!(left_out > 0 && held(&roster) + left_out == 40_000, "{left_out}");
    for sheet in roster.sheets.values() {
        let bytes: usize = sheet.iter().map(|(name, text)| name.len() + text.len()).sum();
        assert!(bytes <= SHEET_BYTES_MAX, "{bytes}");
    }
}

#[test]
fn what_stays_is_not_written_again_and_a_sheet_that_empties_is() {
    let instances = over_a_day(50);
    let (before, _) = of(&instances);
    assert!(of(&instances).0.changed(&before).is_empty());
    let (none, _) = of(&[]);
    assert_eq!(none.changed(&before).len(), before.sheets.len());
    // An object that was never made needs none for nobody.
    assert!(none.changed(&Roster::default()).is_empty());
}
