//! One limit, as every source can say it, and notes on what a source said beyond that.

use std::collections::BTreeMap;
use std::fmt;

use forebay_protocol::policy::{HeaderMatch, Limit, Match, Source};
use serde_json::Value;

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Import {
    /// Limits, in the order of the sources.
    pub(super) drafts: Vec<Draft>,
    /// What is different or could not be carried over.
    pub(super) notes: Vec<Note>,
    /// What routes put into descriptors.
    pub(super) chains: Vec<Chain>,
}

impl Import {
    /// Adds a note; one that is there already says nothing new.
    pub(super) fn note(&mut self, place: impl Into<String>, why: impl Into<String>) {
        let note = Note { place: place.into(), why: why.into() };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

impl Import {
    /// `n` per unit as a limit, with a note where the policy's thousandths per second are more than 1 % off.
    pub(super) fn limit(&mut self, place: &str, requests: f64, unit_s: f64) -> Limit {
        let limit = per_unit(requests, unit_s);
        let exact = requests / unit_s;
        if (limit.rate_per_s - exact).abs() > 0.01 * exact {
            self.note(place, format!("{exact:.6} per second became {}: a rate has thousandths", limit.rate_per_s));
        }
        limit
    }
}

/// What is different or could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// File and path in it.
    pub(super) place: String,
    /// Why, as half a sentence.
    pub(super) why: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// One limit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    /// File and path in it.
    pub(super) place: String,
    /// A name for rule and resource.
    pub(super) name: String,
    /// Which requests.
    pub(super) matches: Match,
    /// Whose bucket it is.
    pub(super) key: Key,
    /// `None`: these requests are unlimited.
    pub(super) limit: Option<Limit>,
    /// Counted, not enforced.
    pub(super) dry_run: bool,
}

/// Whose bucket a limit is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    /// All matching requests share it.
    All,
    /// Each value of a source of identity has one.
    Each(Source),
    /// One value of a source of identity has it.
    One(Source, String),
    /// Those that no other bucket of this source is for share it.
    Others(Source),
}

/// The entries of one descriptor as a route makes them, and the requests that have it.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) matches: Match,
    pub(super) entries: Vec<Entry>,
}

/// What one action puts into a descriptor.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) from: From,
}

/// Where an entry's value comes from.
#[derive(Debug, Clone)]
pub(super) enum From {
    /// A request header, the client's address.
    Source(Source),
    /// A fixed value, when these conditions on headers hold.
    Fixed(String, Vec<HeaderMatch>),
}

/// `n` per unit as a bucket of `n` that refills evenly.
fn per_unit(requests: f64, unit_s: f64) -> Limit {
    // Thousandths are what a bucket can do; below one it would never refill.
    let rate = (requests / unit_s * 1_000.0).round() / 1_000.0;
    let rate_per_s = if requests > 0.0 { rate.max(0.001) } else { 0.0 };
    Limit { rate_per_s, burst: Some(requests as u64) }
}

/// Seconds of a unit, in any of the spellings that are in use.
pub(super) fn unit_s(unit: &str) -> Option<f64> {
    let units = BTreeMap::from([
        ("second", 1.0),
        ("minute", 60.0),
        ("hour", 3_600.0),
        ("day", 86_400.0),
        ("week", 604_800.0),
        ("month", 2_592_000.0),
        ("year", 31_536_000.0),
    ]);
    units.get(unit.to_ascii_lowercase().as_str()).copied()
}

/// A string out of a document; numbers count, since YAML writes `value: 10` without quotes.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(word) => Some(word.to_string()),
        _ => None,
    }
}

/// A list out of a document, empty when there is none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Turns the entries of a descriptor, each with what a route says about its key, into conditions and a key.
///
/// The last source without value is whose buckets they are; with values only, the first source is. Everything else
/// becomes a condition, or an error that says why it cannot.
pub(super) fn resolve(mut matches: Match, entries: &[(From, Option<String>)]) -> Result<(Match, Key), String> {
    let sources: Vec<_> = entries.iter().filter(|(from, _)| matches!(from, From::Source(_))).collect();
    let open: Vec<_> = sources.iter().filter(|(_, value)| value.is_none()).collect();
    if open.len() > 1 {
        return Err("a bucket for each pair of values; a policy has one identity per rule".into());
    }
    let of_key = open.first().copied().or(sources.first());
    let mut key = Key::All;
    for entry @ (from, value) in entries {
        match (from, value) {
            (From::Source(source), value) if of_key.is_some_and(|of_key| std::ptr::eq(*of_key, entry)) => {
                key = match value {
                    None => Key::Each(source.clone()),
                    Some(value) => Key::One(source.clone(), value.clone()),
                };
            }
            (From::Source(Source::Header(name)), Some(value)) => matches.headers.push(HeaderMatch {
                name: name.clone(),
                exact: Some(value.clone()),
                prefix: None,
                present: None,
            }),
            (From::Source(Source::SourceAddress), Some(value)) => matches.source.push(value.clone()),
            (From::Source(_), _) => return Err("a condition on something that is no header and no address".into()),
            (From::Fixed(fixed, headers), value) => {
                if value.as_ref().is_some_and(|value| value != fixed) {
                    return Err(format!("no action gives the value \"{}\"", value.clone().unwrap_or_default()));
                }
                matches.headers.extend(headers.iter().cloned());
            }
        }
    }
    Ok((matches, key))
}
