//! One part of a service in one step: whole instances that cover its need at the least cost.
//!
//! A covering knapsack with two rows (all of the need, and the share of it that must not be spot) and shared room in the
//! pools. Most of the need goes to the candidate that is cheapest per unit, which is what the linear relaxation does with
//! all of it; the *tail*, less than one such instance, goes to the cheapest one or two instances of any size that hold it.
//! So the cost is above the relaxation by less than the rounding of one instance, and each choice is a few scans.
//! A step covers the tail anew where more sizes fit it better ([`super::branching`]). Where a pool is full, larger
//! instances take the places of smaller ones ([`super::upgrading`]), and an instance that is worth less than its place is
//! to others is left.
//!
//! What runs already is looked at the same way: [`trimmed`] gives up what is too much and [`fill`] adds what is missing,
//! [`fresh`] starts from nothing. Which of the two is better is the caller's question.

use super::knapsack::Open;
use super::upgrading::upgrade;
use super::world::{Candidate, Part};

/// Positions of candidates with the number of instances of each; none twice, no zeros.
pub(super) type Mix = Vec<(usize, u32)>;

/// Instances of a candidate in a mix.
pub(super) fn count_of(mix: &Mix, i: usize) -> u32 {
    mix.iter().find(|(of, _)| *of == i).map_or(0, |(_, count)| *count)
}

/// What a part needs in a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Need {
    /// Units per second.
    pub(super) units: f64,
    /// Instances at least.
    pub(super) count: u32,
    /// Instances that were promised, by candidate.
    pub(super) promised: Mix,
}

impl Need {
    /// Instances that a mix has too few.
    pub(super) fn lacking(&self, mix: &Mix) -> u32 {
        let has = mix.iter().fold(0_u32, |sum, (_, count)| sum.saturating_add(*count));
        self.count.saturating_sub(has)
    }
}

/// What is left in the pools.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// Instances by pool; below zero where more run than there is room for.
    pub(super) instances: Vec<i64>,
    /// Micros an hour by pool, where a budget limits them.
    pub(super) hourly: Vec<f64>,
}

impl Room {
    pub(super) fn of(&self, candidate: &Candidate) -> u32 {
        let places = self.instances[candidate.pool].clamp(0, i64::from(u32::MAX));
        let hourly = self.hourly[candidate.pool].max(0.0);
        let affordable =
            if hourly < f64::INFINITY { (hourly / (candidate.hourly as f64).max(1e-9)) as i64 } else { places };
        places.min(affordable) as u32
    }

    /// Whether no more is taken than there is.
    pub(super) fn is_kept(&self) -> bool {
        self.instances.iter().all(|left| *left >= 0) && self.hourly.iter().all(|left| *left >= 0.0)
    }

    /// Takes instances, or gives them back where `count` is negative.
    pub(super) fn take(&mut self, candidate: &Candidate, count: i64) {
        self.instances[candidate.pool] -= count;
        self.hourly[candidate.pool] -= count as f64 * candidate.hourly as f64;
    }
}

/// What a part is chosen for.
pub(super) struct Choice<'a> {
    pub(super) part: &'a Part,
    pub(super) need: &'a Need,
    /// The step: what cannot serve by then is not added.
    pub(super) step: usize,
    /// What an instance costs beside its price, by pool: what it is worth to others.
    pub(super) extra: &'a [f64],
}

/// What a mix holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    stable: f64,
    spot: f64,
    count: u32,
}

impl Held {
    fn add(&mut self, candidate: &Candidate, count: f64) {
        *(if candidate.is_spot { &mut self.spot } else { &mut self.stable }) += candidate.counted * count;
        self.count = (f64::from(self.count) + count) as u32;
    }

    fn units(&self) -> f64 {
        self.stable + self.spot
    }
}

