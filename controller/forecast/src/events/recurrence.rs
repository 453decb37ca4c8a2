//! Recurrence rules (RFC 5545, 3.3.10), the part of them that calendars of holidays, campaigns and maintenance use: daily,
//! weekly, monthly and yearly, every n-th, by month, day of the month or (numbered) weekday, up to a count or a date.
//!
//! Anything else is refused by name: a rule that is half understood puts an event on the wrong day.

use jiff::Span;
use jiff::civil::{Date, DateTime, Weekday};

/// Periods (days, weeks, months, years) that a rule is followed for from its beginning: 270 years of days.
const MAX_PERIODS: i64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// A rule without its beginning. `UNTIL` is left to the caller, who knows the zone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    frequency: Frequency,
    interval: i64,
    pub(super) count: Option<usize>,
    pub(super) until: Option<String>,
    months: Vec<i8>,
    month_days: Vec<i8>,
    /// The n-th of its month (from the end if negative), or each for 0.
    weekdays: Vec<(i8, Weekday)>,
    week_start: Weekday,
}

impl Rule {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut frequency = None;
        let mut rule = Self {
            frequency: Frequency::Daily,
            interval: 1,
            count: None,
            until: None,
            months: vec![],
            month_days: vec![],
            weekdays: vec![],
            week_start: Weekday::Monday,
        };
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("recurrence part `{part}`"))?;
            let refused = || format!("recurrence {name}={value} is not supported");
            match name.to_ascii_uppercase().as_str() {
                "FREQ" => {
                    frequency = Some(match value.to_ascii_uppercase().as_str() {
                        "DAILY" => Frequency::Daily,
                        "WEEKLY" => Frequency::Weekly,
                        "MONTHLY" => Frequency::Monthly,
                        "YEARLY" => Frequency::Yearly,
                        _ => return Err(refused()),
                    });
                }
                "INTERVAL" => rule.interval = within(value, 1, 1_000).ok_or_else(refused)?,
                "COUNT" => rule.count = Some(within(value, 1, 1_000_000).ok_or_else(refused)? as usize),
                "UNTIL" => rule.until = Some(value.to_owned()),
                "BYMONTH" => rule.months = list(value, |one| Some(within(one, 1, 12)? as i8)).ok_or_else(refused)?,
                "BYMONTHDAY" => {
                    let day = |one: &str| Some(within(one, -31, 31)? as i8).filter(|day| *day != 0);
                    rule.month_days = list(value, day).ok_or_else(refused)?;
                }
                "BYDAY" => rule.weekdays = list(value, numbered_weekday).ok_or_else(refused)?,
                "WKST" => rule.week_start = weekday(value).ok_or_else(refused)?,
                _ => return Err(refused()),
            }
        }
        rule.frequency = frequency.ok_or("a recurrence without FREQ")?;
        rule.check()?;
        Ok(rule)
    }

    fn check(&self) -> Result<(), String> {
        let numbered = self.weekdays.iter().any(|(number, _)| *number != 0);
        let by_day_in_month = !self.month_days.is_empty() || !self.weekdays.is_empty();
        let refused = match self.frequency {
            Frequency::Daily => by_day_in_month || !self.months.is_empty(),
            Frequency::Weekly => numbered || !self.month_days.is_empty() || !self.months.is_empty(),
            Frequency::Monthly => false,
            Frequency::Yearly => by_day_in_month && self.months.is_empty(),
        };
        if refused || (!self.month_days.is_empty() && !self.weekdays.is_empty()) {
            return Err("this combination of FREQ and BY... in a recurrence is not supported".to_owned());
        }
        Ok(())
    }

    /// Hands the occurrences from `start` on to `visit`, in order, until it says stop (`false`) or `COUNT` is reached.
    pub(super) fn each(&self, start: DateTime, mut visit: impl FnMut(DateTime) -> bool) -> Result<(), String> {
        let mut left = self.count.unwrap_or(usize::MAX);
        for period in 0..MAX_PERIODS {
            // Beyond the years that dates can have there is nothing to visit.
            let Some(dates) = self.dates(start.date(), period * self.interval) else { return Ok(()) };
            for date in dates.into_iter().filter(|date| *date >= start.date()) {
                if left == 0 || !visit(date.to_datetime(start.time())) {
                    return Ok(());
                }
                left -= 1;
            }
        }
        Err("a recurrence with too many periods".to_owned())
    }

    /// The dates of a period, ascending.
    fn dates(&self, start: Date, periods: i64) -> Option<Vec<Date>> {
        let mut dates = match self.frequency {
            Frequency::Daily => vec![start.checked_add(Span::new().try_days(periods).ok()?).ok()?],
            Frequency::Weekly => {
                let into_week = i64::from(start.weekday().since(self.week_start));
                let monday = start.checked_add(Span::new().try_days(7 * periods - into_week).ok()?).ok()?;
                let weekdays = self.weekdays.iter().map(|(_, weekday)| *weekday);
                let weekdays: Vec<_> =
                    if self.weekdays.is_empty() { vec![start.weekday()] } else { weekdays.collect() };
                let day = |weekday: Weekday| {
                    monday.checked_add(Span::new().days(i64::from(weekday.since(self.week_start)))).ok()
                };
                weekdays.into_iter().filter_map(day).collect()
            }
            Frequency::Monthly => {
                let month = start.first_of_month().checked_add(Span::new().try_months(periods).ok()?).ok()?;
                let takes_part = self.months.is_empty() || self.months.contains(&month.month());
                if takes_part { self.dates_of_month(month, start) } else { vec![] }
            }
            Frequency::Yearly => {
                let year = i16::try_from(i64::from(start.year()) + periods).ok().filter(|year| *year <= 9999)?;
                let months = if self.months.is_empty() { vec![start.month()] } else { self.months.clone() };
                let months = months.into_iter().filter_map(|month| Date::new(year, month, 1).ok());
                months.flat_map(|month| self.dates_of_month(month, start)).collect()
            }
        };
        dates.sort_unstable();
        dates.dedup();
        Some(dates)
    }

    /// The dates within the month that begins at `first`; days that it does not have are passed over.
    fn dates_of_month(&self, first: Date, start: Date) -> Vec<Date> {
        let day = |day: i8| Date::new(first.year(), first.month(), day).ok();
        let last = first.days_in_month();
        if !self.month_days.is_empty() {
            let counted = |&of_month: &i8| if of_month < 0 { day(last + 1 + of_month) } else { day(of_month) };
            return self.month_days.iter().filter_map(counted).collect();
        }
        let on = |&(number, weekday): &(i8, Weekday)| -> Vec<Date> {
            let all: Vec<Date> = (1..=last).filter_map(day).filter(|date| date.weekday() == weekday).collect();
            match number {
                0 => all,
                1.. => all.get(number as usize - 1).copied().into_iter().collect(),
                _ => all.iter().rev().nth((-number) as usize - 1).copied().into_iter().collect(),
            }
        };
        if self.weekdays.is_empty() {
            day(start.day()).into_iter().collect()
        } else {
            self.weekdays.iter().flat_map(on).collect()
        }
    }
}

