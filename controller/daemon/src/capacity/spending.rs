//! What was spent: every instance from the moment it was asked for until it is gone, to the budgets that it is on.
//!
//! Money is exact: micros with what is left of one, so that an account of many short stretches is not rounded away. Where it
//! is not known when an instance ended, it is paid for until that was seen: an account never says less than what was
//! spent. Reserved pools are in no budget, because they are paid whether used or not.
//!
//! Money is paid for real time; periods of budgets are of the calendar, as forecasts are.

use std::collections::BTreeMap;

use forebay_plan::capacity::price::hourly_micros;
use forebay_plan::capacity::{Budget, BudgetScope, Group, Instance, InstanceState, Micros};
use forebay_provision::CALL_WITHIN;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use crate::config::capacity::{BudgetSettings, CapacitySettings, Period};

const MS_PER_H: u64 = 3_600_000;
/// What is told to have been asked for later than now was asked for since the last look, and no longer ago than a call may take:
/// after a long pause a clock that is ahead by a second is to cost seconds.
const BETWEEN_LOOKS_MS: u64 = CALL_WITHIN.as_millis() as u64;

/// What a budget has spent in its period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    /// When its period began, calendar unix seconds.
    began_s: i64,
    spent_micros: Micros,
    /// Of the next micro, in micros x milliseconds per hour.
    remainder: u64,
    /// The period before it: when that began, and what was spent in it.
    #[serde(default)]
    before: Option<(i64, Micros)>,
}

impl Account {
    /// Is of the period that began then from now on. A new one begins with nothing spent. A calendar that was put back gives
    /// nothing back: what was spent meanwhile counts beside what was spent before.
    fn move_to(&mut self, began_s: i64) {
        if began_s > self.began_s {
            *self = Self { began_s, before: Some((self.began_s, self.spent_micros)), ..Self::default() };
        } else if began_s < self.began_s {
            let again = self.before.take_if(|(before_s, _)| *before_s >= began_s).map_or(0, |(_, spent)| spent);
            self.spent_micros = self.spent_micros.saturating_add(again);
            self.began_s = began_s;
        }
    }

    fn pay(&mut self, micros_per_h: Micros, for_ms: u64) {
        // 1e16 micros an hour for a week of milliseconds fit 128 bits a thousand times over.
        let owed = u128::from(micros_per_h) * u128::from(for_ms) + u128::from(self.remainder);
        self.remainder = (owed % u128::from(MS_PER_H)) as u64;
        let micros = u64::try_from(owed / u128::from(MS_PER_H)).unwrap_or(u64::MAX);
        self.spent_micros = self.spent_micros.saturating_add(micros);
    }
}

/// An instance that is paid for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Paid {
    service: String,
    pool: String,
    shape: String,
    requested_ms: u64,
}

/// See the module's text; it is stored, so that money spent before a restart stays spent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spending {
    /// Up to when everything is paid, wall unix milliseconds.
    paid_until_ms: u64,
    accounts: BTreeMap<String, Account>,
    /// Those that were there when it was paid last, by id.
    paid: BTreeMap<String, Paid>,
}

/// A moment in both times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Instant {
    /// Wall time, unix milliseconds.
    pub(crate) wall_ms: u64,
    /// Calendar time, unix seconds.
    pub(crate) calendar_s: f64,
    /// Calendar seconds per real second.
    pub(crate) speed: f64,
}

impl Instant {
    /// Wall time, unix seconds.
    pub(crate) fn wall_s(self) -> i64 {
        (self.wall_ms / 1000) as i64
    }
}

impl Spending {
    /// Says by this controller's clock when instances were asked for and became ready, whatever clock their manager has: one that
    /// was paid for before was asked for when it was first seen, any other since then. Told times are kept where that can be
    /// so; where not, both are moved by as much, so that what lies between them stays.
    pub(super) fn on_own_clock(&self, instances: &mut [Instance], now: Instant) {
        let looked_ms = self.paid_until_ms.min(now.wall_ms);
        for one in instances {
            let told_ms = one.requested_ms;
            one.requested_ms = match self.paid.get(&one.id) {
                Some(known) => known.requested_ms.min(now.wall_ms),
                None if told_ms > now.wall_ms => looked_ms.max(now.wall_ms.saturating_sub(BETWEEN_LOOKS_MS)),
                None => told_ms.max(looked_ms),
            };
            let took = |ready_ms: u64| ready_ms.saturating_sub(told_ms);
            let ready_ms = |ready_ms| one.requested_ms.saturating_add(took(ready_ms)).min(now.wall_ms);
            one.ready_ms = one.ready_ms.map(ready_ms);
        }
    }

