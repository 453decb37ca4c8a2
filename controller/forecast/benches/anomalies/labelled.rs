//! Labelled series from a folder of CSV files.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use forebay_forecast::{Column, Measure, Regularise, Series, Table, Zone, parse_stamp, regularise};

/// Finest step, seconds: what the daemon plans in.
const FINEST_STEP_S: u32 = 300;
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
    let input = File::open(file).map_err(|error| error.to_string())?;
    let table = Table::read(input, &Zone::utc()).map_err(|error| error.to_string())?;
    let label = table.labels().next();
    if label.is_none() && windows.is_none() {
        return Ok(None);
    }
    let series = regular(&table, table.series().next().ok_or("no column beside the time")?)?;
    let (start_s, step_s) = (series.start_s(), i64::from(series.step_s()));
    let step = |at_s: i64| ((at_s - start_s).max(0) / step_s) as usize;
    let mut events: Vec<Range<usize>> = Vec::new();
    if let Some(label) = label {
        let labels = regular(&table, label)?;
        // Marked where any row of the step is.
        for (index, _) in labels.values().iter().enumerate().filter(|(_, value)| **value > 0.0) {
            let at = step(labels.at_s(index));
            match events.last_mut() {
                Some(event) if event.end == at => event.end += 1,
                _ => events.push(at..at + 1),
            }
        }
    }
    for [begin, end] in windows.into_iter().flatten() {
        let at = |text: &str| {
            let at_ns = parse_stamp(text, &Zone::utc(), None).map_err(|error| error.to_string())?;
            Ok::<_, String>(step(at_ns.div_euclid(1_000_000_000)))
        };
        events.push(at(begin)?..(at(end)? + 1).min(series.len()));
    }
    Ok(Some((series, events, windows.is_some())))
}

/// The means of a column over its own steps, or over five minutes where these are shorter.
fn regular(table: &Table, column: &Column) -> Result<Series, String> {
    let regular = regularise(&table.observations(column), &Regularise::new(Measure::Level));
    let series = regular.map_err(|error| error.to_string())?.series;
    if series.step_s() >= FINEST_STEP_S {
        return Ok(series);
    }
    series.coarser(FINEST_STEP_S).map_err(|error| error.to_string())
}
