//! What was simulated, as a table for people and as JSON for tools.

use comfy_table::{CellAlignment, Table, presets};
use forebay_plan::simulation::{Measures, Point, Standing};
use serde_json::{Value, json};

use super::{SimulateArgs, Simulated};

const MINUTES_PER_DAY: f64 = 1440.0;
const DAY_S: f64 = 86_400.0;
/// Shares of unserved steps at which the frontier is printed.
const AT: [f64; 5] = [0.001, 0.005, 0.01, 0.02, 0.05];

/// Titles of the columns, in the order of [`row`].
pub(super) const COLUMNS: [&str; 12] = [
    "policy",
    "setting",
    "tauU %",
    "95 %",
    "tauO %",
    "thetaU %",
    "thetaO %",
    "instability %",
    "viol. min/day",
    "unserved %",
    "cost/oracle",
    "price/day",
];

/// One policy in figures.
pub(super) fn row(args: &SimulateArgs, simulated: &Simulated, standing: &Standing) -> [String; COLUMNS.len()] {
    let of = &standing.measures;
    let percent = |share: f64| format!("{:.2}", 100.0 * share);
    [
        standing.kind.to_string(),
        standing.setting.map_or("-".to_owned(), |setting| format!("{setting:.2}")),
        percent(of.violations),
        format!("[{} {}]", percent(standing.violations.from), percent(standing.violations.to)),
        percent(of.over),
        percent(of.missing),
        percent(of.idle),
        percent(of.instability),
        format!("{:.1}", MINUTES_PER_DAY * of.violations),
        format!("{:.3}", 100.0 * of.unserved),
        cost(of),
        format!("{:.2}", price_per_day(args, simulated, standing)),
    ]
}

/// What the gate did, in words.
pub(super) fn gate(simulated: &Simulated) -> String {
    let account = simulated.standings.iter().find_map(|standing| {
        let is_own = standing.kind == forebay_plan::simulation::Kind::Forebay;
        standing.account.as_ref().filter(|_| is_own)
    });
    account.map(|account| format!("forebay: {account}")).unwrap_or_default()
}

/// By policy, the cheapest of its frontier at each share that may go unserved.
pub(super) fn frontier(simulated: &Simulated) -> Vec<Vec<String>> {
    let rows = simulated.frontiers.iter().map(|(policy, points)| {
        let cheapest =
            AT.iter().map(|&most| cheapest(points, most).map_or("-".to_owned(), |point| cost(&point.measures)));
        std::iter::once(policy.to_string()).chain(cheapest).collect()
    });
    rows.collect()
}

/// Titles of the frontier's columns.
pub(super) fn frontier_columns() -> Vec<String> {
    let at = AT.iter().map(|most| format!("at {} %", 100.0 * most));
    std::iter::once("policy".to_owned()).chain(at).collect()
}

fn cheapest(points: &[Point], most: f64) -> Option<&Point> {
    let enough = points.iter().filter(|point| point.measures.violations <= most);
    enough.min_by(|a, b| a.measures.replica_steps.total_cmp(&b.measures.replica_steps))
}

fn cost(of: &Measures) -> String {
    let cost = of.cost_over_oracle();
    if cost.is_finite() { format!("{cost:.3}") } else { "-".to_owned() }
}

fn price_per_day(args: &SimulateArgs, simulated: &Simulated, standing: &Standing) -> f64 {
    let step_s = simulated.series.step_s();
    let days = standing.course.paid.len() as f64 * f64::from(step_s) / DAY_S;
    args.prices().cost(&standing.course, step_s) / f64::max(days, f64::MIN_POSITIVE)
}

/// What was asked, in a line.
pub(super) fn head(args: &SimulateArgs, simulated: &Simulated) -> String {
    let judged = simulated.standings.first().map_or(0, |standing| standing.measures.steps);
    format!(
        "{}: {judged} steps of {} s judged, lead time {}, {:.4} units per replica, at most {} % of steps unserved",
        simulated.name,
        simulated.series.step_s(),
        args.lead,
        simulated.per_replica,
        100.0 * args.target.0,
    )
}

pub(super) fn as_text(args: &SimulateArgs, simulated: &Simulated) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(COLUMNS);
    for standing in &simulated.standings {
        table.add_row(row(args, simulated, standing));
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let mut costs = Table::new();
    costs.load_style(presets::NOTHING);
    costs.set_header(frontier_columns());
    for row in frontier(simulated) {
        costs.add_row(row);
    }
    costs.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    format!(
        "{}\n{table}\n{}\nfrontier: cost over the oracle's exact need at no more unserved than, in hindsight\n{costs}\n\n",
        head(args, simulated),
        gate(simulated),
    )
}

pub(super) fn as_json(args: &SimulateArgs, simulated: &Simulated) -> Value {
    let point = |point: &Point| {
        json!({
            "setting": point.setting, "tau_u": point.measures.violations,
            "cost_over_oracle": point.measures.cost_over_oracle(),
        })
    };
    let policy = |standing: &Standing| {
        let of = &standing.measures;
        json!({
            "policy": standing.kind.to_string(), "setting": standing.setting,
            "tau_u": of.violations, "tau_u_interval": [standing.violations.from, standing.violations.to],
            "tau_o": of.over, "theta_u": of.missing, "theta_o": of.idle, "instability": of.instability,
            "violation_minutes_per_day": MINUTES_PER_DAY * of.violations, "unserved_share": of.unserved,
            "cost_over_oracle": of.cost_over_oracle(), "price_per_day": price_per_day(args, simulated, standing),
            "gate": standing.account.as_ref().map(ToString::to_string),
        })
    };
    let frontiers = simulated.frontiers.iter().map(|(policy, points)| {
        json!({ "policy": policy.to_string(), "points": points.iter().map(point).collect::<Vec<_>>() })
    });
    json!({
        "series": simulated.name, "step_s": simulated.series.step_s(), "lead_s": args.lead.seconds,
        "replica_units": simulated.per_replica, "target": args.target.0, "seed": args.seed,
        "steps": simulated.standings.first().map(|standing| standing.measures.steps),
        "policies": simulated.standings.iter().map(policy).collect::<Vec<_>>(),
        "frontiers": frontiers.collect::<Vec<_>>(),
    })
}
