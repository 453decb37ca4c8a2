//! Where the commands' series come from: a CSV file, or a key of the controller's store.
//!
//! A source is a file if there is one of that name or if it ends in `.csv`, else a key.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use forebay_forecast::{Choice, Measure, Observation, Regularise, Table, Zone, regularise};
use forebay_plan::Key;

use super::{Kind, MAX_SERIES, Named, Question};
use crate::config::Config;
use crate::store::HistoryStore;
use crate::store::sqlite::SqliteStore;

/// The series that the question is about.
pub(super) fn read(question: &Question) -> anyhow::Result<Vec<Named>> {
    let path = Path::new(&question.source);
    if path.is_file() || question.source.ends_with(".csv") {
        from_file(path, question)
    } else {
        Ok(vec![from_store(question)?])
    }
}

/// What the controller decided about the key that the question is about; nothing for a file.
pub(super) fn choices(question: &Question) -> anyhow::Result<Option<Vec<Choice>>> {
    if Path::new(&question.source).is_file() || question.source.ends_with(".csv") {
        return Ok(None);
    }
    let (key, store, _) = open_store(question)?;
    Ok(Some(store.choices(&key)?))
}

fn from_file(path: &Path, question: &Question) -> anyhow::Result<Vec<Named>> {
    let file = path.display();
    let input = File::open(path).with_context(|| {
        format!("open {file}: check the path and that the file is readable; a key is TENANT/RESOURCE")
    })?;
    let table = Table::read(input, &Zone::utc()).with_context(|| file.to_string())?;
    let names: Vec<&str> = table.series().map(|column| column.name.as_str()).collect();
    for wanted in &question.column {
        let known = names.join(", ");
        anyhow::ensure!(names.contains(&wanted.as_str()), "{file}: there is no column {wanted:?}; there are {known}");
    }
    let is_wanted = |name: &String| question.column.is_empty() || question.column.contains(name);
    let wanted: Vec<_> = table.series().filter(|column| is_wanted(&column.name)).collect();
    anyhow::ensure!(!wanted.is_empty(), "{file}: there is no column beside the time; add one with values");
    anyhow::ensure!(
        wanted.len() <= MAX_SERIES,
        "{file}: {} columns, at most {MAX_SERIES} can be forecast at once; choose some with --column",
        wanted.len()
    );
    let how = Regularise { step_s: question.step.map(|step| step.seconds), ..Regularise::new(question.measure.into()) };
    let named = wanted.into_iter().map(|column| {
        let regular = regularise(&table.observations(column), &how);
        let series = regular.with_context(|| format!("{file}, column {}", column.name))?.series;
        Ok(Named { name: column.name.clone(), series })
    });
    named.collect()
}

/// The key, the store that should hold it, and its configured step.
fn open_store(question: &Question) -> anyhow::Result<(Key, SqliteStore, u32)> {
    let text = &question.source;
    let (tenant, resource) =
        text.rsplit_once('/').filter(|(tenant, resource)| !tenant.is_empty() && !resource.is_empty()).with_context(
            || format!("{text:?} is neither a file nor a key; write the path of a CSV file, or TENANT/RESOURCE"),
        )?;
    anyhow::ensure!(question.column.is_empty(), "--column is for files; a key is one series");
    let config = Config::load(question.config.as_deref())?;
    let data_dir = question.data_dir.as_ref().unwrap_or(&config.data_dir);
    let history = data_dir.join("history.sqlite3");
    // Opening would make an empty one.
    anyhow::ensure!(
        history.is_file(),
        "{text}: there is no history in {}; name its folder with --data-dir, or a CSV file instead of a key",
        data_dir.display()
    );
    Ok((Key::new(tenant, resource), SqliteStore::open(data_dir, config.step_s)?, config.step_s))
}

fn from_store(question: &Question) -> anyhow::Result<Named> {
    let text = &question.source;
    let (key, store, step_s) = open_store(question)?;
    let points = store.range(&key, i64::MIN, i64::MAX)?;
    anyhow::ensure!(
        !points.is_empty(),
        "{text}: the history has no points of this key; check its spelling, or load some with `forebay import`"
    );
    let rows = (1..).zip(&points).map(|(row, point)| Observation::at_second(row, point.start_s, point.value));
    let step_s = question.step.map_or(step_s, |step| step.seconds);
    let how = Regularise { step_s: Some(step_s), ..Regularise::new(Measure::Level) };
    let regular = regularise(&rows.collect::<Vec<_>>(), &how);
    let series = regular.with_context(|| text.clone())?.series;
    Ok(Named { name: text.clone(), series })
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
