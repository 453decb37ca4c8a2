//! Which fitted model forecasts: a champion, at most one rival beside it, and evidence before either takes the other's place.
//!
//! A challenger forecasts in the shadow: it is scored on the same steps and nothing depends on it. What counts is the
//! difference of the two losses at each step, since both meet the same easy and hard hours. Differences are summed over
//! quarters of a day, because errors of one evening belong together, and the mean of these blocks has to lie
//! [`STANDARD_ERRORS`] from zero (Diebold and Mariano, 1995, with blocks; the same that the quality gate uses).
//!
//! After a promotion the roles are swapped: the former champion is the last good one, still scored, and takes over again on
//! the same evidence within [`PROBATION_S`]. So a promotion that was luck costs days, not weeks.
//!
//! A champion that has nothing to defend gives way at once ([`Lineup::replace`]): its level is gone, or a naive forecast has
//! been better. It stands by all the same, in case that was a false alarm.
//!
//! A contest that [`CONTEST_S`] have not decided goes to the champion. Nothing here holds a model: versions are numbers.

use serde::{Deserialize, Serialize};

use crate::live::Blocks;

/// Number of a fitted model, given by who keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelVersion(pub u64);

/// Standard errors from zero that decide. Three and not two, because the evidence is looked at after each of up to 56
/// blocks: of rivals that are merely equal, about one in twenty wins (see the tests).
const STANDARD_ERRORS: f64 = 3.0;
/// Blocks (quarters of a day) before anything is decided: three days. With fewer, the spread of the blocks is itself a guess.
const MIN_BLOCKS: u64 = 12;
/// Least share of the champion's loss that a promotion must save: a change of model is a risk, and 1 % is not worth one.
const MIN_GAIN: f64 = 0.02;
/// Longest contest, seconds: two weeks, so that both kinds of day are met twice.
const CONTEST_S: i64 = 14 * 86_400;
/// How long the former champion stands by, seconds.
const PROBATION_S: i64 = 7 * 86_400;
/// Standard errors beyond which a figure says nothing more; blocks that are all equal would be infinitely many.
const MOST_STANDARD_ERRORS: f64 = 100.0;

/// What happened to the line-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum LineupEvent {
    /// The challenger forecasts from now on.
    Promoted {
        /// The new champion.
        champion: ModelVersion,
        /// The former one, which stands by.
        standing_by: ModelVersion,
        /// What the promotion rests on.
        record: Record,
    },
    /// The challenger was worse, or no better in all the time it had.
    Dropped {
        /// The challenger.
        challenger: ModelVersion,
        /// What it rests on.
        record: Record,
    },
    /// The promoted model was worse than the last good one, which forecasts again.
    RolledBack {
        /// The last good one.
        champion: ModelVersion,
        /// The model that was taken back.
        failed: ModelVersion,
        /// What it rests on.
        record: Record,
    },
    /// The promoted model has stood its week; the former champion may be forgotten.
    Confirmed {
        /// The champion.
        champion: ModelVersion,
        /// What it rests on.
        record: Record,
    },
}

/// The figures of a contest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Mean loss of the champion of that time, in the unit of the losses.
    pub champion_loss: f64,
    /// Mean loss of its rival.
    pub rival_loss: f64,
    /// Steps that both were scored on.
    pub steps: u64,
    /// How many standard errors the rival's advantage lies above zero; negative if it was worse.
    pub standard_errors: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Role {
    Challenger,
    LastGood,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rival {
    version: ModelVersion,
    role: Role,
    since_s: i64,
    /// Champion's loss less the rival's.
    advantage: Blocks,
    steps: u64,
    champion_sum: f64,
    rival_sum: f64,
}

/// A champion and its rival; see the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineup {
    champion: ModelVersion,
    day_steps: usize,
    rival: Option<Rival>,
}

impl Lineup {
    /// A champion without a rival, for a series of `day_steps` scored steps a day.
    #[must_use]
    pub fn new(champion: ModelVersion, day_steps: usize) -> Self {
        Self { champion, day_steps: day_steps.max(1), rival: None }
    }

    /// The model that forecasts.
    #[must_use]
    pub fn champion(&self) -> ModelVersion {
        self.champion
    }

    /// The model that is scored in the shadow, challenger or last good one.
    #[must_use]
    pub fn rival(&self) -> Option<ModelVersion> {
        self.rival.as_ref().map(|rival| rival.version)
    }

    /// Whether a champion that was promoted, or put in place, has yet to stand its week.
    #[must_use]
    pub fn is_on_probation(&self) -> bool {
        self.rival.as_ref().is_some_and(|rival| rival.role == Role::LastGood)
    }

