//! Places change hands: who is short takes the place of somebody who loses less without it.
//!
//! Prices of places share out a pool among many. Among few they do not: at one price all of some want a place, at the next
//! none, and whoever chose first has it, were it a service of two cores beside one that is short of a hundred. So in the
//! end those who are short ask, the most first, each the holders of places, those first where that seems to save most: one
//! instance goes, the one who asked fills up, then the other with what is left, larger instances in the places that it
//! still has among it, or with a place that it gets for its own. What costs less in sum stays.
//!
//! Least numbers of instances count here as if each were worth more than any place, promised instances never go. What cannot
//! be replaced in time is not traded. Work is counted, never timed, and soon done where there are many, which prices do well.

use super::covering::{Choice, Mix, Room, count_of, fill, give_back};
use super::step::Step;
use super::world::Candidate;

/// Share of what two parts cost that a trade must save.
const WORTH_IT: f64 = 1e-6;
/// What trying a trade counts as, in places looked at.
const TRIED: usize = 40;
/// Rounds in which all who are short ask.
const ROUNDS: u32 = 8;

/// A step's mixes, and what the pools have left beside them.
pub(super) struct Trading<'a, 'b, 'c> {
    pub(super) step: &'a Step<'b, 'c>,
    pub(super) mixes: &'a mut Vec<Mix>,
    pub(super) room: &'a mut Room,
    /// Work that may still be done: a place looked at is one, a trade tried [`TRIED`].
    pub(super) work: usize,
    /// What an instance too few counts as; micros an hour.
    pub(super) lacking_cost: f64,
    /// By pool: nothing, for what nobody pays for a place.
    pub(super) free: &'a [f64],
}

/// One instance of a part that has it in a pool that somebody asks for.
struct Offer {
    /// What a trade saves at most, as far as that can be told at a glance; micros an hour.
    saves: f64,
    holder: usize,
    /// Position among the holder's candidates.
    of: usize,
    /// What the one who asks gives for it: position among its own candidates.
    back: Option<usize>,
}

