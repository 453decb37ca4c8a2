//! Median and quartiles: what benches print of a figure that was taken once per round.
//!
//! A difference or ratio is taken inside each round first and its median afterwards: what a round's neighbours did to
//! the machine is in both sides and falls out. The quartiles beside each median say how far to trust it.

/// Median and quartiles of one figure per round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// A quarter of the rounds is below.
    pub lower: f64,
    /// Half of the rounds is below.
    pub median: f64,
    /// Three quarters of the rounds are below.
    pub upper: f64,
}

impl Spread {
    /// Of the figure of each round; of none it is all zero.
    pub fn of<R>(rounds: &[R], figure: impl Fn(&R) -> f64) -> Self {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        Self { lower: quantile(&figures, 0.25), median: quantile(&figures, 0.5), upper: quantile(&figures, 0.75) }
    }

    /// `median  (lower to upper)`.
    pub fn text(self) -> String {
        format!("{:.2}  ({:.2} to {:.2})", self.median, self.lower, self.upper)
    }
}

/// Of sorted figures, interpolated between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len().saturating_sub(1) as f64;
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or_default();
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_neighbours() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0], |figure| *figure);
        assert_eq!(spread, Spread { lower: 1.75, median: 2.5, upper: 3.25 });
        assert_eq!(Spread::of(&[7.0], |figure| *figure).text(), "7.00  (7.00 to 7.00)");
    }
}
