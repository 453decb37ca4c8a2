//! `/v1/anomalies`: the ledgers of what training leaves out, read and spoken to.
//!
//! GET shows for each key whether it is off its forecast at present, the entries of its ledger, and what the last fit left
//! out because of them: a page of keys at a time ([`super::paging`]), those of `tenant` and `resource` where these are given,
//! and of each key what overlaps the time from `from` to `to`. POST adds what somebody says of a stretch of time:
//!
//! ```json
//! {"tenant": "shop", "resource": "requests", "from_s": 1767225600, "to_s": 1767229200,
//!  "word": "normal", "by": "ana", "note": "a load test"}
//! ```
//!
//! `word` is `normal` (to be learned as measured), `anomalous` (not to be learned), or `hostile` with `rate_per_s`: so much
//! of the demand is nobody's and is subtracted. Nothing is ever taken out of a ledger by a word: the newest one counts.
//! What filters counted under rules that the policy marks as hostile is shown beside the entries, by `filter`, and is
//! subtracted too. `by` is a claim, written down for the reader; who may reach this port is the operator's to decide. A word
//! reaches no further back than history is ever kept, and no further ahead than capacity may be asked for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use forebay_forecast::{
    Applied, Direction, Entry, ExclusionReason, HostileTraffic, Label, LabelKind, Said, Treatment, WEEK_S,
};
use forebay_plan::Key;
use serde::Deserialize;
use serde_json::{Value, json};

use super::allocations::Time;
use super::json_answer;
use super::paging::{KeysAsked, MOST_KEYS};
use super::problem::{FromQuery, Nothing, Problem, Sent};
use crate::calendar;
use crate::capacity::asks::FARTHEST_S;
use crate::clock::wall_now_s;
use crate::config::forecast::MOST_HISTORY_WEEKS;
use crate::planning::anomalies::{KeyLedger, NotNoted};
use crate::planning::demand::watch::Word;
use crate::state::{Shared, lock};

/// Longest body of a word: a note and names, escaped.
pub(super) const BODY_LIMIT_BYTES: usize = 16 << 10;
/// Longest name of who speaks, in bytes, and longest note.
const MAX_BY_BYTES: usize = 256;
const MAX_NOTE_BYTES: usize = 1024;
/// How far back a word may reach.
const FARTHEST_BACK_S: i64 = MOST_HISTORY_WEEKS as i64 * WEEK_S;

/// Which part of the ledgers is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgersAsked {
    tenant: Option<String>,
    resource: Option<String>,
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    offset: usize,
    #[serde(default = "most_keys")]
    limit: usize,
}

fn most_keys() -> usize {
    MOST_KEYS
}

/// A time from one second to before another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    from_s: i64,
    to_s: i64,
}

