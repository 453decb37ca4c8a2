//! What was simulated, as a page that needs nothing else: inline SVG, no script, no font, no date of its making.
//!
//! Per column the table of policies, the frontier of cost against violations, and what demand was and what Forebay had ready.

use std::fmt::Write as _;

use forebay_plan::simulation::{Kind, Point, Standing};

use super::report::{COLUMNS, frontier, frontier_columns, gate, head, row};
use super::{SimulateArgs, Simulated};
use crate::forecasting::plot::svg::{escape, inline};
use crate::forecasting::plot::{Plot, WIDTH};

/// Most steps in a plot, the last ones.
const MAX_PLOTTED: usize = 2000;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;
/// Share of unserved steps at the right end of the frontier, and cost over the oracle at its top.
const MOST_UNSERVED: f64 = 0.05;
const MOST_COST: f64 = 4.0;
const TICKS: usize = 5;
const COLOURS: [&str; 6] = ["#b23a48", "#d98324", "#7a8450", "#6b4e71", "#1f5fa8", "#222222"];

pub(super) fn page(args: &SimulateArgs, all: &[Simulated]) -> String {
    let title = escape(&format!("Scaling policies on {}", args.file.display()));
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font:14px sans-serif;margin:24px;max-width:{WIDTH}px}}h2{{font-size:15px;margin:24px 0 4px}}\
         table{{border-collapse:collapse;margin:8px 0}}td,th{{padding:2px 8px;text-align:right}}\
         td:first-child,th:first-child{{text-align:left}}svg{{width:100%;height:auto}}text{{font-size:11px;fill:#555}}\
         </style></head>\n<body><h1>{title}</h1>\n<p>Policies were tuned on 40 to 70 % of each demand and judged on the rest. \
         tauU: steps with less ready than needed, with the 95 % interval of the true share by the block bootstrap of \
         days; tauO: steps with more; \
         thetaU, thetaO: mean missing and idle share of the demand; instability: steps in which supply moved against demand. \
         Cost is replicas paid for, ready or starting, over what an oracle needs.</p>\n"
    );
    for simulated in all {
        let _ = writeln!(text, "<h2>{}</h2>", escape(&head(args, simulated)));
        let rows = simulated.standings.iter().map(|standing| row(args, simulated, standing).to_vec());
        text += &table(&COLUMNS.map(ToOwned::to_owned), rows);
        let _ = writeln!(text, "<p>{}</p>", escape(&gate(simulated)));
        text += "<h2>Cost over the oracle at no more unserved than, in hindsight</h2>\n";
        text += &table(&frontier_columns(), frontier(simulated).into_iter());
        text += &frontier_svg(&simulated.frontiers);
        if let Some(own) = simulated.standings.iter().find(|standing| standing.kind == Kind::Forebay) {
            text += "<h2>Demand (dark), and what Forebay had ready (dashed), in units</h2>\n";
            text += &inline(&course(simulated, own));
        }
    }
    text + "</body></html>\n"
}

fn table(titles: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, cells: &[String]| {
        cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect::<String>()
    };
    let rows: String = rows.map(|row| format!("<tr>{}</tr>\n", cells("td", &row))).collect();
    format!("<table><tr>{}</tr>\n{rows}</table>\n", cells("th", titles))
}

fn course(simulated: &Simulated, own: &Standing) -> Plot {
    let skipped = own.course.ready.len().saturating_sub(MAX_PLOTTED);
    let series = &simulated.series;
    let steps = || own.course.steps.clone().zip(&own.course.ready).skip(skipped);
    let values = steps().map(|(step, _)| (series.at_s(step), series.values()[step])).filter(|value| !value.1.is_nan());
    Plot {
        step_s: series.step_s(),
        values: values.collect(),
        beside: steps().map(|(step, &ready)| (series.at_s(step), ready as f64 * simulated.per_replica)).collect(),
        ..Plot::default()
    }
}

/// Violations along, cost up; points outside of the frame are left out.
fn frontier_svg(frontiers: &[(Kind, Vec<Point>)]) -> String {
    let x = |share: f64| LEFT + share / MOST_UNSERVED * (WIDTH - LEFT - RIGHT);
    let y = |cost: f64| TOP + (MOST_COST - cost) / (MOST_COST - 1.0) * (HEIGHT - TOP - BOTTOM);
    let mut text = format!("<svg class=\"frontier\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
    for tick in 0..=TICKS {
        let part = tick as f64 / TICKS as f64;
        let (share, cost) = (part * MOST_UNSERVED, 1.0 + part * (MOST_COST - 1.0));
        let _ = writeln!(
            text,
            "<polyline points=\"{LEFT},{0:.1} {1:.1},{0:.1}\" stroke=\"#e4e4e4\" fill=\"none\"/>\
             <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{cost:.1}</text>\
             <text x=\"{4:.1}\" y=\"{5}\" text-anchor=\"middle\">{6:.0} %</text>",
            y(cost),
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(cost) + 4.0,
            x(share),
            HEIGHT - BOTTOM + 18.0,
            100.0 * share,
        );
    }
    for (place, (policy, points)) in frontiers.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let is_inside = |at: &(f64, f64)| at.0 <= MOST_UNSERVED && (1.0..=MOST_COST).contains(&at.1);
        let at = points.iter().map(|point| (point.measures.violations, point.measures.cost_over_oracle()));
        let at: Vec<String> =
            at.filter(is_inside).map(|(share, cost)| format!("{:.1},{:.1}", x(share), y(cost))).collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <text x=\"{}\" y=\"{}\" style=\"fill:{colour}\">{}</text>",
            at.join(" "),
            WIDTH - RIGHT + 10.0,
            TOP + 14.0 * (place + 1) as f64,
            escape(&policy.to_string()),
        );
    }
    text + "</svg>\n"
}
