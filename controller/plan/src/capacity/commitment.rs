//! What binds a plan beside demand: advance reservations, budgets and maintenance.

pub(in crate::capacity) mod dues;

use super::Micros;

/// Capacity that was promised ahead of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reservation {
    /// Unique; for reports.
    pub id: String,
    /// Name of the service it is for.
    pub service: String,
    /// What was promised.
    pub asked: Asked,
    /// Where and of what it is to be.
    pub within: Within,
    /// Whether the demand of it comes on top of the outlook (a launch that no forecast knows), rather than being a least
    /// amount that the outlook may already be part of.
    pub is_on_top: bool,
    /// Unix seconds at which it begins.
    pub from_s: u64,
    /// Unix seconds at which it ends.
    pub to_s: u64,
}

/// What a reservation promises.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Capacity for so many units per second.
    UnitsPerS(f64),
    /// So many instances.
    Instances(u32),
}

/// Where and of what something promised is to be. Where several kinds of instance match, they are the cheapest; of spot only
/// where nothing else matches, or where all of the service may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Within {
    /// Only in this pool.
    pub pool: Option<String>,
    /// Only in this location.
    pub location: Option<String>,
    /// Only of this shape.
    pub shape: Option<String>,
}

impl Within {
    /// Whether everything that the service may use matches.
    #[must_use]
    pub fn is_anything(&self) -> bool {
        *self == Self::default()
    }
}

/// A hard limit of what may be spent within a period.
///
/// Money is what instances cost from the moment they are asked for until they are gone, at the price of the moment. What
/// reserved pools cost was spent when they were reserved and is in no budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Unique; for reports.
    pub name: String,
    /// What it is for.
    pub scope: BudgetScope,
    /// The limit.
    pub limit_micros: Micros,
    /// What was spent of it in this period until now, rounded up.
    pub spent_micros: Micros,
    /// Unix seconds at which the period ends and a new one begins with nothing spent.
    pub ends_s: u64,
}

/// What a budget is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetScope {
    /// Everything.
    Whole,
    /// The services of a tenant.
    Tenant(String),
    /// Everything in a pool.
    Pool(String),
}

/// A window in which a pool has less.
#[derive(Clone, Debug, PartialEq)]
pub struct Maintenance {
    /// Name of the pool.
    pub pool: String,
    /// Unix seconds at which it begins.
    pub from_s: u64,
    /// Unix seconds at which it ends.
    pub to_s: u64,
    /// What is taken off the pool's capacity.
    pub off: Off,
}

/// What maintenance takes off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Off {
    /// A share of the pool's instances, 0 to 1, rounded up.
    Share(f64),
    /// So many instances.
    Instances(u32),
}

impl Maintenance {
    /// Instances that it takes off a pool of `max_instances` within `[from_s, to_s)`.
    #[must_use]
    pub fn takes(&self, max_instances: u32, from_s: u64, to_s: u64) -> u32 {
        if self.from_s >= to_s || self.to_s <= from_s {
            return 0;
        }
        match self.off {
            Off::Instances(count) => count.min(max_instances),
            // A share that makes no sense takes everything: what is being repaired must not be counted on.
            Off::Share(share) if share.is_nan() => max_instances,
            Off::Share(share) => (f64::from(max_instances) * share.clamp(0.0, 1.0)).ceil() as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintenance_takes_its_share_while_it_lasts() {
        let window = |off| Maintenance { pool: "p".to_owned(), from_s: 600, to_s: 900, off };
        assert_eq!(window(Off::Share(0.25)).takes(10, 600, 660), 3);
        assert_eq!(window(Off::Instances(4)).takes(10, 300, 601), 4);
        assert_eq!(window(Off::Instances(40)).takes(10, 899, 1200), 10);
        assert_eq!(window(Off::Share(1.0)).takes(10, 300, 600), 0);
        assert_eq!(window(Off::Share(1.0)).takes(10, 900, 1200), 0);
        assert_eq!(window(Off::Share(f64::NAN)).takes(10, 600, 900), 10);
    }
}
