//! `/v1/anomalies`: the ledgers of what training leaves out, read and spoken to.
//!
//! GET shows for each key whether it is off its forecast at present, the entries of its ledger, and what the last fit left
//! out because of them. POST adds what somebody says of a stretch of time:
//!
//! ```json
//! {"tenant": "shop", "resource": "requests", "from_s": 1767225600, "to_s": 1767229200,
//!  "word": "normal", "by": "ana", "note": "a load test"}
//! ```
//!
//! `word` is `normal` (to be learned as measured), `anomalous` (not to be learned), or `hostile` with `rate_per_s`: so much
//! of the demand is nobody's and is subtracted. Nothing is ever taken out of a ledger by a word: the newest one counts.
//! What filters counted under rules that the policy marks as hostile is shown beside the entries, by `filter`, and is
//! subtracted too. `by` is a claim, written down for the reader; who may reach this port is the operator's to decide.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use forebay_forecast::{Applied, Direction, Entry, ExclusionReason, HostileTraffic, Label, LabelKind, Said, Treatment};
use forebay_plan::Key;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json_answer;
use crate::clock::wall_now_s;
use crate::planning::anomalies::{KeyLedger, NotNoted};
use crate::planning::demand::watch::Word;
use crate::state::{Shared, lock};

/// Longest body of a word: a note and names, escaped.
pub(super) const BODY_LIMIT_BYTES: usize = 16 << 10;
/// Longest name of who speaks, in bytes, and longest note.
const MAX_BY_BYTES: usize = 256;
const MAX_NOTE_BYTES: usize = 1024;

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

pub(super) async fn show(State(shared): State<Arc<Shared>>) -> Response {
    let keys: Vec<Value> = lock(&shared.ledgers.keys).iter().map(key_json).collect();
    json_answer(&json!({ "step_s": shared.config.step_s, "keys": keys }))
}

pub(super) async fn say(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let body: Body = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &format!("{error}")),
    };
    let key = Key::new(body.tenant.clone(), body.resource.clone());
    let word = match word(body, wall_now_s() as i64) {
        Ok(word) => word,
        Err(why) => return refused(StatusCode::BAD_REQUEST, why),
    };
    let asked = shared.ledgers.ask(key, word);
    shared.bell.ring();
    let noted = match asked {
        // The planner drops what it was asked only when it ends.
        Ok(noted) => noted.await.unwrap_or(Err(NotNoted::Busy)),
        Err(why) => Err(why),
    };
    match noted {
        Ok(id) => json_answer(&json!({ "id": id })),
        Err(why) => refused(status(why), &why.to_string()),
    }
}

fn status(why: NotNoted) -> StatusCode {
    match why {
        NotNoted::UnknownKey => StatusCode::NOT_FOUND,
        NotNoted::Busy | NotNoted::NotStored => StatusCode::SERVICE_UNAVAILABLE,
        NotNoted::Nothing => StatusCode::BAD_REQUEST,
    }
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, format!("{why}\n")).into_response()
}

fn word(body: Body, at_s: i64) -> Result<Word, &'static str> {
    let Body { from_s, to_s, word, rate_per_s, by, note, .. } = body;
    if from_s >= to_s {
        return Err("from_s must be before to_s");
    }
    if by.trim().is_empty() || by.len() > MAX_BY_BYTES || note.len() > MAX_NOTE_BYTES {
        return Err("by must say who speaks, in at most 256 bytes; a note has at most 1024");
    }
    let said = Said { by, at_s, note };
    let label = |kind| Word::Label(Label { from_s, to_s, kind, said: said.clone() });
    match (word, rate_per_s) {
        (Kind::Normal, None) => Ok(label(LabelKind::Normal)),
        (Kind::Anomalous, None) => Ok(label(LabelKind::Anomalous)),
        (Kind::Hostile, Some(rate_per_s)) => {
            Ok(Word::Hostile(HostileTraffic { from_s, to_s, rate_per_s }, said.clone()))
        }
        _ => Err("rate_per_s belongs to the word hostile, and only there"),
    }
}

fn key_json(key: &KeyLedger) -> Value {
    json!({
        "tenant": key.key.tenant,
        "resource": key.key.resource,
        "now": key.now.map_or("normal", Direction::as_str),
        "entries": key.entries.iter().map(entry_json).collect::<Vec<_>>(),
        "hostile": key.hostile.iter().map(hostile_json).collect::<Vec<_>>(),
        "left_out": key.left_out.iter().map(applied_json).collect::<Vec<_>>(),
    })
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
        word(body, 7).map_err(str::to_owned)
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
