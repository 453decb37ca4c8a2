//! From what was observed to what is stored, and back when it could not be.

use std::collections::BTreeMap;

use forebay_plan::Key;

use super::{Boot, Observer};
use crate::store::{Cursor, Flush, Point};

impl Observer {
    /// Takes out what is to be stored.
    pub(crate) fn take_flush(&mut self) -> Flush {
        let step_real_s = self.step_s as f64 / self.speed;
        let points = |units: &mut BTreeMap<(Key, i64), f64>| {
            let units = std::mem::take(units).into_iter();
            let point = |((key, step), units)| Point { key, start_s: step * self.step_s, value: units / step_real_s };
            units.map(point).collect()
        };
        let (points, hostile) = (points(&mut self.pending), points(&mut self.pending_hostile));
        let cursors = std::mem::take(&mut self.moved).into_iter().filter_map(|(name, keys)| {
            let boot = self.proxies.get(&name)?.boot.as_ref()?;
            let counters = keys.into_iter().filter_map(|key| boot.counters.get(&key).map(|counters| (key, *counters)));
            let counters = counters.collect();
            let &Boot { boot_id, sequence, reported_s, .. } = boot;
            Some(Cursor { proxy: name, boot_id, sequence, reported_s, counters })
        });
        let cursors = cursors.collect();
        Flush { points, hostile, cursors }
    }

    /// Puts back what could not be stored.
    pub(crate) fn put_back(&mut self, flush: Flush) {
        let step_real_s = self.step_s as f64 / self.speed;
        for (points, units) in [(flush.points, &mut self.pending), (flush.hostile, &mut self.pending_hostile)] {
            for point in points {
                let step = point.start_s.div_euclid(self.step_s);
                *units.entry((point.key, step)).or_insert(0.0) += point.value * step_real_s;
            }
        }
        for cursor in flush.cursors {
            let keys = cursor.counters.into_iter().map(|(key, _)| key);
            self.moved.entry(cursor.proxy).or_default().extend(keys);
        }
    }
}
