//! The counterfactual ledger: what operation has cost and served, beside what other policies would have on the same demand.
//!
//! The loop notes for each service and calendar step what was ready and what was paid ([`Recorder`]). Asked, the ledger lays
//! that beside the offered demand of the same steps and lets the policies that people run today live through it
//! ([`forebay_plan::simulation`]): a static peak, Kubernetes' autoscaler, the last value, last week, and an oracle. All have
//! the lead time that the planner counts with, and instances of one size: the cheapest for what they serve.
//!
//! A policy here has the number that it is given, and is not tuned: `forebay simulate` tunes.

use std::collections::BTreeMap;

use forebay_plan::capacity::CapacityInputs;
use forebay_plan::capacity::price::{list_micros, units_per_s};
use forebay_plan::simulation::{
    Course, Horizontal, LastValue, Measures, Oracle, Policy, Seasonal, Static, World, simulate,
};
use serde_json::{Value, json};

const WEEK_S: u32 = 7 * 86_400;
const NOTHING_COMPARED: &str =
    "no step has ended yet of which both the demand and what was ready are known; ask again after one";

/// What was ready and paid of a service in a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Supply {
    pub(crate) service: String,
    /// When the step begins, calendar unix seconds.
    pub(crate) start_s: i64,
    /// Mean of what ready instances served at once, units per second.
    pub(crate) ready_per_s: f64,
    /// What all instances cost in it, at list prices, reserved ones too.
    pub(crate) cost_micros: f64,
}

impl Supply {
    /// Whole instances of a size that were ready all the time, a hair being none.
    fn instances(&self, unit: &Unit) -> usize {
        (self.ready_per_s / unit.serves_per_s + 1e-6) as usize
    }

    /// Whether they serve a demand, in units per second; true where that is not known.
    pub(super) fn serves(&self, demand_per_s: f64, unit: &Unit) -> bool {
        demand_per_s.is_nan() || (demand_per_s / unit.serves_per_s).ceil() as usize <= self.instances(unit)
    }
}

/// What adds up in the running step.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    step: Option<i64>,
    /// By service: seconds, ready units x seconds, micros.
    sums: BTreeMap<String, [f64; 3]>,
    last_s: f64,
}

impl Recorder {
    /// Notes that since the last call this was ready and paid, by service: units per second and micros an hour of the
    /// calendar. Returns what was supplied in the step that has ended, if one has.
    pub(super) fn note(&mut self, now_s: f64, step_s: u32, supplied: &BTreeMap<String, (f64, f64)>) -> Vec<Supply> {
        let step = (now_s / f64::from(step_s)).floor() as i64;
        let passed_s = now_s - self.last_s;
        let ended = match self.step {
            Some(open) if open != step => self.take(open, step_s),
            _ => Vec::new(),
        };
        // A turn that begins a step tells of the one before; at the first, and after steps that nobody looked at, there is
        // nothing to tell of.
        if self.step.is_some_and(|open| step - open <= 1) && passed_s > 0.0 {
            for (service, (ready_per_s, micros_per_h)) in supplied {
                let [seconds, units, micros] = self.sums.entry(service.clone()).or_default();
                *seconds += passed_s;
                *units += ready_per_s * passed_s;
                *micros += micros_per_h * passed_s / 3600.0;
            }
        }
        (self.step, self.last_s) = (Some(step), now_s);
        ended
    }

    fn take(&mut self, step: i64, step_s: u32) -> Vec<Supply> {
        let supply = |(service, [seconds, units, micros]): (String, [f64; 3])| Supply {
            service,
            start_s: step * i64::from(step_s),
            ready_per_s: units / seconds.max(f64::MIN_POSITIVE),
            cost_micros: micros,
        };
        std::mem::take(&mut self.sums).into_iter().map(supply).collect()
    }
}

/// By service: what is ready now, units per second, and what all instances cost, micros an hour of the calendar.
pub(super) fn supplied(inputs: &CapacityInputs) -> BTreeMap<String, (f64, f64)> {
    let mut supplied: BTreeMap<String, (f64, f64)> =
        inputs.services.iter().map(|service| (service.name.clone(), (0.0, 0.0))).collect();
    for (group, fleet) in &inputs.fleet {
        let serves = super::board::serves_per_s(inputs, group);
        let (Some(of), Some(serves)) = (supplied.get_mut(&group.service), serves) else { continue };
        let paid = f64::from(fleet.wanted() + fleet.draining);
        of.0 += serves * f64::from(fleet.ready);
        of.1 += paid * price_micros_per_h(inputs, &group.pool, &group.shape).unwrap_or(0.0);
    }
    supplied
}

