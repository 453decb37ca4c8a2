//! Where the commands' series come from: a CSV file, or a key of the controller's store.
//!
//! A source is a file if there is one of that name or if it ends in `.csv`, else a key. A key is forecast as the controller
//! would: from what it believes of the history (its ledger of anomalies, hostile demand, the flood guard's caps), with the
//! event feeds of the configuration.

use std::path::Path;

use anyhow::Context;
use forebay_forecast::{
    Choice, EventCalendar, Measure, Regularise, Series, SeriesError, Table, WEEK_S, Zone, regularise,
};
use forebay_plan::Key;

use super::{Kind, MAX_SERIES, Named, Question, season};
use crate::config::Config;
use crate::files;
use crate::planning::demand::KeyDemand;
use crate::store::HistoryStore;
use crate::store::sqlite::SqliteStore;

/// The series that the question is about.
pub(super) fn read(question: &Question) -> anyhow::Result<Vec<Named>> {
    let path = Path::new(&question.source);
    let mut all = if path.is_file() || question.source.ends_with(".csv") {
        from_file(path, question)?
    } else {
        vec![from_store(question)?]
    };
    all.iter_mut().try_for_each(|named| season::put_on(named, &question.season))?;
    Ok(all)
}

/// What the controller decided about the key that the question is about; nothing for a file.
pub(super) fn choices(question: &Question) -> anyhow::Result<Option<Vec<Choice>>> {
    if Path::new(&question.source).is_file() || question.source.ends_with(".csv") {
        return Ok(None);
    }
    let (key, store, _) = open_store(question)?;
    Ok(Some(store.choices(&key)?))
}

/// The wanted columns of a CSV file, or all of them, each a series with its name.
pub(crate) fn columns_of(path: &Path, columns: &[String], how: &Regularise) -> anyhow::Result<Vec<(String, Series)>> {
    let file = path.display();
    let table = Table::read(files::open(path)?, &Zone::utc()).with_context(|| file.to_string())?;
    let names: Vec<&str> = table.series().map(|column| column.name.as_str()).collect();
    for wanted in columns {
        let known = names.join(", ");
        anyhow::ensure!(names.contains(&wanted.as_str()), "{file}: there is no column {wanted:?}; there are {known}");
    }
    let is_wanted = |name: &String| columns.is_empty() || columns.contains(name);
    let wanted: Vec<_> = table.series().filter(|column| is_wanted(&column.name)).collect();
    anyhow::ensure!(!wanted.is_empty(), "{file}: there is no column beside the time; add one with values");
    anyhow::ensure!(
        wanted.len() <= MAX_SERIES,
        "{file}: {} columns, at most {MAX_SERIES} can be forecast at once; choose some with --column",
        wanted.len()
    );
    let series = wanted.into_iter().map(|column| {
        let regular = regularise(&table.observations(column), how);
        Ok((column.name.clone(), regular.with_context(|| format!("{file}, column {}", column.name))?.series))
    });
    series.collect()
}

fn from_file(path: &Path, question: &Question) -> anyhow::Result<Vec<Named>> {
    let how = Regularise { step_s: question.step.map(|step| step.seconds), ..Regularise::new(question.measure.into()) };
    let series = columns_of(path, &question.column, &how)?;
    let named = series.into_iter().map(|(name, series)| {
        let (calendar, step_s) = (EventCalendar::default(), series.step_s());
        Named { name, step_s, series, seen: None, clock: None, calendar, left_out: Vec::new() }
    });
    let mut named: Vec<Named> = named.collect();
    let from_s = named.iter().map(|named| named.series.start_s()).min().unwrap_or(0);
    let to_s = named.iter().map(|named| named.series.end_s()).max().unwrap_or(0);
    let calendar = EventCalendar::new(question.events((from_s, to_s))?).context("--events")?;
    for named in &mut named {
        named.calendar = calendar.of_key(&named.name);
    }
    Ok(named)
}

/// The key, the store that should hold it, and the configuration.
fn open_store(question: &Question) -> anyhow::Result<(Key, SqliteStore, Config)> {
    let text = &question.source;
    let (tenant, resource) =
        text.rsplit_once('/').filter(|(tenant, resource)| !tenant.is_empty() && !resource.is_empty()).with_context(
            || format!("{text:?} is neither a file nor a key; write the path of a CSV file, or TENANT/RESOURCE"),
        )?;
    anyhow::ensure!(question.column.is_empty(), "--column is for files; a key is one series");
    let config = Config::load(question.config.as_deref())?;
    let data_dir = question.data_dir.as_ref().unwrap_or(&config.data_dir).clone();
    let history = data_dir.join("history.sqlite3");
    // Opening would make an empty one.
    anyhow::ensure!(
        history.is_file(),
        "{text}: there is no history in {}; name its folder with --data-dir, or a CSV file instead of a key",
        data_dir.display()
    );
    let store = SqliteStore::open(&data_dir, config.step_s)?;
    Ok((Key::new(tenant, resource), store, config))
}

/// What the controller would learn and forecast from, if it were asked at the end of the key's history.
fn from_store(question: &Question) -> anyhow::Result<Named> {
    let text = &question.source;
    let (key, store, config) = open_store(question)?;
    let step_s = i64::from(config.step_s);
    let points = store.range(&key, i64::MIN, i64::MAX)?;
    let newest = points.last().with_context(|| {
        format!("{text}: the history has no points of this key; check its spelling, or load some with `forebay import`")
    })?;
    let end = newest.start_s.div_euclid(step_s) + 1;
    let from = end - i64::from(config.forecast.history_weeks) * WEEK_S / step_s;
    let mut demand = KeyDemand::remembered(&store, &key, &config, from..end)?;
    demand.watch.restore(store.ledger(&key)?, None);
    let calendar = question.events_of_key(&config, &key, (from * step_s, end * step_s))?;
    demand.events.concerning(calendar.clone());
    let on_step = |series: Series| match question.step {
        Some(step) => series.coarser(step.seconds),
        None => Ok(series),
    };
    let believed = || -> Result<_, SeriesError> {
        Ok((on_step(demand.training(from)?)?, on_step(demand.believed()?)?, demand.left_out(from)?))
    };
    let (series, seen, left_out) = believed().with_context(|| format!("{text}: its history"))?;
    let (name, step_s) = (text.clone(), series.step_s());
    Ok(Named { name, step_s, series, seen: Some(seen), clock: None, calendar, left_out })
}

impl From<Kind> for Measure {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Count => Self::Count,
            Kind::Sum => Self::Sum,
            Kind::Level => Self::Level,
            Kind::Ratio => Self::Ratio,
            Kind::Counter => Self::Counter,
        }
    }
}
