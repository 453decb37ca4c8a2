//! Metrics: process-wide values under a name, with ids per VM.
//!
//! As in Envoy each definition hands out a new id even for a known name, the id carries the type in its low two
//! bits, and all VMs write one value. A histogram keeps every sample.

use std::collections::BTreeMap;

use crate::Status;

/// The value of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// A sum that only grows.
    Counter(u64),
    /// A level.
    Gauge(u64),
    /// Every recorded sample, in order.
    Histogram(Vec<u64>),
}

impl Metric {
    /// An empty metric of the ABI's type number: 0 counter, 1 gauge, 2 histogram.
    fn from_abi(kind: u32) -> Option<Self> {
        match kind {
            0 => Some(Self::Counter(0)),
            1 => Some(Self::Gauge(0)),
            2 => Some(Self::Histogram(Vec::new())),
            _ => None,
        }
    }
}

/// The metrics of a process by name.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) values: BTreeMap<String, Metric>,
}

/// The ids of one VM: a definition's number is its place in the list.
#[derive(Debug, Default)]
pub(crate) struct MetricIds {
    names: Vec<String>,
}

impl MetricIds {
    pub(crate) fn define(&mut self, metrics: &mut Metrics, kind: u32, name: String) -> Result<u32, Status> {
        let fresh = Metric::from_abi(kind).ok_or(Status::BadArgument)?;
        metrics.values.entry(name.clone()).or_insert(fresh);
        self.names.push(name);
        Ok(((self.names.len() as u32) << 2) | kind)
    }

    fn find<'m>(&self, metrics: &'m mut Metrics, id: u32) -> Result<&'m mut Metric, Status> {
        let place = ((id >> 2) as usize).checked_sub(1).ok_or(Status::NotFound)?;
        let name = self.names.get(place).ok_or(Status::NotFound)?;
        metrics.values.get_mut(name).ok_or(Status::NotFound)
    }

    /// Counters take positive offsets, gauges any, histograms none.
    pub(crate) fn increment(&self, metrics: &mut Metrics, id: u32, offset: i64) -> Result<(), Status> {
        match self.find(metrics, id)? {
            Metric::Counter(value) if offset > 0 => *value = value.wrapping_add_signed(offset),
            Metric::Gauge(value) => *value = value.saturating_add_signed(offset),
            Metric::Counter(_) | Metric::Histogram(_) => return Err(Status::BadArgument),
        }
        Ok(())
    }

    /// Adds to a counter, sets a gauge, records a sample.
    pub(crate) fn record(&self, metrics: &mut Metrics, id: u32, amount: u64) -> Result<(), Status> {
        match self.find(metrics, id)? {
            Metric::Counter(value) => *value = value.wrapping_add(amount),
            Metric::Gauge(value) => *value = amount,
            Metric::Histogram(samples) => samples.push(amount),
        }
        Ok(())
    }

    pub(crate) fn get(&self, metrics: &mut Metrics, id: u32) -> Result<u64, Status> {
        match self.find(metrics, id)? {
            Metric::Counter(value) | Metric::Gauge(value) => Ok(*value),
            Metric::Histogram(_) => Err(Status::Unimplemented),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_vms_write_one_value_under_ids_of_their_own() {
        let (mut metrics, mut a, mut b) = (Metrics::default(), MetricIds::default(), MetricIds::default());
        let in_a = a.define(&mut metrics, 0, "n".into()).unwrap();
        b.define(&mut metrics, 1, "level".into()).unwrap();
        let in_b = b.define(&mut metrics, 0, "n".into()).unwrap();
        assert_ne!(in_a, in_b);
        a.increment(&mut metrics, in_a, 2).unwrap();
        b.record(&mut metrics, in_b, 3).unwrap();
        assert_eq!(a.get(&mut metrics, in_a), Ok(5));
    }

    #[test]
    fn what_a_type_does_not_take_is_a_bad_argument() {
        let (mut metrics, mut ids) = (Metrics::default(), MetricIds::default());
        let counter = ids.define(&mut metrics, 0, "c".into()).unwrap();
        let histogram = ids.define(&mut metrics, 2, "h".into()).unwrap();
        assert_eq!(ids.increment(&mut metrics, counter, 0), Err(Status::BadArgument));
        assert_eq!(ids.increment(&mut metrics, histogram, 1), Err(Status::BadArgument));
        assert_eq!(ids.define(&mut metrics, 3, "x".into()), Err(Status::BadArgument));
        assert_eq!(ids.get(&mut metrics, 0), Err(Status::NotFound));
    }
}