fn price_micros_per_h(inputs: &CapacityInputs, pool: &str, shape: &str) -> Option<f64> {
    let shape = inputs.shapes.iter().find(|one| one.name == shape)?;
    let pool = &inputs.pools.iter().find(|offer| offer.pool.name == pool)?.pool;
    let tier = inputs.tiers.iter().find(|tier| tier.name == pool.tier)?;
    Some(list_micros(shape, tier, pool.price_milli) as f64)
}

/// The size of instance that all policies have: the cheapest for what it serves.
pub(super) struct Unit {
    pub(super) serves_per_s: f64,
    /// Of the calendar.
    pub(super) micros_per_h: f64,
    pub(super) lead_s: f64,
}

pub(super) fn unit(inputs: &CapacityInputs, service: &str) -> Option<Unit> {
    let service = inputs.services.iter().find(|one| one.name == service)?;
    let may_run = |location: &String| service.locations.is_empty() || service.locations.contains(location);
    let offers = inputs.pools.iter().filter(|offer| may_run(&offer.pool.location));
    let units = offers.flat_map(|offer| inputs.shapes.iter().map(move |shape| (offer, shape)));
    let units = units.filter_map(|(offer, shape)| {
        let tier = inputs.tiers.iter().find(|tier| tier.name == offer.pool.tier)?;
        let serves_per_s = units_per_s(service, shape, tier, offer);
        let micros_per_h = list_micros(shape, tier, offer.pool.price_milli) as f64;
        (serves_per_s > 0.0).then_some(Unit { serves_per_s, micros_per_h, lead_s: offer.pool.lead_s })
    });
    units.min_by(|a, b| (a.micros_per_h / a.serves_per_s).total_cmp(&(b.micros_per_h / b.serves_per_s)))
}

