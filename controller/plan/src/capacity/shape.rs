//! How big an instance is: its amounts of each resource, and what it costs.

use serde::{Deserialize, Serialize};

use super::Micros;

/// An amount of each resource: what a shape offers, or what something needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Amounts {
    /// Thousandths of a processor core.
    pub cpu_milli: f64,
    /// Memory, in MiB.
    pub memory_mib: f64,
    /// Disk space, in GiB.
    pub storage_gib: f64,
    /// Disk operations per second.
    pub disk_iops: f64,
    /// Network bandwidth, in Mbit/s.
    pub network_mbps: f64,
    /// Accelerators.
    pub gpus: f64,
}

impl Amounts {
    /// In the order of the fields.
    #[must_use]
    pub fn as_array(&self) -> [f64; 6] {
        [self.cpu_milli, self.memory_mib, self.storage_gib, self.disk_iops, self.network_mbps, self.gpus]
    }

    /// From the order of the fields.
    #[must_use]
    pub fn from_array([cpu_milli, memory_mib, storage_gib, disk_iops, network_mbps, gpus]: [f64; 6]) -> Self {
        Self { cpu_milli, memory_mib, storage_gib, disk_iops, network_mbps, gpus }
    }

    /// How many times `need` fits in, the scarcest resource deciding; infinite for a need of nothing.
    #[must_use]
    pub fn holds(&self, need: &Self) -> f64 {
        let pairs = self.as_array().into_iter().zip(need.as_array());
        pairs.filter(|(_, need)| *need > 0.0).map(|(has, need)| has / need).fold(f64::INFINITY, f64::min)
    }
}

/// A size of instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Unique, as in "Micro", "Small", "Medium", "Large", "XL".
    pub name: String,
    /// What an instance of it has.
    pub offers: Amounts,
    /// Price of an hour on demand, before a pool's own price factor.
    pub price_micros_per_h: Micros,
    /// Work done per unit of resource beside the standard's 1.0: its performance profile.
    pub performance: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcest_resource_decides_how_much_a_shape_holds() {
        let offers = Amounts { cpu_milli: 4_000.0, memory_mib: 8_192.0, ..Amounts::default() };
        let need = Amounts { cpu_milli: 100.0, memory_mib: 1_024.0, ..Amounts::default() };
        assert_eq!(offers.holds(&need), 8.0);
        assert_eq!(offers.holds(&Amounts { gpus: 1.0, ..need }), 0.0);
        assert_eq!(offers.holds(&Amounts::default()), f64::INFINITY);
        assert_eq!(Amounts::from_array(offers.as_array()), offers);
    }
}
