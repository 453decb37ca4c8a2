//! A page with plots that needs nothing else: inline SVG, no script, no font, no date of its making. The same input gives
//! the same bytes.
//!
//! What was is a dark line, what was forecast a light line (the median) in bands that hold 50, 80 and 95 % of it.

use std::fmt::Write as _;

use crate::calendar;

/// Quantiles that a fan is drawn from, from the lowest to the highest.
pub(super) const PLOTTED: [f64; 7] = [0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975];
/// Place of the median among them.
const MEDIAN: usize = 3;
/// Pairs of [`PLOTTED`] between which a band lies, the widest first, with its shade.
const BANDS: [(usize, usize, &str); 3] = [(0, 6, "#dbe7f5"), (1, 5, "#b3cdea"), (2, 4, "#84aedc")];

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;
/// Room for the numbers.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;
/// Lines across, and times along.
const TICKS: usize = 4;

/// One forecast step.
#[derive(Debug, Clone)]
pub(super) struct Fan {
    pub(super) start_s: i64,
    pub(super) quantiles: [f64; PLOTTED.len()],
}

/// One plot.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) step_s: u32,
    /// Begin and value of each known step.
    pub(super) values: Vec<(i64, f64)>,
    /// In order of time.
    pub(super) fans: Vec<Fan>,
}

/// The page.
pub(super) fn page(title: &str, plots: &[Plot]) -> String {
    let title = escape(title);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font:14px sans-serif;margin:24px;max-width:{WIDTH}px}}h2{{font-size:15px;margin:24px 0 4px}}\
         svg{{width:100%;height:auto}}text{{font-size:11px;fill:#555}}</style></head>\n<body><h1>{title}</h1>\n\
         <p>Dark: what was. Light: the median forecast, in bands that hold 50, 80 and 95 % of what may come. Times are UTC.</p>\n"
    );
    for plot in plots {
        let _ = writeln!(text, "<h2>{}</h2>\n{}", escape(&plot.title), svg(plot));
    }
    text + "</body></html>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Where times and values lie on the plot.
struct Axes {
    from_s: i64,
    to_s: i64,
    top: f64,
}

impl Axes {
    fn of(plot: &Plot) -> Self {
        let times = || plot.values.iter().map(|value| value.0).chain(plot.fans.iter().map(|fan| fan.start_s));
        let from_s = times().min().unwrap_or(0);
        let to_s = times().max().unwrap_or(0) + i64::from(plot.step_s);
        let values = plot.values.iter().map(|value| value.1);
        let upper = plot.fans.iter().map(|fan| fan.quantiles[PLOTTED.len() - 1]);
        let top = values.chain(upper).fold(0.0, f64::max);
        Self { from_s, to_s, top: if top > 0.0 { top } else { 1.0 } }
    }

    fn point(&self, at_s: i64, value: f64) -> String {
        let x = LEFT + (at_s - self.from_s) as f64 / (self.to_s - self.from_s) as f64 * (WIDTH - LEFT - RIGHT);
        let y = TOP + (1.0 - value / self.top) * (HEIGHT - TOP - BOTTOM);
        format!("{x:.1},{y:.1}")
    }
}

fn svg(plot: &Plot) -> String {
    let axes = Axes::of(plot);
    let mut text = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
    grid(&axes, &mut text);
    // A gap ends a line: what lies further apart than a step is not joined.
    let step_s = i64::from(plot.step_s);
    for run in plot.fans.chunk_by(|a, b| b.start_s - a.start_s <= step_s) {
        for (lower, upper, shade) in BANDS {
            let there = run.iter().map(|fan| axes.point(fan.start_s, fan.quantiles[upper]));
            let back = run.iter().rev().map(|fan| axes.point(fan.start_s, fan.quantiles[lower]));
            let points = there.chain(back).collect::<Vec<_>>().join(" ");
            let _ = writeln!(text, "<polygon points=\"{points}\" fill=\"{shade}\" stroke=\"{shade}\"/>");
        }
        let median = run.iter().map(|fan| axes.point(fan.start_s, fan.quantiles[MEDIAN])).collect::<Vec<_>>().join(" ");
        line(&median, "#1f5fa8", &mut text);
    }
    for run in plot.values.chunk_by(|a, b| b.0 - a.0 <= step_s) {
        let points = run.iter().map(|&(at_s, value)| axes.point(at_s, value)).collect::<Vec<_>>().join(" ");
        line(&points, "#222", &mut text);
    }
    text + "</svg>"
}

fn line(points: &str, colour: &str, text: &mut String) {
    let _ = writeln!(text, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\"/>");
}

fn grid(axes: &Axes, text: &mut String) {
    for tick in 0..=TICKS {
        let share = tick as f64 / TICKS as f64;
        let y = TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM);
        let right = WIDTH - RIGHT;
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            number(share * axes.top)
        );
        let at_s = axes.from_s + (share * (axes.to_s - axes.from_s) as f64) as i64;
        let x = LEFT + share * (WIDTH - LEFT - RIGHT);
        let anchor = if tick == TICKS { "end" } else { "middle" };
        let _ = writeln!(
            text,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - BOTTOM + 18.0,
            calendar::print(at_s)
        );
    }
}

/// Three digits that tell something.
fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        large if large.abs() >= 1e6 => format!("{large:.2e}"),
        usual if usual.abs() >= 100.0 => format!("{usual:.0}"),
        small if small.abs() >= 0.01 => format!("{small:.2}"),
        tiny => format!("{tiny:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_shows_what_was_and_what_is_forecast() {
        let fan = |start_s| Fan { start_s, quantiles: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0] };
        let values = vec![(0, 1.0), (60, 2.0), (240, 4.0)];
        let plot = Plot { title: "a<b".to_owned(), step_s: 60, values, fans: vec![fan(300), fan(360)] };
        let text = page("what & why", &[plot]);
        assert!(text.contains("<h2>a&lt;b</h2>") && text.contains("<title>what &amp; why</title>"), "{text}");
        assert_eq!(text.matches("<polygon").count(), 3, "one fan of three bands");
        assert_eq!(text.matches("<polyline").count(), 3, "two lines of values with a gap between, and the median");
        // The largest quantile touches the top, at the first forecast step: 300 of 420 s.
        let x = LEFT + 300.0 / 420.0 * (WIDTH - LEFT - RIGHT);
        assert!(text.contains(&format!("points=\"{x:.1},{TOP:.1} ")), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }

    #[test]
    fn nothing_at_all_is_an_empty_plot() {
        let plot = Plot { title: String::new(), step_s: 60, values: Vec::new(), fans: Vec::new() };
        assert!(!page("", &[plot]).contains("NaN"));
    }
}