impl Trading<'_, '_, '_> {
    pub(super) fn trade(&mut self) {
        for _ in 0..ROUNDS {
            let mut traded = false;
            for (_, asking) in self.asking() {
                while self.work > 0 && self.ask(asking) {
                    traded = true;
                }
            }
            if !traded || self.work == 0 {
                return;
            }
        }
    }

    /// Those who are short and may have something else, the most first.
    fn asking(&self) -> Vec<(f64, usize)> {
        let wanting = |at: usize| {
            let choice = self.step.choice(at, self.free);
            choice.part.short_cost * choice.missing(&self.mixes[at]) + self.lacking(at, &self.mixes[at])
        };
        let of = (0..self.mixes.len()).filter(|at| self.is_free(*at)).map(|at| (wanting(at), at));
        let mut asking: Vec<(f64, usize)> = of.filter(|(wanting, _)| *wanting > 0.0).collect();
        asking.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        asking
    }

    fn is_free(&self, at: usize) -> bool {
        self.step.step >= self.step.world.parts[at].first_free
    }

    /// Asks the holders of places in each pool; whether somebody gave one.
    fn ask(&mut self, asking: usize) -> bool {
        let part = &self.step.world.parts[asking];
        for in_pool in part.candidates.chunk_by(|a, b| a.pool == b.pool) {
            let Some(largest) = in_pool.last() else { continue };
            self.work = self.work.saturating_sub(self.mixes.len());
            for offer in self.offers(asking, largest) {
                if self.work == 0 {
                    return false;
                }
                self.work = self.work.saturating_sub(TRIED);
                if self.is_traded(asking, &offer) {
                    return true;
                }
            }
        }
        false
    }

    /// What others might give in the pool of `largest`, and what for: nothing, or the place of an instance that the one who asks
    /// has elsewhere. Those first that promise to save most.
    fn offers(&self, asking: usize, largest: &Candidate) -> Vec<Offer> {
        let choice = self.step.choice(asking, self.free);
        let (part, mix) = (choice.part, &self.mixes[asking]);
        let missing = choice.missing(mix);
        let worth = part.short_cost * missing.min(largest.counted) + self.lacking(asking, mix);
        let is_given = |i: &usize| part.candidates[*i].pool != largest.pool && count_of(&choice.need.promised, *i) == 0;
        let given: Vec<usize> = mix.iter().map(|(i, _)| *i).filter(is_given).collect();
        let mut offers = Vec::new();
        for (holder, mix) in self.mixes.iter().enumerate().filter(|(at, _)| *at != asking && self.is_free(*at)) {
            let other = self.step.choice(holder, self.free);
            for (of, count) in mix {
                let candidate = &other.part.candidates[*of];
                if candidate.pool != largest.pool || *count <= count_of(&other.need.promised, *of) {
                    continue;
                }
                let mut offer = |saves: f64, back: Option<usize>| {
                    if saves > 0.0 {
                        offers.push(Offer { saves, holder, of: *of, back });
                    }
                };
                let loss = loss(&other, mix, *of);
                offer(worth - loss, None);
                for i in &given {
                    let back = &part.candidates[*i];
                    let more = missing.min(largest.counted - back.counted);
                    let held = largest_in(&other, back.pool);
                    let lost = loss.min(other.part.short_cost * (candidate.counted - held).max(0.0));
                    offer(part.short_cost * more - lost, Some(*i));
                }
            }
        }
        offers
            .sort_by(|a, b| b.saves.total_cmp(&a.saves).then((a.holder, a.of, a.back).cmp(&(b.holder, b.of, b.back))));
        offers
    }

    /// Tries one trade, and takes it back if it saves nothing.
    fn is_traded(&mut self, asking: usize, offer: &Offer) -> bool {
        let pair = [asking, offer.holder];
        let before: f64 = pair.iter().map(|at| self.per_h(*at, &self.mixes[*at])).sum();
        let mut room = self.room.clone();
        let mut mixes = pair.map(|at| self.mixes[at].clone());
        let choices = pair.map(|at| self.step.choice(at, self.free));
        give_back(&choices[1], &mut mixes[1], offer.of, 1, &mut room);
        if let Some(back) = offer.back {
            // The place that was asked for is not the holder's any more, nor the one that it gets that of who asked.
            let pool = choices[1].part.candidates[offer.of].pool;
            give_back(&choices[0], &mut mixes[0], back, 1, &mut room);
            room.instances[pool] -= 1;
            fill(&choices[1], &mut mixes[1], &mut room);
            room.instances[pool] += 1;
        }
        for (choice, mix) in choices.iter().zip(&mut mixes) {
            fill(choice, mix, &mut room);
        }
        let after: f64 = pair.iter().zip(&mixes).map(|(at, mix)| self.per_h(*at, mix)).sum();
        if after >= before * (1.0 - WORTH_IT) {
            return false;
        }
        *self.room = room;
        pair.into_iter().zip(mixes).for_each(|(at, mix)| self.mixes[at] = mix);
        true
    }

    /// What a part costs in an hour, with moving to it and what it lacks; micros.
    fn per_h(&self, at: usize, mix: &Mix) -> f64 {
        self.step.choice(at, self.free).cost(mix) + self.step.moving(at, mix) + self.lacking(at, mix)
    }

    /// What the instances that a part has too few count as; micros an hour.
    fn lacking(&self, at: usize, mix: &Mix) -> f64 {
        self.lacking_cost * f64::from(self.step.of_step[at].lacking(mix))
    }
}

/// What a part loses at most without one instance: but for what it has too much, and what larger ones in its other places
/// make up; micros an hour.
fn loss(choice: &Choice<'_>, mix: &Mix, of: usize) -> f64 {
    let candidates = &choice.part.candidates;
    let gone = &candidates[of];
    let largest = largest_in(choice, gone.pool);
    let others = mix.iter().filter(|(i, _)| candidates[*i].pool == gone.pool);
    let larger: f64 = others.map(|(i, count)| f64::from(*count) * (largest - candidates[*i].counted)).sum();
    let spare = (-choice.open(mix).all).max(0.0) + (larger - (largest - gone.counted)).max(0.0);
    choice.part.short_cost * (gone.counted - spare).max(0.0)
}

/// What the largest that a part may have in a pool is counted as; 0 where it may have none.
fn largest_in(choice: &Choice<'_>, pool: usize) -> f64 {
    // Candidates are ordered by pool, then by what they hold.
    let after = choice.part.candidates.partition_point(|of| of.pool <= pool);
    let last = after.checked_sub(1).map(|last| &choice.part.candidates[last]);
    last.filter(|of| of.pool == pool).map_or(0.0, |of| of.counted)
}