/// The ledger of a service: `demand` and `supply` by step, from the same step on; NaN and `None` where nothing is known.
/// `None` where no instance serves the service.
pub(crate) fn ledger(
    inputs: &CapacityInputs,
    service: &str,
    demand: &[f64],
    supply: &[Option<Supply>],
) -> Option<Value> {
    let unit = unit(inputs, service)?;
    let step_s = inputs.step_s;
    let lead_steps = (unit.lead_s / f64::from(step_s)).ceil().max(1.0) as usize;
    let per_step_micros = (unit.micros_per_h * f64::from(step_s) / 3600.0).max(f64::MIN_POSITIVE);
    // What is not known of supply is not compared, by anybody.
    let compared: Vec<f64> =
        demand.iter().zip(supply).map(|(demand, supply)| if supply.is_some() { *demand } else { f64::NAN }).collect();
    let world = World { demand: &compared, step_s, per_replica: unit.serves_per_s, lead_steps };
    let known = || compared.iter().filter(|demand| !demand.is_nan());
    let compared_steps = known().count();
    let peak = known().map(|demand| world.replicas(*demand)).max().unwrap_or(0);
    let of = |supply: &Option<Supply>, figure: &dyn Fn(&Supply) -> f64| supply.as_ref().map_or(0.0, figure);
    let own = Course {
        steps: 0..compared.len(),
        ready: supply.iter().map(|one| one.as_ref().map_or(0, |one| one.instances(&unit))).collect(),
        paid: supply.iter().map(|one| (of(one, &|one| one.cost_micros) / per_step_micros).round() as usize).collect(),
        // At the price of the unit, of whatever class they were.
        spot: vec![0; compared.len()],
    };
    let season_steps = (WEEK_S / step_s.max(1)) as usize;
    let mut others: Vec<(String, Box<dyn Policy>)> =
        vec![("static peak of this window".to_owned(), Box::new(Static(peak)))];
    for target in [0.5, 0.7, 0.9] {
        others.push((format!("autoscaler at {:.0} %", 100.0 * target), Box::new(Horizontal::at(target))));
    }
    for factor in [1.0, 1.2] {
        others.push((format!("last value x {factor}"), Box::new(LastValue { factor })));
    }
    others.push(("last week x 1.2".to_owned(), Box::new(Seasonal { season_steps, factor: 1.2 })));
    others.push(("oracle".to_owned(), Box::new(Oracle)));
    let row = |policy: &str, course: &Course| {
        let of = Measures::of(&world, course);
        // Of nothing there is no share.
        let is_known = |figure: f64| Some(figure).filter(|_| compared_steps > 0);
        json!({
            "policy": policy, "cost": is_known(of.replica_steps * per_step_micros / 1e6),
            "cost_over_oracle": is_known(of.cost_over_oracle()), "tau_u": is_known(of.violations),
            "tau_o": is_known(of.over), "theta_u": is_known(of.missing), "theta_o": is_known(of.idle),
            "instability": is_known(of.instability), "unserved_share": is_known(of.unserved),
            "violation_minutes_per_day": is_known(1440.0 * of.violations),
        })
    };
    let mut rows = vec![row("forebay", &own)];
    for (name, mut policy) in others {
        rows.push(row(&name, &simulate(&world, 0..compared.len(), policy.as_mut())));
    }
    Some(json!({
        "service": service, "step_s": step_s, "steps": compared.len(),
        "compared_steps": compared_steps, "why_nothing": (compared_steps == 0).then_some(NOTHING_COMPARED),
        "serves_per_s_each": unit.serves_per_s, "lead_steps": lead_steps, "policies": rows,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::capacity::CapacitySettings;

    /// A service that may be served by one size, as plans see it.
    fn inputs() -> CapacityInputs {
        let text = "
capacity:
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 1 } ]
  pools: [ { name: near, location: here, max_instances: 12, lead_s: 100 } ]
  services: [ { name: shop, need_per_unit: { cpu: 0.1 }, shortage_per_unit_h: 10 } ]
";
        let settings = Config::parse(std::path::Path::new("forebay.yaml"), text).unwrap().capacity.unwrap();
        let CapacitySettings { tiers, shapes, pools, services, .. } = settings;
        let services = services.into_iter().map(|one| one.service).collect();
        CapacityInputs { step_s: 300, steps: 4, services, shapes, tiers, pools, ..CapacityInputs::default() }
    }

    #[test]
    fn what_is_compared_of_nothing_is_not_known_and_says_why() {
        let inputs = inputs();
        let supply = |start_s: i64| Supply { service: "shop".to_owned(), start_s, ready_per_s: 20.0, cost_micros: 1e6 };
        let supplied: Vec<_> = (0..3).map(|step| Some(supply(300 * step))).collect();
        for (demand, supply) in [([f64::NAN; 3], supplied.clone()), ([30.0; 3], vec![None, None, None])] {
            let told = ledger(&inputs, "shop", &demand, &supply).unwrap();
            assert!(
                told["compared_steps"] == 0 && told["why_nothing"].as_str().unwrap().contains("ask again"),
                "{told}"
            );
            let policies = told["policies"].as_array().unwrap();
            assert!(policies.len() > 5 && policies.iter().all(|one| one["policy"].is_string()), "{told}");
            for figure in ["cost", "cost_over_oracle", "tau_u", "tau_o", "theta_u", "unserved_share", "instability"] {
                assert!(policies.iter().all(|one| one[figure].is_null()), "{figure}: {told}");
            }
        }
        let told = ledger(&inputs, "shop", &[f64::NAN, 30.0, 10.0], &supplied).unwrap();
        assert_eq!((&told["compared_steps"], &told["why_nothing"]), (&json!(2), &Value::Null));
        assert_eq!((&told["policies"][0]["policy"], &told["policies"][0]["tau_u"]), (&json!("forebay"), &json!(0.5)));
    }

    #[test]
    fn a_step_is_what_was_there_while_it_ran() {
        let mut recorder = Recorder::default();
        let with = |ready: f64| BTreeMap::from([("shop".to_owned(), (ready, 3600.0))]);
        assert_eq!(recorder.note(600.0, 60, &with(10.0)), []);
        assert_eq!(recorder.note(620.0, 60, &with(10.0)), []);
        assert_eq!(recorder.note(650.0, 60, &with(40.0)), []);
        let ended = recorder.note(665.0, 60, &with(40.0));
        assert_eq!(ended.len(), 1);
        assert_eq!((ended[0].start_s, ended[0].cost_micros), (600, 50.0));
        assert!((ended[0].ready_per_s - (20.0 * 10.0 + 30.0 * 40.0) / 50.0).abs() < 1e-9);
        // Nobody looked for an hour: what is there then says nothing of it.
        assert_eq!(recorder.note(4265.0, 60, &with(90.0)).len(), 1);
        assert_eq!(recorder.note(4275.0, 60, &with(50.0)), []);
        let ended = recorder.note(4325.0, 60, &with(50.0));
        assert_eq!((ended[0].start_s, ended[0].ready_per_s), (4260, 50.0));
    }
}
