//! Larger instances in the places of smaller ones, where a pool is full.
//!
//! A pool has so many places, whatever the size of what stands in them. The cheapest size per unit is often a small one, so a
//! part that needs much fills a small pool with it and is short, although the pool could hold all of its need. Each round gives
//! so many of one kind the size of another, as few as end the shortage, where that saves most; what was promised stays.

use super::covering::{Choice, Mix, Room};

/// Changes the sizes in `mix` for as long as something is missing and that saves more than it costs.
pub(super) fn upgrade(choice: &Choice<'_>, mix: &mut Mix, room: &mut Room) {
    let candidates = &choice.part.candidates;
    // Each round ends the shortage or the smaller ones of a kind.
    for _ in 0..candidates.len() {
        let missing = choice.missing(mix);
        if missing <= 0.0 {
            return;
        }
        let mut best: Option<(f64, Mix)> = None;
        for (i, count) in mix.iter() {
            let promised = choice.need.promised.iter().find(|(of, _)| of == i).map_or(0, |(_, count)| *count);
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
                swap(&mut other, *i, j, swapped);
                let saved = choice.cost(mix) - choice.cost(&other);
                if swapped > 0 && saved > best.as_ref().map_or(0.0, |(most, _)| *most) {
                    best = Some((saved, other));
                }
            }
        }
        let Some((_, other)) = best else { return };
        mix.iter().for_each(|(i, count)| room.take(&candidates[*i], -i64::from(*count)));
        other.iter().for_each(|(i, count)| room.take(&candidates[*i], i64::from(*count)));
        *mix = other;
    }
}

/// Gives so many of one candidate the size of another.
fn swap(mix: &mut Mix, from: usize, to: usize, count: u32) {
    if let Some((_, has)) = mix.iter_mut().find(|(of, _)| *of == from) {
        *has -= count.min(*has);
    }
    match mix.iter_mut().find(|(of, _)| *of == to) {
        Some((_, has)) => *has += count,
        None => mix.push((to, count)),
    }
    mix.retain(|(_, count)| *count > 0);
}