    /// Pays for `instances`, which are there now, and for those that were there and are not any more.
    pub(crate) fn pay(&mut self, settings: &CapacitySettings, instances: &[Instance], now: Instant) {
        for budget in &settings.budgets {
            let began_s = budget.period.begin_s(now.calendar_s as i64);
            let account = self.accounts.entry(budget.name.clone()).or_default();
            account.move_to(began_s);
        }
        let there: BTreeMap<String, Paid> = instances
            .iter()
            .filter(|one| one.state != InstanceState::Gone)
            .map(|one| (one.id.clone(), Paid::of(&one.group, one.requested_ms)))
            .collect();
        let ended = self.paid.iter().filter(|(id, _)| !there.contains_key(*id));
        let mut stretches: Vec<(Paid, u64)> = Vec::new();
        for one in there.values() {
            stretches.push((one.clone(), now.wall_ms.saturating_sub(self.paid_until_ms.max(one.requested_ms))));
        }
        for (_, one) in ended {
            let since_ms = self.paid_until_ms.max(one.requested_ms);
            let least_ms = one.requested_ms.saturating_add(billing_min_ms(settings, &one.pool));
            stretches.push((one.clone(), now.wall_ms.max(least_ms).saturating_sub(since_ms)));
        }
        for (one, for_ms) in stretches {
            self.pay_one(settings, &one, for_ms, now);
        }
        self.paid = there;
        self.paid_until_ms = now.wall_ms;
    }

    fn pay_one(&mut self, settings: &CapacitySettings, one: &Paid, for_ms: u64, now: Instant) {
        let Some(micros_per_h) = price_micros_per_h(settings, &one.group()) else { return };
        for budget in &settings.budgets {
            let Some(account) = self.accounts.get_mut(&budget.name).filter(|_| one.is_on(settings, &budget.scope))
            else {
                continue;
            };
            // Nothing that was spent before the period began is of it.
            let of_period_ms = (now.calendar_s - account.began_s as f64).max(0.0) / now.speed * 1000.0;
            account.pay(micros_per_h, for_ms.min(of_period_ms as u64));
        }
    }

    /// When instances were seen and paid for last, wall unix milliseconds.
    pub(super) fn paid_until_ms(&self) -> u64 {
        self.paid_until_ms
    }

    /// When it was paid last, calendar unix seconds.
    pub(super) fn paid_until_calendar_s(&self, now: Instant) -> f64 {
        now.calendar_s - now.wall_ms.saturating_sub(self.paid_until_ms) as f64 / 1000.0 * now.speed
    }

    /// What was paid for last, as instances of which no more is known.
    pub(super) fn paid(&self) -> Vec<Instance> {
        let instance = |(id, one): (&String, &Paid)| Instance {
            id: id.clone(),
            group: one.group(),
            state: InstanceState::Requested,
            requested_ms: one.requested_ms,
            ready_ms: None,
            address: None,
            is_interrupted: false,
        };
        self.paid.iter().map(instance).collect()
    }

    /// The budgets as the planner reads them.
    pub(crate) fn budgets(&self, settings: &[BudgetSettings], calendar_s: f64) -> Vec<Budget> {
        let budget = |budget: &BudgetSettings| {
            let account = self.accounts.get(&budget.name);
            let spent = account.map_or(0, |account| account.spent_micros + u64::from(account.remainder > 0));
            Budget {
                name: budget.name.clone(),
                scope: budget.scope.clone(),
                limit_micros: budget.limit_micros,
                spent_micros: spent,
                ends_s: budget.period.end_s(calendar_s as i64).unsigned_abs(),
            }
        };
        settings.iter().map(budget).collect()
    }
}

impl Paid {
    fn of(group: &Group, requested_ms: u64) -> Self {
        let Group { service, pool, shape } = group.clone();
        Self { service, pool, shape, requested_ms }
    }

    fn group(&self) -> Group {
        Group { service: self.service.clone(), pool: self.pool.clone(), shape: self.shape.clone() }
    }

    fn is_on(&self, settings: &CapacitySettings, scope: &BudgetScope) -> bool {
        match scope {
            BudgetScope::Whole => true,
            BudgetScope::Pool(pool) => *pool == self.pool,
            BudgetScope::Tenant(tenant) => settings
                .services
                .iter()
                .any(|one| one.service.name == self.service && one.service.tenant.as_ref() == Some(tenant)),
        }
    }
}