impl Choice<'_> {
    fn stable_need(&self) -> f64 {
        (1.0 - self.part.spot_share) * self.need.units
    }

    fn held(&self, mix: &Mix) -> Held {
        let mut held = Held::default();
        mix.iter().for_each(|(i, count)| held.add(&self.part.candidates[*i], f64::from(*count)));
        held
    }

    fn cost_of(&self, i: usize) -> f64 {
        self.part.candidates[i].cost + self.extra[self.part.candidates[i].pool]
    }

    /// Units per second that are missing, those that spot covers beyond its share among them.
    pub(super) fn missing(&self, mix: &Mix) -> f64 {
        let held = self.held(mix);
        let stable = self.stable_need();
        let rest = self.need.units - stable;
        let missing = (stable - held.stable).max(0.0) + (rest - held.spot - (held.stable - stable).max(0.0)).max(0.0);
        if missing > 1e-9 * self.need.units { missing } else { 0.0 }
    }

    /// What an hour of the mix is compared by, with what is missing; micros.
    pub(super) fn cost(&self, mix: &Mix) -> f64 {
        let paid: f64 = mix.iter().map(|(i, count)| f64::from(*count) * self.cost_of(*i)).sum();
        paid + self.part.short_cost * self.missing(mix)
    }

    /// What a mix leaves uncovered.
    pub(super) fn open(&self, mix: &Mix) -> Open {
        let held = self.held(mix);
        let (stable, all) = (self.stable_need() - held.stable, self.need.units - held.units());
        Open { cost: 0.0, stable, all, from: 0 }
    }

    /// Whether an instance is worth what its place is to others.
    fn is_worth(&self, i: usize) -> bool {
        let candidate = &self.part.candidates[i];
        let worth = self.part.short_cost * candidate.counted;
        candidate.cost > worth || self.cost_of(i) <= worth
    }

    fn can_add(&self, i: usize, room: &Room) -> bool {
        self.step >= self.part.candidates[i].first_step && room.of(&self.part.candidates[i]) > 0
    }
}

/// The cheapest mix from nothing. Takes its room.
pub(super) fn fresh(choice: &Choice<'_>, room: &mut Room) -> Mix {
    let mut mix = Mix::new();
    fill(choice, &mut mix, room);
    mix
}

/// What of `running` is still needed. `hold` says how many units per second are not to be given up although the step needs
/// less. Takes its room.
pub(super) fn trimmed(choice: &Choice<'_>, running: &Mix, hold: f64, room: &mut Room) -> Mix {
    let mut mix = Mix::new();
    for (i, count) in running {
        let candidate = &choice.part.candidates[*i];
        let count = (*count).min(room.of(candidate));
        if count > 0 {
            room.take(candidate, i64::from(count));
            mix.push((*i, count));
        }
    }
    give_up(choice, &mut mix, hold.max(choice.need.units), room);
    mix
}

/// Gives up what is not needed for `units` per second, the dearest per unit first.
fn give_up(choice: &Choice<'_>, mix: &mut Mix, units: f64, room: &mut Room) {
    let candidates = &choice.part.candidates;
    let mut held = choice.held(mix);
    let dearness = |i: usize| choice.cost_of(i) / candidates[i].counted;
    mix.sort_by(|a, b| dearness(b.0).total_cmp(&dearness(a.0)).then(a.0.cmp(&b.0)));
    let stable = (1.0 - choice.part.spot_share) * units;
    for (i, count) in mix.iter_mut() {
        let candidate = &candidates[*i];
        let mut spare = held.units() - units;
        if !candidate.is_spot {
            spare = spare.min(held.stable - stable);
        }
        let promised = count_of(&choice.need.promised, *i);
        let most = (*count).saturating_sub(promised).min(held.count.saturating_sub(choice.need.count));
        let gone = ((spare / candidate.counted + 1e-9).max(0.0) as u32).min(most);
        *count -= gone;
        held.add(candidate, -f64::from(gone));
        room.take(candidate, -i64::from(gone));
    }
    mix.retain(|(_, count)| *count > 0);
}

