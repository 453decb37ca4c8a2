//! Smallest value of a function of a few bounded parameters, without derivatives: the downhill simplex.
//!
//! Smoothing constants live between 0 and 1, their loss has kinks where a bound begins, and there are at most six of them:
//! the case that the simplex is made for. Points that leave the box are brought back onto its side. The number of
//! evaluations is bounded, since each is a walk through a history. Deterministic: no random restarts.
//!
//! Own, because the crates that have it (argmin, nlopt) bring a framework of ten and more crates for these few lines.
//! Source: Nelder and Mead, A Simplex Method for Function Minimization, 1965, with the coefficients given there.

/// Where to look and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    /// First guess.
    pub(super) start: &'a [f64],
    /// Smallest and largest value of each parameter.
    pub(super) bounds: &'a [(f64, f64)],
    /// Size of the first simplex, as a share of each parameter's range.
    pub(super) spread: f64,
    /// Most evaluations of the function.
    pub(super) evaluations: usize,
    /// The search ends when the losses of the simplex differ by less than this share.
    pub(super) tolerance: f64,
}

#[derive(Debug, Clone)]
struct Vertex {
    at: Vec<f64>,
    loss: f64,
}

/// The function, counted.
struct Counted<'a, F> {
    loss: F,
    bounds: &'a [(f64, f64)],
    left: usize,
}

impl<F: FnMut(&[f64]) -> f64> Counted<'_, F> {
    fn vertex(&mut self, mut at: Vec<f64>) -> Vertex {
        for (value, &(low, high)) in at.iter_mut().zip(self.bounds) {
            *value = value.clamp(low, high);
        }
        self.left = self.left.saturating_sub(1);
        let loss = (self.loss)(&at);
        Vertex { at, loss: if loss.is_nan() { f64::INFINITY } else { loss } }
    }
}

/// The best point found and its loss. A loss that is not a number counts as infinite.
pub(super) fn minimise(search: &Search<'_>, loss: impl FnMut(&[f64]) -> f64) -> (Vec<f64>, f64) {
    let dimensions = search.start.len();
    let mut counted = Counted { loss, bounds: search.bounds, left: search.evaluations };
    let first = counted.vertex(search.start.to_vec());
    let mut simplex = vec![first];
    for (axis, &(low, high)) in search.bounds.iter().enumerate().take(dimensions) {
        let mut at = simplex[0].at.clone();
        // Away from the nearer side, so that the step is not cut off.
        let away = if at[axis] - low > high - at[axis] { -1.0 } else { 1.0 };
        at[axis] += away * search.spread * (high - low);
        simplex.push(counted.vertex(at));
    }
    loop {
        simplex.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        let (best, worst) = (simplex[0].loss, simplex[dimensions].loss);
        if worst - best <= search.tolerance * best.abs() || counted.left == 0 || dimensions == 0 {
            let best = simplex.swap_remove(0);
            return (best.at, best.loss);
        }
        move_worst(&mut simplex, &mut counted);
    }
}

/// One step: the worst vertex is mirrored at the centre of the others, and the mirror image reached beyond if it is the
/// best, drawn in if it is no good; if nothing helps, all are drawn towards the best.
fn move_worst<F: FnMut(&[f64]) -> f64>(simplex: &mut [Vertex], counted: &mut Counted<'_, F>) {
    let last = simplex.len() - 1;
    let mut centre = vec![0.0; last];
    for vertex in &simplex[..last] {
        for (sum, at) in centre.iter_mut().zip(&vertex.at) {
            *sum += at / last as f64;
        }
    }
    let beyond = |factor: f64, of: &Vertex| -> Vec<f64> {
        centre.iter().zip(&of.at).map(|(centre, at)| centre + factor * (centre - at)).collect()
    };
    let mirrored = counted.vertex(beyond(1.0, &simplex[last]));
    if mirrored.loss < simplex[0].loss {
        let farther = counted.vertex(beyond(2.0, &simplex[last]));
        simplex[last] = if farther.loss < mirrored.loss { farther } else { mirrored };
    } else if mirrored.loss < simplex[last - 1].loss {
        simplex[last] = mirrored;
    } else {
        if mirrored.loss < simplex[last].loss {
            simplex[last] = mirrored;
        }
        let drawn_in = counted.vertex(beyond(-0.5, &simplex[last]));
        if drawn_in.loss < simplex[last].loss {
            simplex[last] = drawn_in;
        } else {
            let best = simplex[0].at.clone();
            for vertex in &mut simplex[1..] {
                let at = vertex.at.iter().zip(&best).map(|(at, best)| (at + best) / 2.0).collect();
                *vertex = counted.vertex(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search<'a>(start: &'a [f64], bounds: &'a [(f64, f64)]) -> Search<'a> {
        Search { start, bounds, spread: 0.2, evaluations: 400, tolerance: 1e-12 }
    }

    #[test]
    fn the_bottom_of_a_curved_valley_is_found() {
        // Rosenbrock's function, smallest (0) at 1, 1.
        let rosenbrock = |at: &[f64]| (1.0 - at[0]).powi(2) + 100.0 * (at[1] - at[0] * at[0]).powi(2);
        let (at, loss) = minimise(&search(&[-1.2, 1.0], &[(-3.0, 3.0), (-3.0, 3.0)]), rosenbrock);
        assert!((at[0] - 1.0).abs() < 1e-3 && (at[1] - 1.0).abs() < 1e-3, "{at:?}: {loss}");
    }

    #[test]
    fn a_minimum_outside_the_box_ends_on_its_side() {
        let bowl = |at: &[f64]| (at[0] - 2.0).powi(2) + (at[1] - 0.3).powi(2);
        let (at, _) = minimise(&search(&[0.5, 0.9], &[(0.0, 1.0), (0.0, 1.0)]), bowl);
        assert!((at[0] - 1.0).abs() < 1e-4 && (at[1] - 0.3).abs() < 1e-4, "{at:?}");
    }

    #[test]
    fn evaluations_are_bounded_and_nothing_to_search_is_no_search() {
        let mut calls = 0;
        let counting = |at: &[f64]| {
            calls += 1;
            (at[0] - 0.123).powi(2) + at[1].sin()
        };
        let few = Search { evaluations: 20, tolerance: 0.0, ..search(&[0.5, 0.5], &[(0.0, 1.0), (0.0, 1.0)]) };
        minimise(&few, counting);
        // The last step may take two more to finish.
        assert!((20..=23).contains(&calls), "{calls}");
        assert_eq!(minimise(&search(&[], &[]), |_| 7.0), (vec![], 7.0));
        assert_eq!(minimise(&search(&[0.5], &[(0.0, 1.0)]), |_| f64::NAN).1, f64::INFINITY);
    }
}
