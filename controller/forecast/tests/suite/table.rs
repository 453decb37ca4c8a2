//! CSV files, and the local times in them.

use forebay_forecast::{LocalTime, Measure, Regularise, Table, Zone, parse_stamp, regularise};
use jiff::tz::TimeZone;

/// 2024: clocks in Berlin go forward on 31 March and back on 27 October, both at 01:00 UTC.
pub(crate) const FORWARD_S: i64 = 1_711_846_800;
pub(crate) const BACK_S: i64 = 1_729_990_800;
const YEAR_2024_S: (i64, i64) = (1_704_067_200, 1_735_689_600);

pub(crate) fn berlin() -> Zone {
    Zone::of(&TimeZone::get("Europe/Berlin").unwrap(), YEAR_2024_S.0, YEAR_2024_S.1).unwrap()
}

fn utc(text: &str) -> Result<Table, String> {
    Table::read(text.as_bytes(), &Zone::utc()).map_err(|error| error.to_string())
}

#[test]
fn columns_are_series_and_labels() {
    let table =
        utc("timestamp,requests,Label,bytes\n2024-01-01 00:00:00,1,0,\n2024-01-01 00:01:00, 3 ,1,NaN\n").unwrap();
    let names = |table: &Table| table.series().map(|column| column.name.clone()).collect::<Vec<_>>();
    assert_eq!((names(&table), table.labels().count(), table.len()), (vec!["requests".into(), "bytes".into()], 1, 2));
    let requests = table.observations(table.series().next().unwrap());
    assert_eq!((requests[1].row, requests[1].at_ns, requests[1].value), (3, 1_704_067_260_000_000_000, 3.0));
    assert!(table.series().nth(1).unwrap().values.iter().all(|value| value.is_nan()));
    // Labels lie on the same steps as the values, coarser ones too.
    let how = Regularise { step_s: Some(120), ..Regularise::new(Measure::Level) };
    let marks = regularise(&table.observations(table.labels().next().unwrap()), &how).unwrap().series;
    assert_eq!(marks.values(), [0.5]);
}

#[test]
fn what_is_no_table_is_refused_with_its_line() {
    let bad = |row: &str| utc(&format!("timestamp,value,label\n0,1,0\n{row}\n")).unwrap_err();
    assert_eq!(bad("60,1"), "reading line 3: 2 fields where the header has 3; complete or delete the line");
    assert_eq!(
        bad("soon,1,0"),
        "reading line 3: \"soon\" is no time; write unix seconds, RFC 3339 or YYYY-MM-DD HH:MM:SS"
    );
    let no_number = "is no number; write one, or nothing where it is missing";
    for text in ["many", "inf", "-Infinity", "1e999", "1,5"] {
        let message = bad(&format!("60,\"{text}\",0"));
        assert_eq!(message, format!("reading line 3, column \"value\": {text:?} {no_number}"));
    }
    assert!(bad("60,1,\u{0}").starts_with("reading line 3, column \"label\""));
    for header in ["", "timestamp", "0,1", "timestamp,3", "timestamp,value,", "2024-01-01,value"] {
        let message = utc(&format!("{header}\n60,1,0\n")).unwrap_err();
        assert!(message.starts_with("reading line 1: "), "{header:?}: {message}");
    }
    let bytes: &[u8] = b"timestamp,value\n60,\xff\n";
    assert!(Table::read(bytes, &Zone::utc()).unwrap_err().to_string().starts_with("reading line 2: "));
    assert!(utc("timestamp,value\n").unwrap().is_empty());
}

#[test]
fn a_local_hour_that_is_there_twice_is_told_apart_by_the_order_of_rows() {
    let stamps = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"];
    let text: String = stamps.iter().map(|time| format!("2024-10-27 {time},1\n")).collect();
    let table = Table::read(format!("time,value\n{text}").as_bytes(), &berlin()).unwrap();
    let at: Vec<i64> = table
        .observations(table.series().next().unwrap())
        .iter()
        .map(|one| one.at_ns / 1_000_000_000 - BACK_S)
        .collect();
    assert_eq!(at, [-5400, -3600, -1800, 0, 1800, 3600]);
    // Backwards, nobody can tell.
    let backwards = "time,value\n2024-10-27 04:00,1\n2024-10-27 02:30,1\n";
    let message = Table::read(backwards.as_bytes(), &berlin()).unwrap_err().to_string();
    assert!(message.starts_with("reading line 3: \"2024-10-27 02:30\" is there twice"), "{message}");
    let skipped = "time,value\n2024-03-31 02:30:00,1\n";
    let message = Table::read(skipped.as_bytes(), &berlin()).unwrap_err().to_string();
    assert!(message.contains("does not exist in this time zone"), "{message}");
    // With an offset there is no question.
    assert_eq!(parse_stamp("2024-10-27T02:30:00+01:00", &berlin(), None), Ok((BACK_S + 1800) * 1_000_000_000));
}

#[test]
fn a_zone_knows_its_changes() {
    let zone = berlin();
    assert_eq!(zone, Zone::new(3600, vec![(FORWARD_S, 7200), (BACK_S, 3600)]).unwrap());
    assert_eq!([-1, 0].map(|s| zone.offset_at(FORWARD_S + s)), [3600, 7200]);
    let local_of_back = BACK_S + 7200;
    assert_eq!(zone.unix_s(local_of_back - 3601), LocalTime::Once(BACK_S - 3601));
    assert_eq!(zone.unix_s(local_of_back - 3600), LocalTime::Twice(BACK_S - 3600, BACK_S));
    assert_eq!(zone.unix_s(local_of_back), LocalTime::Once(BACK_S + 3600));
    assert_eq!(zone.unix_s(FORWARD_S + 3600 + 1800), LocalTime::Never(FORWARD_S + 1800));
    for unix_s in (YEAR_2024_S.0..YEAR_2024_S.1).step_by(1800) {
        match zone.unix_s(zone.local_s(unix_s)) {
            LocalTime::Once(found) => assert_eq!(found, unix_s),
            LocalTime::Twice(earlier, later) => assert!([earlier, later].contains(&unix_s)),
            LocalTime::Never(_) => panic!("{unix_s} was shown"),
        }
    }
    assert!(Zone::new(86_400, vec![]).is_err() && Zone::new(0, vec![(5, 0), (5, 60)]).is_err());
    assert!(Zone::new(0, vec![(0, 0); 585]).is_err() && Zone::utc().is_utc() && !zone.is_utc());
}