/// Adds what is missing: first what was promised, then what must not be spot, then the rest, then the least number.
pub(super) fn fill(choice: &Choice<'_>, mix: &mut Mix, room: &mut Room) {
    for (i, promised) in &choice.need.promised {
        let has = count_of(mix, *i);
        if choice.can_add(*i, room) {
            let more = promised.saturating_sub(has).min(room.of(&choice.part.candidates[*i]));
            add(choice, mix, *i, more, room);
        }
    }
    let held = choice.held(mix);
    let tolerance = 1e-9 * choice.need.units;
    let stable = choice.stable_need() - held.stable;
    if stable > tolerance {
        cover(choice, mix, stable, true, room);
    }
    let rest = choice.need.units - choice.held(mix).units();
    if rest > tolerance {
        cover(choice, mix, rest, false, room);
    }
    upgrade(choice, mix, room);
    while choice.held(mix).count < choice.need.count {
        let open = (0..choice.part.candidates.len()).filter(|i| choice.can_add(*i, room));
        let Some(i) = open.min_by(|a, b| choice.cost_of(*a).total_cmp(&choice.cost_of(*b))) else {
            return;
        };
        let more = choice.need.count - choice.held(mix).count;
        let more = more.min(room.of(&choice.part.candidates[i]));
        add(choice, mix, i, more, room);
    }
}

pub(super) fn add(choice: &Choice<'_>, mix: &mut Mix, i: usize, count: u32, room: &mut Room) {
    room.take(&choice.part.candidates[i], i64::from(count));
    put_in(mix, i, count);
}

/// Adds instances to a mix, without their room.
pub(super) fn put_in(mix: &mut Mix, i: usize, count: u32) {
    match mix.iter_mut().find(|(of, _)| *of == i) {
        Some((_, has)) => *has = has.saturating_add(count),
        None if count > 0 => mix.push((i, count)),
        None => {}
    }
}

/// Covers `units` more, with what is not spot only where `is_stable`. Leaves open what there is no room for.
fn cover(choice: &Choice<'_>, mix: &mut Mix, mut units: f64, is_stable: bool, room: &mut Room) {
    let candidates = &choice.part.candidates;
    let usable = |i: &usize| {
        !(is_stable && candidates[*i].is_spot) && choice.step >= candidates[*i].first_step && choice.is_worth(*i)
    };
    let mut open: Vec<(f64, usize)> = (choice.part.by_size.iter().copied().filter(usable))
        .map(|i| (candidates[i].ratio(choice.extra[candidates[i].pool]), i))
        .collect();
    let tolerance = 1e-9 * choice.need.units;
    loop {
        open.retain(|(_, i)| room.of(&candidates[*i]) > 0);
        // Of equal price per unit the larger first: the tail is what small ones are for.
        let Some((_, i)) = open.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))) else { return };
        let candidate = &candidates[i];
        let room_left = room.of(candidate);
        let whole = (units / candidate.counted + 1e-9) as u32;
        if whole >= room_left {
            add(choice, mix, i, room_left, room);
            units -= f64::from(room_left) * candidate.counted;
            if units <= tolerance {
                return;
            }
            continue;
        }
        add(choice, mix, i, whole, room);
        let left = units - f64::from(whole) * candidate.counted;
        if left <= tolerance {
            return;
        }
        let tail = Tail::new(choice, &open, room);
        let plain = tail.cheapest(left);
        // One fewer of the bulk may leave a tail that fits better.
        let wider = if whole > 0 { tail.cheapest(left + candidate.counted) } else { None };
        let (cost, picks, fewer) = match (plain, wider) {
            (Some((cost, _)), Some((wider, picks))) if wider < cost + choice.cost_of(i) => {
                (wider - choice.cost_of(i), picks, 1)
            }
            (Some((cost, picks)), _) => (cost, picks, 0),
            (None, _) => (choice.cost_of(i), vec![i], 0),
        };
        let own = picks.iter().map(|pick| candidates[*pick].cost).sum::<f64>() - f64::from(fewer) * candidate.cost;
        let worth = choice.part.short_cost * left;
        // What is left of the need may be worth less than the places that it takes are to others.
        if own > worth || cost <= worth {
            give_back(choice, mix, i, fewer, room);
            picks.iter().for_each(|pick| add(choice, mix, *pick, 1, room));
        }
        return;
    }
}

