//! Events seen from outside: feeds that are read or refused, uplifts that are learned, and what they are worth on a real
//! series.

use std::env;
use std::path::Path;

use forebay_forecast::{
    EventCalendar, EventError, EventForecast, EventModel, Evidence, FeedZone, SCORED_QUANTILES, Series, Settings, fit,
    pinball_loss,
};
use proptest::prelude::*;

use crate::generated::Random;
use crate::real_traces::read;

const DAY_S: i64 = 86_400;
const ALWAYS: (i64, i64) = (0, 4_102_444_800);

fn feed(events: &str) -> String {
    let begin = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n";
    format!("{begin}{}\r\nEND:VCALENDAR\r\n", events.trim().replace('\n', "\r\n"))
}

fn all_day(date: &str, kind: &str) -> String {
    format!("BEGIN:VEVENT\nUID:{date}\nCATEGORIES:{kind}\nDTSTART;VALUE=DATE:{date}\nEND:VEVENT\n")
}

fn read_feed(events: &str) -> Result<EventCalendar, EventError> {
    EventCalendar::from_ical(&feed(events), FeedZone::Offset(0), ALWAYS)
}

fn spans(calendar: &EventCalendar) -> Vec<(i64, i64)> {
    calendar.events().iter().map(|event| (event.from_s, event.to_s)).collect()
}

#[test]
fn a_feed_is_read() {
    let calendar = read_feed(
        "BEGIN:VTIMEZONE\nTZID:Somewhere\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE
BEGIN:VEVENT\nUID:1\nSUMMARY:Deploy of the \n database\nDTSTART:20261122T220000Z\nDURATION:PT2H30M\nX-FOREBAY-CAPACITY:0.5\nEND:VEVENT
BEGIN:VEVENT\nUID:2\nSUMMARY:Black Friday\nCATEGORIES:Sale,Retail\nDTSTART;VALUE=DATE:20261127\nDTEND;VALUE=DATE:20261201
X-FOREBAY-UPLIFT:3\nX-FOREBAY-KEY:shop\nEND:VEVENT
BEGIN:VEVENT\nUID:3\nSUMMARY:Off\nSTATUS:CANCELLED\nDTSTART;VALUE=DATE:20261128\nEND:VEVENT
BEGIN:VEVENT\nUID:4\nSUMMARY:Weekly\nDTSTART:20261102T100000\nDTEND:20261102T110000
RRULE:FREQ=WEEKLY;UNTIL=20261116T100000Z\nEXDATE:20261109T100000\nEND:VEVENT",
    )
    .unwrap();
    let kinds: Vec<&str> = calendar.events().iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["weekly", "weekly", "deploy of the database", "sale"]);
    assert_eq!(calendar.events()[0].from_s, 1_793_613_600, "2026-11-02, ten o'clock");
    assert_eq!(calendar.events()[1].from_s - calendar.events()[0].from_s, 14 * DAY_S, "the ninth is left out");
    let (deploy, sale) = (&calendar.events()[2], &calendar.events()[3]);
    assert_eq!(deploy.to_s - deploy.from_s, 9_000);
    assert_eq!((calendar.capacity_factor(deploy.from_s), calendar.capacity_factor(deploy.to_s)), (0.5, 1.0));
    assert_eq!((sale.to_s - sale.from_s, sale.key.as_deref()), (4 * DAY_S, Some("shop")));
    assert_eq!(sale.effect.demand.map(|demand| demand.factor), Some(3.0));
}

