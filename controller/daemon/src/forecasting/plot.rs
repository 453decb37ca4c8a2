//! What a plot shows, and where it lies: drawn alike onto SVG and onto pixels. The same input gives the same bytes; nothing
//! is asked of the machine, fonts neither.
//!
//! What was is a dark line, what was forecast a light line (the median) in bands that hold 50, 80 and 95 % of it. Events are
//! shaded, and a dashed line tells the median that would have been forecast without knowing of them.

pub(super) mod png;
pub(crate) mod svg;

use crate::calendar;

/// Quantiles that a fan is drawn from, from the lowest to the highest.
pub(super) const PLOTTED: [f64; 7] = [0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975];
/// Place of the median among them.
pub(super) const MEDIAN: usize = 3;
/// Pairs of [`PLOTTED`] between which a band lies, the widest first, with its shade.
const BANDS: [(usize, usize, Colour); 3] = [(0, 6, 0xdb_e7_f5), (1, 5, 0xb3_cd_ea), (2, 4, 0x84_ae_dc)];
const MEDIAN_COLOUR: Colour = 0x1f_5f_a8;
const WAS: Colour = 0x22_22_22;
const EVENT: Colour = 0xfb_ef_d5;
const GRID: Colour = 0xe4_e4_e4;

/// Size of a plot, in pixels where it has some.
pub(crate) const WIDTH: f64 = 960.0;
pub(super) const HEIGHT: f64 = 320.0;
/// Room for the numbers.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;
/// Lines across, and times along.
const TICKS: usize = 4;

/// Red, green and blue, eight bits each.
type Colour = u32;
type Point = (f64, f64);

/// One forecast step.
#[derive(Debug, Clone)]
pub(crate) struct Fan {
    pub(super) start_s: i64,
    pub(super) quantiles: [f64; PLOTTED.len()],
}

/// One plot.
#[derive(Debug, Default)]
pub(crate) struct Plot {
    pub(crate) title: String,
    /// A line of text under the title.
    pub(crate) note: String,
    pub(crate) step_s: u32,
    /// Begin and value of each known step.
    pub(crate) values: Vec<(i64, f64)>,
    /// In order of time.
    pub(crate) fans: Vec<Fan>,
    /// Begin of a step and its median if events were not known; in order of time.
    pub(crate) beside: Vec<(i64, f64)>,
    /// Begin and end of each event.
    pub(crate) events: Vec<(i64, i64)>,
}

/// Where a text's point lies in it.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// How a line is drawn.
#[derive(Clone, Copy, PartialEq)]
enum Stroke {
    Solid,
    Dashed,
}

/// What a plot is drawn onto; places are in the plot's own pixels, from its upper left corner.
trait Canvas {
    fn area(&mut self, corners: &[Point], colour: Colour);
    fn line(&mut self, points: &[Point], colour: Colour, stroke: Stroke);
    /// `at` is on the text's base line.
    fn text(&mut self, at: Point, anchor: Anchor, text: &str);
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
        let values = plot.values.iter().chain(&plot.beside).map(|value| value.1);
        let upper = plot.fans.iter().map(|fan| fan.quantiles[PLOTTED.len() - 1]);
        let top = values.chain(upper).fold(0.0, f64::max);
        Self { from_s, to_s, top: if top > 0.0 { top } else { 1.0 } }
    }

    fn point(&self, at_s: i64, value: f64) -> Point {
        let x = LEFT + (at_s - self.from_s) as f64 / (self.to_s - self.from_s) as f64 * (WIDTH - LEFT - RIGHT);
        (x, TOP + (1.0 - value / self.top) * (HEIGHT - TOP - BOTTOM))
    }
}

fn draw(plot: &Plot, canvas: &mut impl Canvas) {
    let axes = Axes::of(plot);
    for &(from_s, to_s) in &plot.events {
        let (from_s, to_s) = (from_s.max(axes.from_s), to_s.min(axes.to_s));
        if from_s < to_s {
            let corners = [(from_s, 0.0), (from_s, axes.top), (to_s, axes.top), (to_s, 0.0)];
            canvas.area(&corners.map(|(at_s, value)| axes.point(at_s, value)), EVENT);
        }
    }
    grid(&axes, canvas);
    // A gap ends a line: what lies further apart than a step is not joined.
    let step_s = i64::from(plot.step_s);
    for run in plot.fans.chunk_by(|a, b| b.start_s - a.start_s <= step_s) {
        for (lower, upper, shade) in BANDS {
            let there = run.iter().map(|fan| axes.point(fan.start_s, fan.quantiles[upper]));
            let back = run.iter().rev().map(|fan| axes.point(fan.start_s, fan.quantiles[lower]));
            canvas.area(&there.chain(back).collect::<Vec<_>>(), shade);
        }
        let median: Vec<_> = run.iter().map(|fan| axes.point(fan.start_s, fan.quantiles[MEDIAN])).collect();
        canvas.line(&median, MEDIAN_COLOUR, Stroke::Solid);
    }
    let mut line = |values: &[(i64, f64)], colour, stroke| {
        for run in values.chunk_by(|a, b| b.0 - a.0 <= step_s) {
            let points: Vec<_> = run.iter().map(|&(at_s, value)| axes.point(at_s, value)).collect();
            canvas.line(&points, colour, stroke);
        }
    };
    line(&plot.beside, MEDIAN_COLOUR, Stroke::Dashed);
    line(&plot.values, WAS, Stroke::Solid);
}

fn grid(axes: &Axes, canvas: &mut impl Canvas) {
    for tick in 0..=TICKS {
        let share = tick as f64 / TICKS as f64;
        let y = TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM);
        canvas.line(&[(LEFT, y), (WIDTH - RIGHT, y)], GRID, Stroke::Solid);
        canvas.text((LEFT - 6.0, y + 4.0), Anchor::End, &number(share * axes.top));
        let at_s = axes.from_s + (share * (axes.to_s - axes.from_s) as f64) as i64;
        let x = LEFT + share * (WIDTH - LEFT - RIGHT);
        let anchor = if tick == TICKS { Anchor::End } else { Anchor::Middle };
        canvas.text((x, HEIGHT - BOTTOM + 18.0), anchor, &calendar::print(at_s));
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

/// A plot with every part, for the tests of what draws it.
#[cfg(test)]
fn example() -> Plot {
    let fan = |start_s| Fan { start_s, quantiles: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0] };
    Plot {
        title: "a<b".to_owned(),
        note: "so & so".to_owned(),
        step_s: 60,
        values: vec![(0, 1.0), (60, 2.0), (240, 4.0)],
        fans: vec![fan(300), fan(360)],
        beside: vec![(360, 3.0)],
        events: vec![(360, 4000)],
    }
}