pub(super) fn give_back(choice: &Choice<'_>, mix: &mut Mix, i: usize, count: u32, room: &mut Room) {
    room.take(&choice.part.candidates[i], -i64::from(take_out(mix, i, count)));
}

/// Takes instances out of a mix, as many as it has; how many that were. Leaves their room.
pub(super) fn take_out(mix: &mut Mix, i: usize, count: u32) -> u32 {
    let taken = count_of(mix, i).min(count);
    mix.iter_mut().filter(|(of, _)| *of == i).for_each(|(_, has)| *has -= taken);
    mix.retain(|(_, count)| *count > 0);
    taken
}

/// What may serve a tail, ordered by what it holds; beside each the cheapest of those that hold at least as much.
struct Tail<'a, 'b> {
    choice: &'a Choice<'b>,
    room: &'a Room,
    by_size: Vec<(f64, usize)>,
    cheapest_from: Vec<usize>,
}

impl<'a, 'b> Tail<'a, 'b> {
    /// `open` are those that may be added, ordered by what they hold.
    fn new(choice: &'a Choice<'b>, open: &[(f64, usize)], room: &'a Room) -> Self {
        let candidates = &choice.part.candidates;
        let usable = open.iter().filter(|(_, i)| room.of(&candidates[*i]) >= 1);
        let by_size: Vec<(f64, usize)> = usable.map(|(_, i)| (candidates[*i].counted, *i)).collect();
        let mut cheapest_from: Vec<usize> = by_size.iter().map(|(_, i)| *i).collect();
        for at in (1..cheapest_from.len()).rev() {
            if choice.cost_of(cheapest_from[at]) < choice.cost_of(cheapest_from[at - 1]) {
                cheapest_from[at - 1] = cheapest_from[at];
            }
        }
        Self { choice, room, by_size, cheapest_from }
    }

    /// The cheapest single instance that holds `units`.
    fn single(&self, units: f64) -> Option<usize> {
        let at = self.by_size.partition_point(|(size, _)| *size < units * (1.0 - 1e-9));
        self.cheapest_from.get(at).copied()
    }

    /// Whether both may be picked, when each may.
    fn has_room(&self, one: usize, other: usize) -> bool {
        let candidates = &self.choice.part.candidates;
        let is_one_pool = candidates[one].pool == candidates[other].pool;
        !is_one_pool || [one, other].iter().all(|i| self.room.of(&candidates[*i]) >= 2)
    }

    /// The cheapest one or two instances that hold `units` together, with their cost.
    fn cheapest(&self, units: f64) -> Option<(f64, Vec<usize>)> {
        let single = self.single(units).map(|i| (self.choice.cost_of(i), i));
        let mut best = single.map(|(cost, i)| (cost, i, None));
        for (size, i) in &self.by_size {
            let cost = self.choice.cost_of(*i);
            if *size >= units || best.is_some_and(|(least, ..)| cost >= least) {
                continue;
            }
            let Some(other) = self.single(units - size) else {
                continue;
            };
            let cost = cost + self.choice.cost_of(other);
            if best.is_none_or(|(least, ..)| cost < least) && self.has_room(*i, other) {
                best = Some((cost, *i, Some(other)));
            }
        }
        best.map(|(cost, one, other)| (cost, std::iter::once(one).chain(other).collect()))
    }
}