#[test]
fn local_days_and_named_zones_are_the_callers_to_know() {
    let day = all_day("20260704", "holiday");
    let utc = spans(&read_feed(&day).unwrap())[0];
    let west = EventCalendar::from_ical(&feed(&day), FeedZone::Offset(-5 * 3600), ALWAYS).unwrap();
    assert_eq!(spans(&west), [(utc.0 + 5 * 3600, utc.1 + 5 * 3600)]);
    let named = "BEGIN:VEVENT\nSUMMARY:a\nDTSTART;TZID=Europe/Paris:20260704T100000\nDURATION:PT1H\nEND:VEVENT";
    let refused = read_feed(named).unwrap_err();
    assert!(refused.to_string().contains("Europe/Paris"), "{refused}");
    let table = |zone: Option<&str>, local_s: i64| (zone == Some("Europe/Paris")).then_some(local_s - 7200);
    let paris = EventCalendar::from_ical(&feed(named), FeedZone::Table(&table), ALWAYS).unwrap();
    assert_eq!(spans(&paris), [(utc.0 + 8 * 3600, utc.0 + 9 * 3600)]);
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (event, reason) in [
        ("SUMMARY:a\nDTSTART:tomorrow", "tomorrow"),
        ("SUMMARY:a\nDTSTART:20260230", "20260230"),
        ("SUMMARY:a\nDTSTART:20260201T100000Z", "DTEND"),
        ("SUMMARY:a\nDTSTART:20260201T100000Z\nDTEND:20260201T090000Z", "ends before"),
        ("SUMMARY:a\nDTSTART;VALUE=DATE:20260201\nRRULE:FREQ=SECONDLY", "SECONDLY"),
        ("SUMMARY:a\nDTSTART;VALUE=DATE:20260201\nRDATE:20260301", "RDATE"),
        ("SUMMARY:a\nDTSTART;VALUE=DATE:20260201\nX-FOREBAY-UPLIFT:much", "much"),
        ("SUMMARY:a", "DTSTART"),
        ("DTSTART;VALUE=DATE:20260201", "SUMMARY"),
    ] {
        let refused = read_feed(&format!("BEGIN:VEVENT\n{event}\nEND:VEVENT")).unwrap_err();
        assert!(matches!(refused, EventError::FeedEvent { .. }) && refused.to_string().contains(reason), "{refused}");
    }
    for text in ["", "hello", "BEGIN:VEVENT\nEND:VEVENT", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR"] {
        let refused = EventCalendar::from_ical(text, FeedZone::Offset(0), ALWAYS).unwrap_err();
        assert!(matches!(refused, EventError::Feed { .. }), "{text}: {refused}");
    }
    let deep = "BEGIN:VCALENDAR\n".repeat(100_000);
    assert!(matches!(EventCalendar::from_ical(&deep, FeedZone::Offset(0), ALWAYS), Err(EventError::Feed { .. })));
    let endless = "BEGIN:VEVENT\nSUMMARY:a\nDTSTART;VALUE=DATE:19800101\nRRULE:FREQ=DAILY\nEND:VEVENT";
    assert_eq!(read_feed(endless), Err(EventError::TooMany));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_text_upsets_the_reader(
        changes in prop::collection::vec((0_usize..400, "[A-Z0-9:;=,\\-\r\n TZé]{0,6}"), 1..8),
    ) {
        let mut text = feed(&format!("{}RRULE:FREQ=YEARLY;BYMONTH=7;BYDAY=1FR\n", all_day("20260704", "holiday")));
        for (at, change) in changes {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let end = (at + change.len()).min(text.len());
            let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
            text.replace_range(at..end, &change);
        }
        if let Ok(calendar) = EventCalendar::from_ical(&text, FeedZone::Offset(0), ALWAYS) {
            for event in calendar.events() {
                prop_assert!(event.from_s < event.to_s && !event.kind.is_empty());
            }
        }
    }
}

/// Twelve weeks of hours with a daily wave, noise of 3 %, and factors on some days.
fn demand(factors: &[(usize, f64)]) -> Series {
    let mut random = Random(17);
    let rate = |hour: usize, random: &mut Random| {
        let wave = 100.0 + 50.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let factor = factors.iter().find(|(day, _)| *day == hour / 24).map_or(1.0, |(_, factor)| *factor);
        wave * factor * (1.0 + 0.03 * random.normal())
    };
    Series::new(0, 3600, (0..84 * 24).map(|hour| rate(hour, &mut random)).collect()).unwrap()
}

fn days(kinds: &[(usize, &str)]) -> EventCalendar {
    let date = |day: usize| format!("{:04}{:02}{:02}", 1970, 1 + day / 31, 1 + day % 31);
    // Days of the first quarter of 1970: January has 31, February 28.
    let of_quarter = |day: usize| if day < 59 { date(day) } else { format!("197003{:02}", day - 58) };
    read_feed(&kinds.iter().map(|(day, kind)| all_day(&of_quarter(*day), kind)).collect::<String>()).unwrap()
}

fn factor(model: &EventModel, kind: &str) -> (f64, f64, Evidence) {
    let report = model.report().into_iter().find(|report| report.kind == kind).unwrap();
    (report.uplift.factor(), report.uplift.log_deviation, report.evidence)
}