impl Window {
    fn overlaps(self, from_s: i64, to_s: i64) -> bool {
        from_s < self.to_s && self.from_s < to_s
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    tenant: String,
    resource: String,
    from_s: i64,
    to_s: i64,
    word: Kind,
    rate_per_s: Option<f64>,
    by: String,
    #[serde(default)]
    note: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Normal,
    Anomalous,
    Hostile,
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    FromQuery(asked): FromQuery<LedgersAsked>,
) -> Result<Response, Problem> {
    let window = asked.window()?;
    let asked = KeysAsked::new((asked.tenant, asked.resource), asked.offset, asked.limit)?;
    let keys = lock(&shared.ledgers.keys);
    let shown = keys.iter().map(|ledger| {
        let shown = Shown::of(ledger, window);
        (&ledger.key, shown.rows(), shown)
    });
    let page = asked.page(shown);
    let keys: Vec<Value> = page.rows.iter().map(Shown::as_json).collect();
    Ok(json_answer(&page.answer(json!({ "step_s": shared.config.step_s, "keys": keys }))))
}

impl LedgersAsked {
    fn window(&self) -> Result<Window, Problem> {
        let time = |text: &Option<String>, otherwise: i64, field| {
            text.as_ref().map_or(Ok(otherwise), |text| Time::Text(text.clone()).read(field))
        };
        let window = Window { from_s: time(&self.from, i64::MIN, "from")?, to_s: time(&self.to, i64::MAX, "to")? };
        if window.from_s >= window.to_s {
            return Err(Problem::bad(
                "from: it must be before to; leave out one of the two for all there is".to_owned(),
            ));
        }
        Ok(window)
    }
}

pub(super) async fn say(
    State(shared): State<Arc<Shared>>,
    FromQuery(_): FromQuery<Nothing>,
    Sent(body): Sent,
) -> Result<Response, Problem> {
    let body: Body = serde_json::from_slice(&body).map_err(|error| Problem::bad(error.to_string()))?;
    let key = Key::new(body.tenant.clone(), body.resource.clone());
    let spoken = Spoken { at_s: wall_now_s() as i64, calendar_s: shared.now().calendar_s as i64 };
    let word = word(body, spoken).map_err(Problem::bad)?;
    let noted = shared.ledgers.ask(key.clone(), word);
    shared.bell.ring();
    let noted = match noted {
        // The planner drops what it was asked only when it ends.
        Ok(noted) => noted.await.unwrap_or(Err(NotNoted::Busy)),
        Err(why) => Err(why),
    };
    let id = noted.map_err(|why| not_noted(why, &key))?;
    Ok(json_answer(&json!({ "id": id })))
}

fn not_noted(why: NotNoted, key: &Key) -> Problem {
    let (status, title) = match why {
        NotNoted::UnknownKey => return Problem::no_such_key(key),
        NotNoted::Busy => (StatusCode::SERVICE_UNAVAILABLE, "It cannot be answered now"),
        NotNoted::NotStored => (StatusCode::SERVICE_UNAVAILABLE, "It is not written down"),
        NotNoted::Nothing => return Problem::bad(format!("rate_per_s: {why}")),
    };
    Problem { status, title, detail: why.to_string(), constraint: None }
}

/// When a word is said.
#[derive(Clone, Copy, Debug)]
struct Spoken {
    /// Wall time, for the reader.
    at_s: i64,
    /// Of the calendar that stretches are on.
    calendar_s: i64,
}

fn word(body: Body, spoken: Spoken) -> Result<Word, String> {
    let Body { from_s, to_s, word, rate_per_s, by, note, .. } = body;
    if from_s >= to_s {
        return Err("from_s must be before to_s".to_owned());
    }
    let (first_s, last_s) = (spoken.calendar_s - FARTHEST_BACK_S, spoken.calendar_s + FARTHEST_S);
    if from_s < first_s || to_s > last_s {
        let (first, last) = (calendar::print(first_s), calendar::print(last_s));
        return Err(format!("from_s and to_s must be between {first} and {last}, in unix seconds"));
    }
    if by.trim().is_empty() || by.len() > MAX_BY_BYTES || note.len() > MAX_NOTE_BYTES {
        let most = format!("at most {MAX_BY_BYTES} bytes; a note has at most {MAX_NOTE_BYTES}");
        return Err(format!("by must say who speaks, in {most}"));
    }
    let said = Said { by, at_s: spoken.at_s, note };
    let label = |kind| Word::Label(Label { from_s, to_s, kind, said: said.clone() });
    match (word, rate_per_s) {
        (Kind::Normal, None) => Ok(label(LabelKind::Normal)),
        (Kind::Anomalous, None) => Ok(label(LabelKind::Anomalous)),
        (Kind::Hostile, Some(rate_per_s)) => {
            Ok(Word::Hostile(HostileTraffic { from_s, to_s, rate_per_s }, said.clone()))
        }
        _ => Err("rate_per_s belongs to the word hostile, and only there".to_owned()),
    }
}

/// What is shown of a key's ledger.
struct Shown<'a> {
    ledger: &'a KeyLedger,
    window: Window,
}

impl<'a> Shown<'a> {
    fn of(ledger: &'a KeyLedger, window: Window) -> Self {
        Self { ledger, window }
    }

    fn entries(&self) -> impl Iterator<Item = &'a Entry> {
        let window = self.window;
        self.ledger.entries.iter().filter(move |one| window.overlaps(one.from_s, one.to_s))
    }

    fn hostile(&self) -> impl Iterator<Item = &'a HostileTraffic> {
        let window = self.window;
        self.ledger.hostile.iter().filter(move |one| window.overlaps(one.from_s, one.to_s))
    }

    fn left_out(&self) -> impl Iterator<Item = &'a Applied> {
        let window = self.window;
        self.ledger.left_out.iter().filter(move |one| window.overlaps(one.from_s, one.to_s))
    }

    /// A key without any is a row, too.
    fn rows(&self) -> usize {
        1 + self.entries().count() + self.hostile().count() + self.left_out().count()
    }

    fn as_json(&self) -> Value {
        let KeyLedger { key, now, .. } = self.ledger;
        json!({
            "tenant": key.tenant,
            "resource": key.resource,
            "now": now.map_or("normal", Direction::as_str),
            "entries": self.entries().map(entry_json).collect::<Vec<_>>(),
            "hostile": self.hostile().map(hostile_json).collect::<Vec<_>>(),
            "left_out": self.left_out().map(applied_json).collect::<Vec<_>>(),
        })
    }
}

