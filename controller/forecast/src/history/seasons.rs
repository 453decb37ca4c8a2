//! Where the same time of earlier days lies: so many steps back, and on the clock of a zone an hour more or less over its
//! changes.

use crate::calendar::DAY_S;
use crate::zone::{LocalTime, Zone};

/// Steps on the clock of a zone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seasons<'z> {
    pub(super) start_s: i64,
    pub(super) step_s: u32,
    pub(super) zone: Option<&'z Zone>,
}

impl Seasons<'_> {
    pub(super) fn at_s(&self, index: usize) -> i64 {
        self.start_s + index as i64 * i64::from(self.step_s)
    }

    /// What the clock shows when step `index` begins.
    pub(super) fn local_s(&self, index: usize) -> i64 {
        let at_s = self.at_s(index);
        self.zone.map_or(at_s, |zone| zone.local_s(at_s))
    }

    /// The step `count` seasons of `season` steps before step `target`; of whole days, the one at the same local time.
    #[inline]
    pub(super) fn before(&self, target: usize, season: usize, count: usize) -> Option<usize> {
        match self.zone {
            None => target.checked_sub(count * season),
            Some(zone) => self.before_in(zone, target, season, count),
        }
    }

    fn before_in(&self, zone: &Zone, target: usize, season: usize, count: usize) -> Option<usize> {
        let season_s = season as i64 * i64::from(self.step_s);
        if season_s % DAY_S != 0 {
            return target.checked_sub(count * season);
        }
        let (target_s, offset_s) = (self.at_s(target), zone.offset_at(self.at_s(target)));
        let as_long_s = target_s - count as i64 * season_s;
        let at_s = if zone.offset_at(as_long_s) == offset_s {
            as_long_s
        } else {
            match zone.unix_s(as_long_s + offset_s) {
                LocalTime::Once(at_s) | LocalTime::Never(at_s) => at_s,
                LocalTime::Twice(earlier, later) => {
                    if zone.offset_at(earlier) == offset_s {
                        earlier
                    } else {
                        later
                    }
                }
            }
        };
        let steps = (at_s - self.start_s).div_euclid(i64::from(self.step_s));
        // Never the target or later, whatever a zone does.
        usize::try_from(steps).ok().filter(|index| *index < target)
    }
}
