//! Larger instances in the places of smaller ones, where a pool is full.
//!
//! A pool has so many places, whatever the size of what stands in them. The cheapest size per unit is often a small one, so a
//! part that needs much fills a small pool with it and is short, although the pool could hold all of its need. Each round gives
//! so many of one kind the size of another, as few as end the shortage, where that saves most; what was promised stays.

use super::covering::{Choice, Mix, Room, add, count_of, give_back, put_in, take_out};

/// Changes the sizes in `mix` for as long as something is missing and that saves more than it costs.
pub(super) fn upgrade(choice: &Choice<'_>, mix: &mut Mix, room: &mut Room) {
    let candidates = &choice.part.candidates;
    // Each round ends the shortage or the smaller ones of a kind.
    for _ in 0..candidates.len() {
        let missing = choice.missing(mix);
        if missing <= 0.0 {
            return;
        }
        // What is saved, by giving how many of the one the size of the other.
        let mut best: Option<(f64, usize, usize, u32)> = None;
        for (i, count) in mix.iter() {
            let promised = count_of(&choice.need.promised, *i);
            let small = &candidates[*i];
            for (j, large) in candidates.iter().enumerate() {
                let gain = large.counted - small.counted;
                if large.pool != small.pool || gain <= 0.0 || choice.step < large.first_step {
                    continue;
                }
                let dearer = (large.hourly as f64 - small.hourly as f64).max(1e-9);
                let affordable = (room.hourly[small.pool].max(0.0) / dearer) as u32;
                let swapped = ((missing / gain).ceil() as u32).min(count.saturating_sub(promised)).min(affordable);
                let mut other = mix.clone();
                take_out(&mut other, *i, swapped);
                put_in(&mut other, j, swapped);
                let saved = choice.cost(mix) - choice.cost(&other);
                if swapped > 0 && saved > best.map_or(0.0, |(most, ..)| most) {
                    best = Some((saved, *i, j, swapped));
                }
            }
        }
        let Some((_, from, to, count)) = best else { return };
        give_back(choice, mix, from, count, room);
        add(choice, mix, to, count, room);
    }
}