/// What an instance of a group costs an hour at present, rounded up; nothing of a reserved pool, `None` of an unknown group.
fn price_micros_per_h(settings: &CapacitySettings, group: &Group) -> Option<Micros> {
    let shape = settings.shapes.iter().find(|shape| shape.name == group.shape)?;
    let pool = &settings.pools.iter().find(|offer| offer.pool.name == group.pool)?.pool;
    let tier = settings.tiers.iter().find(|tier| tier.name == pool.tier)?;
    Some(hourly_micros(shape, tier, pool.class, pool.price_milli))
}

fn billing_min_ms(settings: &CapacitySettings, pool: &str) -> u64 {
    let offer = settings.pools.iter().find(|offer| offer.pool.name == pool);
    offer.map_or(0, |offer| (offer.billing_min_s * 1000.0) as u64)
}

impl Period {
    /// When the period that holds a moment began, unix seconds.
    fn begin_s(self, at_s: i64) -> i64 {
        match self {
            Self::Hour => at_s - at_s.rem_euclid(3600),
            Self::Day => at_s - at_s.rem_euclid(86_400),
            // The first of January 1970 was a Thursday.
            Self::Week => at_s - (at_s + 3 * 86_400).rem_euclid(7 * 86_400),
            Self::Month => first_of_month(at_s, 0).unwrap_or(at_s - at_s.rem_euclid(30 * 86_400)),
        }
    }

    /// When it ends.
    fn end_s(self, at_s: i64) -> i64 {
        match self {
            Self::Hour => self.begin_s(at_s) + 3600,
            Self::Day => self.begin_s(at_s) + 86_400,
            Self::Week => self.begin_s(at_s) + 7 * 86_400,
            Self::Month => first_of_month(at_s, 1).unwrap_or(self.begin_s(at_s) + 30 * 86_400),
        }
    }
}