fn within(text: &str, least: i64, most: i64) -> Option<i64> {
    text.parse::<i64>().ok().filter(|value| (least..=most).contains(value))
}

fn list<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(one).collect()
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text.to_ascii_uppercase().as_str() {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return None,
    })
}

fn numbered_weekday(text: &str) -> Option<(i8, Weekday)> {
    let at = text.len().checked_sub(2).filter(|at| text.is_char_boundary(*at))?;
    let (number, name) = text.split_at(at);
    let number = if number.is_empty() { 0 } else { within(number, -5, 5).filter(|number| *number != 0)? as i8 };
    Some((number, weekday(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dates(rule: &str, start: &str, most: usize) -> Vec<String> {
        let mut seen = vec![];
        let start: DateTime = start.parse().unwrap();
        Rule::parse(rule)
            .unwrap()
            .each(start, |at| {
                seen.push(at.date().to_string());
                seen.len() < most
            })
            .unwrap();
        seen
    }

    #[test]
    fn the_holidays_of_a_year() {
        assert_eq!(dates("FREQ=YEARLY", "2014-07-04T00:00", 3), ["2014-07-04", "2015-07-04", "2016-07-04"]);
        let thanksgiving = "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH";
        assert_eq!(dates(thanksgiving, "2014-11-27T00:00", 3), ["2014-11-27", "2015-11-26", "2016-11-24"]);
        assert_eq!(dates("FREQ=YEARLY;BYMONTH=5;BYDAY=-1MO", "2014-05-26T00:00", 2), ["2014-05-26", "2015-05-25"]);
        assert_eq!(dates("FREQ=YEARLY;COUNT=2", "2016-02-29T00:00", 9), ["2016-02-29", "2020-02-29"]);
    }

    #[test]
    fn weeks_days_and_months() {
        let weekly = "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SA;COUNT=4";
        assert_eq!(dates(weekly, "2026-11-03T02:00", 9), ["2026-11-03", "2026-11-07", "2026-11-17", "2026-11-21"]);
        assert_eq!(dates("FREQ=DAILY;INTERVAL=3;COUNT=2", "2026-12-30T00:00", 9), ["2026-12-30", "2027-01-02"]);
        let ends = dates("FREQ=MONTHLY;BYMONTHDAY=-1", "2027-01-31T00:00", 3);
        assert_eq!(ends, ["2027-01-31", "2027-02-28", "2027-03-31"]);
        assert_eq!(dates("FREQ=MONTHLY", "2027-01-31T00:00", 3), ["2027-01-31", "2027-03-31", "2027-05-31"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for rule in [
            "FREQ=HOURLY",
            "FREQ=YEARLY;BYWEEKNO=3",
            "FREQ=YEARLY;BYDAY=20MO",
            "FREQ=YEARLY;BYDAY=1MO",
            "FREQ=MONTHLY;BYSETPOS=1;BYDAY=MO",
            "FREQ=DAILY;BYDAY=MO",
            "INTERVAL=2",
            "FREQ=DAILY;INTERVAL=0",
            "FREQ=WEEKLY;BYDAY=1MO",
            "FREQ=WEEKLY;BYDAY=\u{e9}O",
            "FREQ",
        ] {
            assert!(Rule::parse(rule).is_err(), "{rule}");
        }
    }

    #[test]
    fn no_date_is_past_the_last_year() {
        assert!(dates("FREQ=YEARLY", "9990-01-01T00:00", 100).len() == 10);
        assert!(!dates("FREQ=DAILY;INTERVAL=1000", "9990-01-01T00:00", 100).is_empty());
    }
}