#[test]
fn uplifts_are_learned_held_back_and_told() {
    let series = demand(&[(20, 2.0), (33, 2.0), (45, 2.0), (55, 0.5)]);
    let calendar = days(&[(20, "sale"), (33, "sale"), (45, "sale"), (55, "strike"), (85, "sale"), (87, "launch")]);
    let model = EventModel::learn(&series, &calendar);
    let (sale, sale_deviation, evidence) = factor(&model, "sale");
    assert!((1.7..2.05).contains(&sale) && evidence == Evidence::Seen { events: 3 }, "{sale}, {evidence:?}");
    let (strike, ..) = factor(&model, "strike");
    assert!((0.5..0.7).contains(&strike), "one event is held towards the others: {strike}");
    let (launch, launch_deviation, evidence) = factor(&model, "launch");
    assert!((0.8..1.5).contains(&launch) && evidence == Evidence::Pooled { kinds: 2 }, "{launch}, {evidence:?}");
    assert!(launch_deviation > sale_deviation + 0.1, "{launch_deviation}, {sale_deviation}");
    let cleared = model.cleared(&series).unwrap();
    let mean = |series: &Series, day: usize| series.values()[day * 24..(day + 1) * 24].iter().sum::<f64>() / 24.0;
    for day in [20, 33, 45, 55] {
        assert!((mean(&cleared, day) / 100.0 - 1.0).abs() < 0.04, "day {day}: {}", mean(&cleared, day));
    }
    assert_eq!(cleared.values()[530], series.values()[530]);
    let unseen = EventModel::learn(&series.slice(0, 240).unwrap(), &calendar);
    assert_eq!(factor(&unseen, "sale").2, Evidence::Nothing);
}

#[test]
fn what_the_operator_expects_counts_until_events_speak() {
    let given =
        all_day("19700225", "launch").replace("END:", "X-FOREBAY-UPLIFT:4\nX-FOREBAY-UPLIFT-DEVIATION:0.2\nEND:");
    let later = all_day("19700401", "launch");
    let calendar = read_feed(&format!("{given}{later}")).unwrap();
    let series = demand(&[(55, 2.0)]);
    let before = EventModel::learn(&series.slice(0, 50 * 24).unwrap(), &calendar);
    let (factor_before, _, evidence) = factor(&before, "launch");
    assert!((factor_before - 4.0).abs() < 1e-9 && evidence == Evidence::Given);
    let after = EventModel::learn(&series, &calendar);
    let (factor_after, _, evidence) = factor(&after, "launch");
    assert!((2.2..3.6).contains(&factor_after) && evidence == Evidence::Seen { events: 1 }, "{factor_after}");
}

#[test]
fn a_running_event_is_known_by_what_it_did_so_far() {
    let series = demand(&[(20, 2.0), (40, 2.0), (60, 3.0)]);
    let calendar = days(&[(20, "sale"), (40, "sale"), (60, "sale")]);
    let noon = EventModel::learn(&series.slice(0, 60 * 24 + 12).unwrap(), &calendar);
    let uplift = noon.uplift(60 * DAY_S + 15 * 3600).unwrap();
    assert!((2.6..3.1).contains(&uplift.factor()), "{uplift:?}");
    let dawn = EventModel::learn(&series.slice(0, 60 * 24).unwrap(), &calendar).uplift(60 * DAY_S + 15 * 3600).unwrap();
    assert!(dawn.factor() < 2.1 && dawn.log_deviation > uplift.log_deviation, "{dawn:?}");
    assert_eq!(noon.uplift(61 * DAY_S), None);
}