/// Without a number, because it is no entry: filters count it and the history holds it, as long as that lasts.
fn hostile_json(traffic: &HostileTraffic) -> Value {
    json!({
        "from_s": traffic.from_s, "to_s": traffic.to_s, "rate_per_s": traffic.rate_per_s, "word": "hostile", "by": "filter",
    })
}

fn entry_json(entry: &Entry) -> Value {
    let mut row = json!({
        "id": entry.id, "from_s": entry.from_s, "to_s": entry.to_s, "lifted_from_s": entry.lifted_from_s,
    });
    let said = match &entry.reason {
        ExclusionReason::Detected { direction, score } => {
            row["word"] = json!("detected");
            row["direction"] = json!(direction.as_str());
            row["score"] = json!(score);
            return row;
        }
        ExclusionReason::Labelled { kind, said } => {
            row["word"] = json!(if *kind == LabelKind::Normal { "normal" } else { "anomalous" });
            said
        }
        ExclusionReason::Hostile { rate_per_s, said } => {
            row["word"] = json!("hostile");
            row["rate_per_s"] = json!(rate_per_s);
            said
        }
    };
    row["by"] = json!(said.by);
    row["said_s"] = json!(said.at_s);
    row["note"] = json!(said.note);
    row
}

pub(crate) fn applied_json(stretch: &Applied) -> Value {
    let (treatment, by_per_s) = match stretch.treatment {
        Treatment::Excluded => ("excluded", None),
        Treatment::Reduced { by_per_s } => ("reduced", Some(by_per_s)),
        Treatment::Kept => ("kept", None),
        Treatment::KeptAsCommon => ("kept_as_common", None),
    };
    json!({
        "from_s": stretch.from_s, "to_s": stretch.to_s, "entry": stretch.entry, "treatment": treatment,
        "by_per_s": by_per_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Word, String> {
        let body: Body = serde_json::from_str(text).map_err(|error| error.to_string())?;
        word(body, Spoken { at_s: 7, calendar_s: 1000 })
    }

    #[test]
    fn a_word_says_what_it_means_or_is_refused() {
        let body = |rest: &str| format!("{{\"tenant\":\"shop\",\"resource\":\"requests\",{rest}}}");
        let good = read(&body("\"from_s\":300,\"to_s\":600,\"word\":\"normal\",\"by\":\"ana\"")).unwrap();
        let said = Said { by: "ana".to_owned(), at_s: 7, note: String::new() };
        assert_eq!(good, Word::Label(Label { from_s: 300, to_s: 600, kind: LabelKind::Normal, said: said.clone() }));
        let rate = "\"from_s\":300,\"to_s\":600,\"word\":\"hostile\",\"rate_per_s\":4.5,\"by\":\"ana\"";
        let traffic = HostileTraffic { from_s: 300, to_s: 600, rate_per_s: 4.5 };
        assert_eq!(read(&body(rate)).unwrap(), Word::Hostile(traffic, said));
        for (wrong, reason) in [
            ("\"from_s\":600,\"to_s\":600,\"word\":\"normal\",\"by\":\"ana\"", "before to_s"),
            ("\"from_s\":300,\"to_s\":9000000,\"word\":\"normal\",\"by\":\"ana\"", "1970-04-01 00:16:40"),
            ("\"from_s\":-9223372036854775808,\"to_s\":600,\"word\":\"normal\",\"by\":\"ana\"", "between 1960-01-"),
            ("\"from_s\":300,\"to_s\":600,\"word\":\"normal\",\"by\":\" \"", "who speaks"),
            ("\"from_s\":300,\"to_s\":600,\"word\":\"odd\",\"by\":\"ana\"", "odd"),
            ("\"from_s\":300,\"to_s\":600,\"word\":\"normal\",\"by\":\"ana\",\"rate_per_s\":1", "hostile"),
            ("\"from_s\":300,\"to_s\":600,\"word\":\"hostile\",\"by\":\"ana\"", "hostile"),
            ("\"from_s\":300,\"to_s\":600,\"word\":\"normal\",\"by\":\"ana\",\"why\":1", "why"),
        ] {
            let refused = read(&body(wrong)).unwrap_err();
            assert!(refused.contains(reason), "{wrong}: {refused}");
        }
    }
}