    /// Puts a challenger beside the champion. `false`, and nothing changes, while a promoted champion is on probation: the
    /// last good model is not given up for a third. A challenger that was there is replaced.
    pub fn challenge(&mut self, challenger: ModelVersion, at_s: i64) -> bool {
        if !self.is_on_probation() && challenger != self.champion {
            self.rival = Some(Rival::new(challenger, Role::Challenger, at_s, self.day_steps));
            return true;
        }
        false
    }

    /// Puts a champion in place of one that has nothing to defend; the former one stands by as the last good one.
    pub fn replace(&mut self, champion: ModelVersion, at_s: i64) {
        if champion != self.champion {
            let standing_by = std::mem::replace(&mut self.champion, champion);
            self.rival = Some(Rival::new(standing_by, Role::LastGood, at_s, self.day_steps));
        }
    }

    /// Dismisses the rival: the level at which it was, or might have become, the better one is gone.
    pub fn dismiss(&mut self) {
        self.rival = None;
    }

    /// Takes in the losses of champion and rival on the same step; what that decides, if anything. Without a rival, or with
    /// a loss that is not finite, nothing.
    pub fn observe(&mut self, at_s: i64, champion_loss: f64, rival_loss: f64) -> Option<LineupEvent> {
        let rival = self.rival.as_mut().filter(|_| champion_loss.is_finite() && rival_loss.is_finite())?;
        rival.record(champion_loss, rival_loss);
        let (record, version, role) = (rival.figures(), rival.version, rival.role);
        let age_s = at_s.saturating_sub(rival.since_s);
        let judged = rival.steps / rival.advantage.samples_per_block() >= MIN_BLOCKS;
        let gain = record.champion_loss - record.rival_loss;
        let better = judged && record.standard_errors > STANDARD_ERRORS && gain >= MIN_GAIN * record.champion_loss;
        let worse = judged && record.standard_errors < -STANDARD_ERRORS;
        match role {
            Role::Challenger if better => {
                let standing_by = std::mem::replace(&mut self.champion, version);
                self.rival = Some(Rival::new(standing_by, Role::LastGood, at_s, self.day_steps));
                Some(LineupEvent::Promoted { champion: version, standing_by, record })
            }
            Role::Challenger if worse || age_s >= CONTEST_S => {
                self.rival = None;
                Some(LineupEvent::Dropped { challenger: version, record })
            }
            Role::LastGood if better => {
                let failed = std::mem::replace(&mut self.champion, version);
                self.rival = None;
                Some(LineupEvent::RolledBack { champion: version, failed, record })
            }
            Role::LastGood if age_s >= PROBATION_S => {
                self.rival = None;
                Some(LineupEvent::Confirmed { champion: self.champion, record })
            }
            Role::Challenger | Role::LastGood => None,
        }
    }
}

impl Rival {
    fn new(version: ModelVersion, role: Role, since_s: i64, day_steps: usize) -> Self {
        let advantage = Blocks::new(day_steps);
        Self { version, role, since_s, advantage, steps: 0, champion_sum: 0.0, rival_sum: 0.0 }
    }

    fn record(&mut self, champion_loss: f64, rival_loss: f64) {
        self.steps += 1;
        self.champion_sum += champion_loss;
        self.rival_sum += rival_loss;
        self.advantage.record(champion_loss - rival_loss);
    }

