//! Labelled series from a folder of CSV files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use forebay_forecast::Series;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Finest step, seconds: what the daemon plans in.
const FINEST_STEP_S: i64 = 300;
/// Days that teach at least.
const TEACHING_DAYS: usize = 3;

/// A series and its labelled events.
pub(crate) struct Labelled {
    pub(crate) name: String,
    pub(crate) series: Series,
    /// Steps of each event, ascending.
    pub(crate) events: Vec<Range<usize>>,
    /// First step that is scored.
    pub(crate) scored_from: usize,
    /// Events are windows around an anomaly, not the anomaly.
    pub(crate) windows: bool,
}

type Windows = BTreeMap<String, Vec<[String; 2]>>;

/// Reads every labelled series of a folder, in order of their names.
pub(crate) fn read_folder(data: &Path) -> Result<Vec<Labelled>, String> {
    let inner = data.join("traces");
    let folder = if inner.is_dir() { inner } else { data.to_path_buf() };
    let listing = std::fs::read_dir(&folder).map_err(|error| format!("reading {}: {error}", folder.display()))?;
    let windows: Windows = match std::fs::read_to_string(folder.join("nab_windows.json")) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| format!("reading nab_windows.json: {error}"))?,
        Err(_) => Windows::new(),
    };
    let mut files: Vec<_> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let mut all = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "csv")) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match read(file, windows.get(&format!("{name}.csv"))) {
            Ok(Some((series, events, windows))) => {
                let scored_from = (series.len() / 4).max(TEACHING_DAYS * series.day_steps());
                all.push(Labelled { name, series, events, scored_from, windows });
            }
            Ok(None) => {}
            Err(message) => println!("NOT JUDGED: {name}: {message}"),
        }
    }
    if all.is_empty() { Err(format!("no labelled series in {}", folder.display())) } else { Ok(all) }
}

/// Prints stretches of steps with their times.
pub(crate) fn print_steps(labelled: &Labelled, what: &str, stretches: &[Range<usize>]) {
    for stretch in stretches {
        let at = jiff::Timestamp::from_second(labelled.series.at_s(stretch.start)).unwrap_or_default();
        println!("    {what} {at} steps {stretch:?}");
    }
}

type Parsed = (Series, Vec<Range<usize>>, bool);

fn read(file: &Path, windows: Option<&Vec<[String; 2]>>) -> Result<Option<Parsed>, String> {
    let mut reader = csv::Reader::from_path(file).map_err(|error| error.to_string())?;
    let headers = reader.headers().map_err(|error| error.to_string())?;
    let label = headers.iter().position(|header| header == "label");
    if label.is_none() && windows.is_none() {
        return Ok(None);
    }
    let mut rows: Vec<(i64, f64, bool)> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let at_s = unix_s(record.get(0).unwrap_or_default())?;
        let labelled = label.and_then(|column| record.get(column)).is_some_and(|cell| cell.trim().starts_with('1'));
        if let Some(value) = record.get(1).and_then(|cell| cell.parse::<f64>().ok()) {
            rows.push((at_s, value, labelled));
        }
    }
    rows.sort_by_key(|row| row.0);
    let step_s = step_of(&rows)?;
    let first = rows.first().map_or(0, |row| row.0.div_euclid(step_s));
    let last = rows.last().map_or(0, |row| row.0.div_euclid(step_s));
    let mut steps = vec![(0.0, 0.0, false); (last - first + 1) as usize];
    for &(at_s, value, labelled) in &rows {
        let (sum, count, any) = &mut steps[(at_s.div_euclid(step_s) - first) as usize];
        *sum += value;
        *count += 1.0;
        *any |= labelled;
    }
    let values = steps.iter().map(|(sum, count, _)| sum / count).collect();
    let series = Series::new(first * step_s, step_s as u32, values).map_err(|error| error.to_string())?;
    let mut events: Vec<Range<usize>> = Vec::new();
    for index in steps.iter().enumerate().filter(|(_, step)| step.2).map(|(index, _)| index) {
        match events.last_mut() {
            Some(event) if event.end == index => event.end += 1,
            _ => events.push(index..index + 1),
        }
    }
    for [begin, end] in windows.into_iter().flatten() {
        let step = |text: &str| unix_s(text).map(|at_s| (at_s.div_euclid(step_s) - first).max(0) as usize);
        events.push(step(begin)?..(step(end)? + 1).min(series.len()));
    }
    Ok(Some((series, events, windows.is_some())))
}

fn unix_s(text: &str) -> Result<i64, String> {
    let time: DateTime = text.parse().map_err(|error| format!("stamp {text:?}: {error}"))?;
    TimeZone::UTC.to_timestamp(time).map(|at| at.as_second()).map_err(|error| error.to_string())
}

/// The median distance of stamps, at least five minutes, brought up to a divisor of the day.
fn step_of(rows: &[(i64, f64, bool)]) -> Result<i64, String> {
    let mut distances: Vec<i64> = rows.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|&far| far > 0).collect();
    distances.sort_unstable();
    let median = *distances.get(distances.len() / 2).ok_or("fewer than two stamps")?;
    (median.max(FINEST_STEP_S)..=3600).find(|step| 86_400 % step == 0).ok_or(format!("a step of {median} s"))
}
