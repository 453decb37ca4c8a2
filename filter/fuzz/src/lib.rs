//! What the filter reads from outside, as functions that panic when a promise is broken.
//!
//! One function is one fuzz target, and takes whatever bytes. Three ways to run them:
//! - `cargo test -p forebay-fuzz` on any compiler: the committed corpus and bounded, deterministic mutations of it.
//! - `filter/fuzz/run.sh TARGET SECONDS` on stable: libFuzzer with the compiler's own coverage, no address sanitizer
//!   (the filter crates forbid unsafe code).
//! - `cargo fuzz run --fuzz-dir filter/fuzz --features libfuzzer TARGET` with nightly and cargo-fuzz.
//!
//! A new target is a function here, a file in `fuzz_targets/`, a `[[bin]]`, a folder in `corpus/` and a row in
//! `tests/replay.rs`. What a fuzzer finds goes into the corpus under a name that says what it is.

use forebay_admission::{KeyState, Nanos, SlotSet};
use forebay_engine::{Config, table};
use forebay_protocol::policy::{MAX_NAME_BYTES, MAX_RESOURCES};
use forebay_protocol::{Message, decode, encode};

/// A message of the sync path: decodes or says why not, and what decodes survives the round trip.
pub fn protocol(bytes: &[u8]) {
    match decode(bytes) {
        Ok(message) => assert_eq!(decode(&encode(&message)), Ok(message)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A part of a grant table as it lies in shared data, eight bytes of arrival and the message: refused, or grants that
/// the admission crate can work with at any instant.
pub fn grants(bytes: &[u8]) {
    let Some((arrived, message)) = bytes.split_first_chunk::<8>() else { return };
    let Ok(Message::GrantTable(part)) = decode(message) else { return };
    let arrived = Nanos(u64::from_le_bytes(*arrived));
    let Some(grants) = table::grants(&part, arrived) else { return };
    assert_eq!(grants.len(), part.grants.len());
    for key in grants {
        for name in [&key.tenant, &key.resource] {
            assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains('\0'));
        }
        let slots = &key.grant.slots;
        assert!(slots.len() <= table::MAX_SLOTS);
        assert!(slots.windows(2).all(|pair| pair[0].id < pair[1].id && pair[0].end <= pair[1].start));
        let instants = slots.iter().flat_map(|slot| [slot.start, slot.end]);
        for now in instants.chain([Nanos(0), arrived, Nanos(u64::MAX)]) {
            let running = key.grant.terms(now).slot;
            assert!(running.is_none_or(|slot| slot.start <= now && now < slot.end));
        }
    }
}

/// The plugin configuration: refused with a reason, or within its bounds.
pub fn config(bytes: &[u8]) {
    match Config::parse(bytes) {
        Ok(config) => assert!(config.policy.resources.len() <= MAX_RESOURCES),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Bucket states in shared data: not read, or read back as written.
pub fn states(bytes: &[u8]) {
    if let Some(state) = KeyState::decode(bytes) {
        assert_eq!(KeyState::decode(&state.encode()), Some(state));
    }
    if let Some(set) = SlotSet::decode(bytes) {
        assert_eq!(SlotSet::decode(&set.encode()), Some(set));
    }
}