    fn figures(&self) -> Record {
        let steps = self.steps.max(1) as f64;
        Record {
            champion_loss: self.champion_sum / steps,
            rival_loss: self.rival_sum / steps,
            steps: self.steps,
            standard_errors: self.advantage.standard_errors().clamp(-MOST_STANDARD_ERRORS, MOST_STANDARD_ERRORS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: i64 = 3600;
    const OLD: ModelVersion = ModelVersion(1);
    const NEW: ModelVersion = ModelVersion(2);

    /// Losses in 0..2 that differ from hour to hour and, by seed, from contest to contest.
    fn loss(seed: u64, hour: i64) -> f64 {
        let mut mixed = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ hour as u64).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 32)) >> 12) as f64 / (1_u64 << 51) as f64
    }

    /// Hours from `from` on until something happens; the rival's losses are the champion's noise times `factor`.
    fn contest(lineup: &mut Lineup, from: i64, seed: u64, factor: f64) -> Option<(i64, LineupEvent)> {
        (from..from + 24 * 30).find_map(|hour| {
            let event = lineup.observe(hour * HOUR_S, loss(2 * seed, hour), factor * loss(2 * seed + 1, hour))?;
            Some((hour, event))
        })
    }

    fn challenged() -> Lineup {
        let mut lineup = Lineup::new(OLD, 24);
        assert!(lineup.challenge(NEW, 0));
        lineup
    }

    #[test]
    fn a_better_challenger_is_promoted_and_confirmed_after_a_week() {
        let mut lineup = challenged();
        let (hour, event) = contest(&mut lineup, 0, 7, 0.7).unwrap();
        assert!(matches!(event, LineupEvent::Promoted { champion: NEW, standing_by: OLD, .. }), "{event:?}");
        assert!((71..24 * 14).contains(&hour), "{hour}");
        assert!(!lineup.challenge(ModelVersion(3), hour * HOUR_S), "on probation");
        // The former champion is the rival now, and worse.
        let (later, event) = contest(&mut lineup, hour + 1, 8, 1.4).unwrap();
        assert!(matches!(event, LineupEvent::Confirmed { champion: NEW, .. }), "{event:?}");
        assert_eq!(later - hour, 7 * 24);
        assert_eq!((lineup.champion(), lineup.rival()), (NEW, None));
    }

    #[test]
    fn a_promotion_that_was_luck_is_rolled_back() {
        let mut lineup = challenged();
        let (hour, _) = contest(&mut lineup, 0, 7, 0.7).unwrap();
        let (_, event) = contest(&mut lineup, hour + 1, 9, 0.6).unwrap();
        assert!(matches!(event, LineupEvent::RolledBack { champion: OLD, failed: NEW, .. }), "{event:?}");
        assert_eq!((lineup.champion(), lineup.rival()), (OLD, None));
    }

    #[test]
    fn a_champion_that_gave_way_for_nothing_comes_back() {
        let mut lineup = challenged();
        let changed = ModelVersion(3);
        lineup.replace(changed, 0);
        assert_eq!((lineup.champion(), lineup.rival()), (changed, Some(OLD)), "the challenger is forgotten");
        let (_, event) = contest(&mut lineup, 0, 9, 0.6).unwrap();
        assert!(
            matches!(event, LineupEvent::RolledBack { champion: OLD, failed, .. } if failed == changed),
            "{event:?}"
        );
        lineup.replace(changed, 0);
        assert!(lineup.is_on_probation() && !lineup.challenge(NEW, 0));
        lineup.dismiss();
        assert!(lineup.challenge(NEW, 0), "nobody stands by any more");
        let mut same = Lineup::new(OLD, 24);
        same.replace(OLD, 0);
        assert_eq!(same.rival(), None);
        for hour in 0..24 * 4 {
            let event = same.observe(hour * HOUR_S, 2.0, 1.0);
            assert_eq!(event, None, "there is no rival");
        }
        same.challenge(NEW, 0);
        let event = (0..24 * 14).find_map(|hour| same.observe(hour * HOUR_S, 2.0, 1.0));
        let figures =
            |event| matches!(event, Some(LineupEvent::Promoted { record, .. }) if record.standard_errors == 100.0);
        assert!(figures(event), "{event:?}");
    }

    #[test]
    fn a_worse_challenger_is_dropped_early_and_an_equal_one_in_the_end() {
        let (hour, event) = contest(&mut challenged(), 0, 3, 1.5).unwrap();
        assert!(matches!(event, LineupEvent::Dropped { challenger: NEW, .. }) && hour < 24 * 10, "{hour} {event:?}");
        let mut lineup = challenged();
        let (hour, event) = (0..24 * 30)
            .find_map(|hour| Some((hour, lineup.observe(hour * HOUR_S, loss(1, hour), loss(1, hour))?)))
            .unwrap();
        assert!(matches!(event, LineupEvent::Dropped { .. }) && hour == 24 * 14, "{hour} {event:?}");
    }

    #[test]
    fn equals_are_seldom_promoted() {
        let promoted = (0..1000)
            .filter(|&seed| matches!(contest(&mut challenged(), 0, seed, 1.0), Some((_, LineupEvent::Promoted { .. }))))
            .count();
        assert!(promoted <= 65, "{promoted}");
    }

    #[test]
    fn losses_that_are_none_and_contests_without_a_rival_decide_nothing() {
        let mut lineup = Lineup::new(OLD, 24);
        assert_eq!(lineup.observe(0, 1.0, 0.0), None);
        assert!(!lineup.challenge(OLD, 0), "itself");
        lineup.challenge(NEW, 0);
        let before = lineup.clone();
        assert_eq!(lineup.observe(HOUR_S, f64::NAN, 0.0), None);
        assert_eq!(lineup.observe(HOUR_S, 1.0, f64::INFINITY), None);
        assert_eq!(lineup, before);
    }
}