/// The named days of the taxi series. Races and storms come once each: what they do is either given or pooled.
fn named_days(race: &str, storm: &str) -> String {
    let holiday = |name: &str, date: &str, rule: &str| {
        format!(
            "BEGIN:VEVENT\nUID:{date}\nSUMMARY:{name}\nCATEGORIES:holiday\nDTSTART;VALUE=DATE:{date}\nRRULE:{rule}\nEND:VEVENT\n"
        )
    };
    let once = |name: &str, kind: &str, (from, to): (&str, &str), given: &str| {
        format!(
            "BEGIN:VEVENT\nUID:{from}\nSUMMARY:{name}\nCATEGORIES:{kind}\nDTSTART;VALUE=DATE:{from}\nDTEND;VALUE=DATE:{to}\n{given}END:VEVENT\n"
        )
    };
    [
        holiday("Independence Day", "20140704", "FREQ=YEARLY"),
        holiday("Labor Day", "20140901", "FREQ=YEARLY;BYMONTH=9;BYDAY=1MO"),
        once("New York City Marathon", "race", ("20141102", "20141103"), race),
        holiday("Thanksgiving", "20141127", "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH"),
        holiday("Christmas Day", "20141225", "FREQ=YEARLY"),
        holiday("New Year's Day", "20150101", "FREQ=YEARLY"),
        once("Blizzard", "storm", ("20150126", "20150128"), storm),
    ]
    .concat()
}

/// Loss without and with the calendar over each event's steps, an hour ahead. Everything is learned from what lies before:
/// the models are fitted before the event begins, the events are learned anew at every step.
fn losses(series: &Series, calendar: &EventCalendar) -> Vec<(String, f64, f64)> {
    const HORIZON: usize = 2;
    let settings = Settings { horizon_steps: HORIZON, ..Settings::default() };
    let tail = |series: &Series| series.slice(series.len().saturating_sub(56 * 48), series.len()).unwrap();
    let step = |at_s: i64| ((at_s - series.start_s()) / 1800) as usize;
    let mut losses = vec![];
    for event in calendar.events().iter().filter(|event| step(event.from_s) > 28 * 48) {
        let (from, to) = (step(event.from_s), step(event.to_s).min(series.len()));
        let before = series.slice(0, from - HORIZON + 1).unwrap();
        let plain = fit(&tail(&before), &settings).unwrap();
        let cleared = EventModel::learn(&before, calendar).cleared(&before).unwrap();
        let informed = fit(&tail(&cleared), &settings).unwrap();
        let (mut without, mut with) = (0.0, 0.0);
        for origin in before.len()..to {
            let known = series.slice(0, origin).unwrap();
            let model = EventModel::learn(&known, calendar);
            let plain = plain.predict(&tail(&known)).unwrap();
            let informed: EventForecast =
                model.apply(informed.predict(&tail(&model.cleared(&known).unwrap())).unwrap());
            for ahead in (0..HORIZON).filter(|ahead| (from..to).contains(&(origin + ahead))) {
                let actual = series.values()[origin + ahead];
                for p in SCORED_QUANTILES {
                    without += pinball_loss(p, plain.steps[ahead].quantile(p), actual);
                    with += pinball_loss(p, informed.steps[ahead].quantile(p), actual);
                }
            }
        }
        losses.push((event.kind.clone(), without, with));
    }
    losses
}

#[test]
fn a_calendar_helps_on_the_named_days_of_a_real_series() {
    let Some(folder) = env::var_os("FOREBAY_DATA") else {
        eprintln!("NOT RUN: events of the taxi series; set FOREBAY_DATA to a folder that holds traces/");
        return;
    };
    let series = read(&Path::new(&folder).join("traces/nab_nyc_taxi.csv"), 1800);
    let given = (
        "X-FOREBAY-UPLIFT:1\nX-FOREBAY-UPLIFT-DEVIATION:0.15\n",
        "X-FOREBAY-UPLIFT:0.5\nX-FOREBAY-UPLIFT-DEVIATION:0.4\n",
    );
    for (name, (race, storm)) in [("nothing given", ("", "")), ("race and storm given", given)] {
        let calendar = EventCalendar::from_ical(
            &feed(&named_days(race, storm)),
            FeedZone::Offset(0),
            (series.start_s(), series.end_s()),
        )
        .unwrap();
        let losses = losses(&series, &calendar);
        let ratio = |kind: &str| {
            let of_kind = losses.iter().filter(|(of, ..)| kind.is_empty() || of == kind);
            let (without, with) = of_kind.fold((0.0, 0.0), |sum, (_, a, b)| (sum.0 + a, sum.1 + b));
            with / without
        };
        println!(
            "{name}: loss with the calendar over loss without: all days {:.3}, holidays {:.3}, race {:.3}, storm {:.3}",
            ratio(""),
            ratio("holiday"),
            ratio("race"),
            ratio("storm")
        );
        assert!(ratio("holiday") < 0.7, "kinds that were seen before");
        assert!(ratio("") < 0.85, "all of them");
    }
}
