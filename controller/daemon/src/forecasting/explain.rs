//! Why a model was chosen, in words and as JSON: now, by the selection, and since when, by the controller's record.

use forebay_forecast::{
    Applied, Autocorrelation, Choice, Chosen, ExpensiveModels, FitChoice, Reason, SelectionReport, Treatment, Worth,
};
use serde_json::{Value, json};

use crate::calendar;

/// Newest choices, and stretches of the ledger, that are printed; JSON holds all that are kept.
const SHOWN_CHOICES: usize = 20;

/// What the controller decided about a key, oldest first, and the scores behind its last fit.
pub(super) fn record_in_words(key: &str, choices: &[Choice]) -> String {
    if choices.is_empty() {
        return format!("{key}: the controller has decided nothing about it yet\n");
    }
    let from = choices.len().saturating_sub(SHOWN_CHOICES);
    let mut text =
        format!("{key}: what the controller decided, the newest {} of {}\n", choices.len() - from, choices.len());
    for choice in &choices[from..] {
        text += &format!("  {}  {}\n", calendar::print(choice.at_s), choice.chosen.in_words(calendar::print));
    }
    let last_fit = choices.iter().rev().find_map(|choice| match &choice.chosen {
        Chosen::Fitted(fit) => Some((choice.at_s, fit)),
        _ => None,
    });
    if let Some((at_s, fit)) = last_fit {
        text += &scores_in_words(at_s, fit);
    }
    text
}

fn scores_in_words(at_s: i64, fit: &FitChoice) -> String {
    let mut text = format!("  scores of the fit of {}:\n", calendar::print(at_s));
    for contender in &fit.candidates {
        let line = match (contender.loss, contender.coverage) {
            (Some(loss), Some(coverage)) => format!("{loss:.4}, {:.1} %", 100.0 * coverage),
            _ => "took no part".to_owned(),
        };
        text += &format!("    {:<22}{line}\n", contender.model.as_str());
    }
    text
}

/// A choice for programs, with its sentence.
pub(crate) fn choice_json(choice: &Choice) -> Value {
    let words = choice.chosen.in_words(calendar::print);
    json!({ "at_s": choice.at_s, "words": words, "chosen": choice.chosen })
}

/// The selection's report as lines of text.
pub(super) fn in_words(report: &SelectionReport) -> String {
    let mut text =
        String::from("  held-out loss (share of the mean rate), MASE, coverage of the 95th percentile, scale:\n");
    for candidate in &report.candidates {
        let name = candidate.kind.as_str();
        let line = match &candidate.outcome {
            Ok(score) => {
                let mase = score.mase.map_or("-".to_owned(), |mase| format!("{mase:.3}"));
                format!("{:.4}, {mase}, {:.1} %, {:?}", score.loss, 100.0 * score.coverage, score.scale)
            }
            Err(error) => format!("took no part: {error}"),
        };
        text += &format!("    {name:<22}{line}\n");
    }
    text += &format!("  {}\n", reason(report));
    if let Some(line) = expensive(report) {
        text += &format!("  {line}\n");
    }
    text += &format!("  verdict: {}\n", verdict(report));
    text += &format!("  live forecasts are measured against {}\n", report.reference);
    text
}

/// Stretches that were not learned as measured, the newest ones.
pub(super) fn left_out_in_words(left_out: &[Applied]) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let mut text = format!("  not learned as measured, by the ledger: {} stretches\n", left_out.len());
    for one in &left_out[left_out.len().saturating_sub(SHOWN_CHOICES)..] {
        let (from, to) = (calendar::print(one.from_s), calendar::print(one.to_s));
        let what = match one.treatment {
            Treatment::Excluded => "left out".to_owned(),
            Treatment::Reduced { by_per_s } => format!("less {by_per_s:.4} a second, which were hostile"),
            Treatment::Kept => "kept, as a label says".to_owned(),
            Treatment::KeptAsCommon => "kept, since so much of the history is like it".to_owned(),
        };
        text += &format!("    {from} to {to}  {what} (entry {})\n", one.entry);
    }
    text
}

/// The same for programs.
pub(super) fn as_json(report: &SelectionReport) -> Value {
    let candidates = report.candidates.iter().map(|candidate| match &candidate.outcome {
        Ok(score) => json!({
            "model": candidate.kind.as_str(), "loss": score.loss, "wql": score.relative_pinball, "mase": score.mase, "coverage_p95": score.coverage,
            "scale": format!("{:?}", score.scale),
        }),
        Err(error) => json!({ "model": candidate.kind.as_str(), "refused": error.to_string() }),
    });
    json!({
        "candidates": candidates.collect::<Vec<_>>(), "chosen": report.chosen.as_str(),
        "reference": report.reference.as_str(), "reason": reason(report), "worth": report.worth().map(Worth::as_str),
        "expensive_models": expensive(report), "gain": report.gain.map(|gain| gain.share),
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

/// Whether expensive models were tried, and why; nothing where nobody asked for them.
fn expensive(report: &SelectionReport) -> Option<String> {
    let compared = |misses: Autocorrelation| {
        format!("autocorrelation {:.2}, of noise within {:.2}", misses.value, misses.of_noise)
    };
    match report.expensive {
        ExpensiveModels::Tried(misses) => Some(format!(
            "expensive models were tried: what the cheap ones missed depends on what they missed before ({})",
            compared(misses)
        )),
        ExpensiveModels::NothingLeft(Some(misses)) => Some(format!(
            "expensive models were not tried: what the cheap ones missed looks like noise ({})",
            compared(misses)
        )),
        ExpensiveModels::NothingLeft(None) => {
            Some("expensive models were not tried: the cheap ones missed nothing".to_owned())
        }
        _ => None,
    }
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
