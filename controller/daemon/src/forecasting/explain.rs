//! Why a model was chosen, in words and as JSON.

use forebay_forecast::{Reason, SelectionReport, Worth};
use serde_json::{Value, json};

/// The selection's report as lines of text.
pub(super) fn in_words(report: &SelectionReport) -> String {
    let mut text = String::from("  held-out loss (share of the mean rate), coverage of the 95th percentile, scale:\n");
    for candidate in &report.candidates {
        let name = candidate.kind.as_str();
        let line = match &candidate.outcome {
            Ok(score) => {
                format!("{:.4}, {:.1} %, {:?}", score.relative_pinball, 100.0 * score.coverage, score.scale)
            }
            Err(error) => format!("took no part: {error}"),
        };
        text += &format!("    {name:<22}{line}\n");
    }
    text += &format!("  {}\n", reason(report));
    text += &format!("  verdict: {}\n", verdict(report));
    text += &format!("  live forecasts are measured against {}\n", report.reference);
    text
}

/// The same for programs.
pub(super) fn as_json(report: &SelectionReport) -> Value {
    let candidates = report.candidates.iter().map(|candidate| match &candidate.outcome {
        Ok(score) => json!({
            "model": candidate.kind.as_str(), "loss": score.relative_pinball, "coverage_p95": score.coverage,
            "scale": format!("{:?}", score.scale),
        }),
        Err(error) => json!({ "model": candidate.kind.as_str(), "refused": error.to_string() }),
    });
    json!({
        "candidates": candidates.collect::<Vec<_>>(), "chosen": report.chosen.as_str(),
        "reference": report.reference.as_str(), "reason": reason(report), "worth": report.worth().map(Worth::as_str),
        "gain": report.gain.map(|gain| gain.share),
        "gain_standard_error": report.gain.map(|gain| gain.standard_error).filter(|error| error.is_finite()),
    })
}

/// Whether forecasting this series is worth anything.
pub(super) fn verdict(report: &SelectionReport) -> String {
    let Some(gain) = report.gain else { return "none; no model but naive ones took part".to_owned() };
    let error = match gain.standard_error {
        error if error.is_finite() => format!("standard error {:.1} %", 100.0 * error),
        _ => "too little was held out for a standard error".to_owned(),
    };
    let says = match report.worth() {
        Some(Worth::Helps) => "forecasting helps here",
        Some(Worth::NotClear) => "not clear whether forecasting helps here",
        Some(Worth::NoForecasterHelps) | None => "no forecaster helps here",
    };
    format!("{says}; it saves {:.1} % of the naive loss, {error}", 100.0 * gain.share)
}

fn reason(report: &SelectionReport) -> String {
    let chosen = report.chosen;
    match report.reason {
        Reason::BeatsBaseline { gain } => {
            format!("{chosen} is chosen: its loss is {:.1} % below the best naive model's", 100.0 * gain)
        }
        Reason::NoOtherModel => format!("{chosen} is chosen: it is the best naive model, and no other took part"),
        Reason::NotBeaten { gain } if gain < 0.0 => {
            format!("{chosen} is chosen: the best model's loss is {:.1} % above the naive one's", -100.0 * gain)
        }
        Reason::NotBeaten { gain } => {
            format!("{chosen} is chosen: the best model's loss is only {:.1} % below the naive one's", 100.0 * gain)
        }
        Reason::AskedFor => format!("{chosen} was asked for"),
        ref other => format!("{chosen} is chosen: {other:?}"),
    }
}
