//! A plot as SVG: inline in a page, or several of them below each other in a file of their own.

use std::fmt::Write as _;

use super::{Anchor, Canvas, Colour, HEIGHT, Plot, Point, Stroke, WIDTH, draw};

/// Room for a plot's title and note.
const HEAD: f64 = 44.0;

/// One plot without its title.
pub(crate) fn inline(plot: &Plot) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n{}</svg>", Svg::of(plot).text)
}

/// All plots with their titles, as a document.
pub(in crate::forecasting) fn document(plots: &[Plot]) -> String {
    let (row, count) = (HEAD + HEIGHT, plots.len().max(1) as f64);
    let height = row * count;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>text{{font:11px sans-serif;fill:#555}}.title{{font-size:15px;fill:#222}}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (place, plot) in plots.iter().enumerate() {
        let y = row * place as f64;
        let (title, note) = (escape(&plot.title), escape(&plot.note));
        let _ = write!(
            text,
            "<g transform=\"translate(0 {y})\"><text class=\"title\" x=\"10\" y=\"20\">{title}</text>\
             <text x=\"10\" y=\"37\">{note}</text></g>\n<g transform=\"translate(0 {})\">\n{}</g>\n",
            y + HEAD,
            Svg::of(plot).text
        );
    }
    text + "</svg>\n"
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

struct Svg {
    text: String,
}

impl Svg {
    fn of(plot: &Plot) -> Self {
        let mut svg = Self { text: String::new() };
        draw(plot, &mut svg);
        svg
    }
}

impl Canvas for Svg {
    fn area(&mut self, corners: &[Point], colour: Colour) {
        let points = joined(corners);
        let _ = writeln!(self.text, "<polygon points=\"{points}\" fill=\"#{colour:06x}\" stroke=\"#{colour:06x}\"/>");
    }

    fn line(&mut self, points: &[Point], colour: Colour, stroke: Stroke) {
        let dashes = if stroke == Stroke::Dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let points = joined(points);
        let _ = writeln!(
            self.text,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"#{colour:06x}\" stroke-width=\"1.2\"{dashes}/>"
        );
    }

    fn text(&mut self, (x, y): Point, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        let _ = writeln!(self.text, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    }
}

fn joined(points: &[Point]) -> String {
    points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::{LEFT, RIGHT, TOP, example};
    use super::*;

    #[test]
    fn a_plot_shows_what_was_and_what_is_forecast() {
        let text = document(&[example(), example()]);
        assert_eq!(text.matches(">a&lt;b</text>").count(), 2, "{text}");
        assert!(text.contains("so &amp; so"), "{text}");
        let one = inline(&example());
        assert_eq!(one.matches("<polygon").count(), 4, "an event, and one fan of three bands");
        assert_eq!(one.matches("stroke=\"#222222\"").count(), 2, "two lines of values with a gap between");
        assert_eq!(one.matches("stroke-dasharray").count(), 1, "the median without events");
        // The largest quantile touches the top, at the first forecast step: 300 of 420 s.
        let x = LEFT + 300.0 / 420.0 * (WIDTH - LEFT - RIGHT);
        assert!(one.contains(&format!("points=\"{x:.1},{TOP:.1} ")), "{one}");
        assert!(!text.contains("NaN"), "{text}");
    }

    #[test]
    fn nothing_at_all_is_an_empty_plot() {
        assert!(!inline(&Plot { step_s: 60, ..Plot::default() }).contains("NaN"));
        assert!(document(&[]).ends_with("</svg>\n"));
    }
}
