//! What a worker needs for names without contract, counted by the allocator: 1,000,000 distinct names, 10,000 live.
//!
//! Alone in its binary, because the count is the process's. Print it with
//! `cargo test -p forebay-admission --test slot_memory -- --nocapture`.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use forebay_admission::seats::{Entry, MAX_SLOTS};
use forebay_admission::sketch::DEFAULT_COLUMNS;
use forebay_admission::{
    Account, Charge, Clock, Conditions, Contended, Grant, Limit, Nanos, Place, Rate, Seats, Seed, Sketch, SlotLedger,
    SlotSet, SlotStore, Verdict, admit,
};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's doing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Shared data belongs to the proxy, not to a VM: it is made before counting begins.
struct Store(Vec<Option<SlotSet>>);

impl SlotStore for Store {
    fn replace_set(
        &mut self,
        set: usize,
        change: &mut dyn FnMut(Option<SlotSet>) -> Option<SlotSet>,
    ) -> Result<(), Contended> {
        if let Some(new) = change(self.0[set]) {
            self.0[set] = Some(new);
        }
        Ok(())
    }
}

#[test]
fn a_million_names_at_ten_thousand_live_ones_within_32_mib() {
    let limit = Limit::new(Rate::per_s(10), 20);
    let mut store = Store(vec![None; MAX_SLOTS / 8]);
    let seed = Seed([3, 4]);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);

    let mut seats = Seats::new(MAX_SLOTS);
    let mut sketch = Sketch::new(DEFAULT_COLUMNS, Nanos(0));
    let mut accounts = vec![Account::new(Grant::fixed(limit)); seats.slots()];
    let fixed = LIVE.load(Relaxed) - before;
    let mut admitted = 0u64;
    for step in 0..1_000_000u64 {
        let now = Nanos(step * 10_000);
        let live = (step % 10_000).to_le_bytes();
        let invented = (1_000_000 + step).to_le_bytes();
        for name in [&live, &invented] {
            let name = seed.fingerprint(b"requests", name);
            let entry = Entry { limit, born: Nanos(0), now };
            let slot = match seats.place(name, &entry, &mut sketch, &mut store) {
                Place::Overflow => continue,
                Place::Slot(slot) => slot,
                Place::NewSlot(slot) => {
                    accounts[slot] = Account::new(Grant::fixed(limit));
                    slot
                }
            };
            let conditions = Conditions { born: Nanos(0), valid_until: Nanos(u64::MAX), workers: 8, pools: &[] };
            let mut ledger = SlotLedger { seats: &mut seats, store: &mut store, now };
            let verdict = admit(
                &mut accounts,
                &[Charge { key: slot, cost: 1 }],
                &conditions,
                &mut Clock::exact(now),
                &mut ledger,
            );
            admitted += u64::from(matches!(verdict, Verdict::Admit(_)));
        }
    }
    // Before anything is printed, because captured output is allocated too.
    let (peak, at_end) = (PEAK.load(Relaxed) - before, LIVE.load(Relaxed) - before);
    let (sketch_bytes, seat_bytes) = (sketch.heap_bytes(), seats.heap_bytes());
    println!(
        "peak {peak} bytes = {:.1} MiB: {sketch_bytes} sketch, {seat_bytes} seats, {} accounts of {} bytes",
        peak as f64 / f64::from(1 << 20),
        seats.slots(),
        size_of::<Account>()
    );
    assert!(admitted > 900_000, "live names are served: {admitted}");
    assert!(peak <= 32 << 20, "{peak} bytes");
    // The test harness allocates a little on threads of its own.
    assert!(at_end <= fixed + (64 << 10), "what clients send adds nothing: {fixed} grew to {at_end} bytes");
}
