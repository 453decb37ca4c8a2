//! What an instance costs and what it holds: the two formulas that everything about capacity rests on.
//!
//! Prices are rounded up to the next micro, so that a sum of them is never below what is paid.

use super::{CostClass, Micros, PoolOffer, Service, Shape, Tier};

/// What an instance of `shape` costs in an hour, in a pool whose price factor is `pool_milli` thousandths. Nothing in a
/// reserved pool: that was paid for when it was reserved.
#[must_use]
pub fn hourly_micros(shape: &Shape, tier: &Tier, class: CostClass, pool_milli: u64) -> Micros {
    if class == CostClass::Reserved { 0 } else { list_micros(shape, tier, pool_milli) }
}

/// The same, whoever paid.
#[must_use]
pub fn list_micros(shape: &Shape, tier: &Tier, pool_milli: u64) -> Micros {
    let milli = u128::from(tier.price_milli) * u128::from(pool_milli);
    let micros = u128::from(shape.price_micros_per_h).saturating_mul(milli).div_ceil(1_000_000);
    Micros::try_from(micros).unwrap_or(Micros::MAX)
}

/// What `seconds` cost at `hourly` micros, rounded up.
#[must_use]
pub fn spent_micros(hourly: Micros, seconds: f64) -> Micros {
    // The cast saturates: a time that makes no sense costs nothing or everything, and never overflows.
    paid_micros(hourly, (seconds * 1000.0).ceil() as u64)
}

/// What `milliseconds` cost at `hourly` micros, rounded up.
#[must_use]
pub fn paid_micros(hourly: Micros, milliseconds: u64) -> Micros {
    let micros = (u128::from(hourly) * u128::from(milliseconds)).div_ceil(3_600_000);
    Micros::try_from(micros).unwrap_or(Micros::MAX)
}

/// Units per second of demand that an instance of `shape` serves in a pool of `tier`. CPU and memory are each scaled by the
/// tier's own factor (seed 8825550), CPU by the shape's profile and by what was learned of the pool too. 0 for a service that
/// needs nothing or whose figures make no sense: what needs nothing is not served by instances.
#[must_use]
pub fn units_per_s(service: &Service, shape: &Shape, tier: &Tier, offer: &PoolOffer) -> f64 {
    let mut offers = shape.offers;
    offers.cpu_milli *= tier.cpu_performance * shape.performance * offer.cpu_factor(&service.name);
    offers.memory_mib *= tier.memory_performance;
    let units = offers.holds(&service.need_per_unit);
    if units.is_finite() { units.max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::{Amounts, ComputeType, Pool};

    fn tier(cpu_performance: f64, memory_performance: f64, price_milli: u64) -> Tier {
        Tier { name: "t".to_owned(), cpu_performance, memory_performance, volatility_per_h: 0.0, price_milli }
    }

    fn offer(factors: &[(&str, f64)]) -> PoolOffer {
        let pool = Pool {
            name: "p".to_owned(),
            compute: ComputeType::Cpu,
            location: "here".to_owned(),
            class: CostClass::OnDemand,
            tier: "t".to_owned(),
            max_instances: 1,
            price_milli: 1_000,
            lead_s: 0.0,
            interruption_per_h: 0.0,
        };
        let cpu_factors = factors.iter().map(|(service, factor)| ((*service).to_owned(), *factor)).collect();
        PoolOffer { cpu_factors, ..PoolOffer::from(pool) }
    }

    fn shape() -> Shape {
        let offers = Amounts { cpu_milli: 4_000.0, memory_mib: 8_000.0, ..Amounts::default() };
        Shape { name: "s".to_owned(), offers, price_micros_per_h: 1_001, performance: 1.0 }
    }

    #[test]
    fn prices_are_rounded_up_and_reserved_ones_are_paid_already() {
        assert_eq!(hourly_micros(&shape(), &tier(1.0, 1.0, 500), CostClass::Spot, 1_000), 501);
        assert_eq!(hourly_micros(&shape(), &tier(1.0, 1.0, 500), CostClass::Reserved, 1_000), 0);
        assert_eq!(spent_micros(3_600, 0.0001), 1);
        assert_eq!(spent_micros(3_600, 2.0), 2);
        assert_eq!(spent_micros(u64::MAX, f64::INFINITY), u64::MAX);
        assert_eq!(spent_micros(3_600, f64::NAN), 0);
    }

    #[test]
    fn cpu_and_memory_are_scaled_by_their_own_performance() {
        let need_per_unit = Amounts { cpu_milli: 10.0, memory_mib: 40.0, ..Amounts::default() };
        let service = Service { name: "s".to_owned(), need_per_unit, ..Service::default() };
        let units =
            |cpu: f64, memory: f64, offer: &PoolOffer| units_per_s(&service, &shape(), &tier(cpu, memory, 1), offer);
        assert_eq!(units(1.0, 1.0, &offer(&[])), 200.0);
        assert_eq!(units(1.0, 0.5, &offer(&[])), 100.0);
        assert_eq!(units(0.25, 1.0, &offer(&[])), 100.0);
        assert_eq!(units(1.0, 1.0, &offer(&[("s", 0.25)])), 100.0, "cores that do a quarter of what was declared");
        assert_eq!(units(1.0, 1.0, &offer(&[("s", 4.0)])), 200.0, "memory is as scarce as before");
        assert_eq!(units(1.0, 1.0, &offer(&[("other", 0.25)])), 200.0);
        assert_eq!(units_per_s(&Service::default(), &shape(), &tier(1.0, 1.0, 1), &offer(&[])), 0.0);
    }
}