/// When the month of a moment, or one so many later, begins; `None` beyond the calendar's end.
fn first_of_month(at_s: i64, later: i32) -> Option<i64> {
    let at: Zoned = Timestamp::from_second(at_s).ok()?.to_zoned(TimeZone::UTC);
    let first: Date = at.date().first_of_month();
    let first = first.checked_add(jiff::Span::new().months(later)).ok()?;
    Some(first.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Ten an hour on demand, none reserved; the spot pool bills at least a minute.
    fn settings() -> CapacitySettings {
        let text = "
capacity:
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 10 } ]
  tiers: [ { name: spot, price_factor: 0.3, volatility_per_h: 0.05 } ]
  pools:
    - { name: a, location: here, max_instances: 9, lead_s: 30 }
    - { name: b, location: here, class: spot, tier: spot, max_instances: 9, lead_s: 30, billing_min_s: 60 }
    - { name: c, location: here, class: reserved, max_instances: 9, lead_s: 30 }
  services:
    - { name: shop, tenant: acme, need_per_unit: { cpu: 0.1 }, shortage_per_unit_h: 1 }
    - { name: news, need_per_unit: { cpu: 0.1 }, shortage_per_unit_h: 1 }
  budgets:
    - { name: all, limit: 100, per: day }
    - { name: acme, tenant: acme, limit: 50, per: hour }
    - { name: spot, pool: b, limit: 50, per: month }
";
        Config::parse(std::path::Path::new("forebay.yaml"), text).unwrap().capacity.unwrap()
    }

    fn instance(id: &str, service: &str, pool: &str, requested_ms: u64) -> Instance {
        Instance {
            id: id.to_owned(),
            group: Group { service: service.to_owned(), pool: pool.to_owned(), shape: "Small".to_owned() },
            state: InstanceState::Ready,
            requested_ms,
            ready_ms: None,
            address: None,
            is_interrupted: false,
        }
    }

    /// Noon of some day, later by so many seconds.
    fn noon(later_s: u64) -> Instant {
        let at_s = 1_764_504_000 + later_s;
        Instant { wall_ms: at_s * 1000, calendar_s: at_s as f64, speed: 1.0 }
    }

    fn spent(spending: &Spending, settings: &CapacitySettings, at: Instant) -> Vec<Micros> {
        spending.budgets(&settings.budgets, at.calendar_s).iter().map(|budget| budget.spent_micros).collect()
    }

    #[test]
    fn instances_are_paid_for_from_the_asking_to_their_end() {
        let settings = settings();
        let begun = noon(0).wall_ms;
        let mut spending = Spending::default();
        spending.pay(&settings, &[], noon(0));
        let all = [
            instance("1", "shop", "a", begun + 1_000),
            instance("2", "news", "b", begun + 1_000),
            instance("3", "shop", "c", begun + 1_000),
        ];
        spending.pay(&settings, &all, noon(361));
        assert_eq!(spent(&spending, &settings, noon(361)), [1_300_000, 1_000_000, 300_000]);
        spending.pay(&settings, &all[..1], noon(721));
        assert_eq!(
            spent(&spending, &settings, noon(721)),
            [2_600_000, 2_000_000, 600_000],
            "until it is seen to be gone"
        );
        spending.pay(&settings, &all[..1], noon(721 + 360));
        assert_eq!(spent(&spending, &settings, noon(1081)), [3_600_000, 3_000_000, 600_000]);
        // An hour later its account begins anew, with what that hour has cost so far.
        spending.pay(&settings, &all[..1], noon(3600 + 36));
        assert_eq!(spent(&spending, &settings, noon(3636))[1], 100_000);
    }

    #[test]
    fn what_is_billed_at_least_is_paid_when_it_ends_early() {
        let settings = settings();
        let mut spending = Spending::default();
        spending.pay(&settings, &[], noon(0));
        spending.pay(&settings, &[instance("1", "news", "b", noon(0).wall_ms)], noon(1));
        spending.pay(&settings, &[], noon(2));
        assert_eq!(spent(&spending, &settings, noon(2)), [50_000, 0, 50_000]);
        spending.pay(&settings, &[], noon(90));
        assert_eq!(spent(&spending, &settings, noon(90)), [50_000, 0, 50_000]);
    }

    #[test]
    fn many_short_stretches_cost_what_one_long_one_does() {
        let settings = settings();
        let one = [instance("1", "shop", "a", noon(0).wall_ms)];
        let (mut often, mut once) = (Spending::default(), Spending::default());
        often.pay(&settings, &[], noon(0));
        once.pay(&settings, &[], noon(0));
        for later in 1..=700 {
            often.pay(&settings, &one, noon(later));
        }
        once.pay(&settings, &one, noon(700));
        assert_eq!(spent(&often, &settings, noon(700)), spent(&once, &settings, noon(700)));
        let stored = serde_json::to_string(&often).unwrap();
        assert_eq!(serde_json::from_str::<Spending>(&stored).unwrap(), often, "a restart loses nothing");
    }

    #[test]
    fn a_clock_that_jumps_over_the_end_of_a_period_and_back_gives_no_money_back() {
        let (settings, mut spending) = (settings(), Spending::default());
        let one = [instance("a", "shop", "a", noon(0).wall_ms)];
        // The calendar is a day ahead for a while; money goes by what really passed.
        let at = |later_s, ahead_s: f64| Instant { calendar_s: noon(later_s).calendar_s + ahead_s, ..noon(later_s) };
        spending.pay(&settings, &one, at(0, 0.0));
        spending.pay(&settings, &one, at(360, 0.0));
        assert_eq!(spent(&spending, &settings, at(360, 0.0))[0], 1_000_000);
        spending.pay(&settings, &one, at(720, 86_400.0));
        assert_eq!(spent(&spending, &settings, at(720, 86_400.0))[0], 1_000_000, "another day");
        spending.pay(&settings, &one, at(1080, 0.0));
        assert_eq!(spent(&spending, &settings, at(1080, 0.0)), [3_000_000, 3_000_000, 0], "all that was spent");
        spending.pay(&settings, &one, at(1440, 0.0));
        spending.pay(&settings, &one, at(1440, -86_400.0));
        assert_eq!(spent(&spending, &settings, at(1440, -86_400.0))[0], 4_000_000, "behind by a day");
    }

    #[test]
    fn periods_are_of_the_utc_calendar() {
        // Wednesday, 2025-12-31 12:00.
        let at_s = 1_767_182_400;
        let span = |period: Period| (at_s - period.begin_s(at_s), period.end_s(at_s) - at_s);
        assert_eq!(span(Period::Hour), (0, 3600));
        assert_eq!(span(Period::Day), (12 * 3600, 12 * 3600));
        assert_eq!(span(Period::Week), (60 * 3600, 108 * 3600));
        assert_eq!(span(Period::Month), (30 * 86_400 + 12 * 3600, 12 * 3600));
    }
}
