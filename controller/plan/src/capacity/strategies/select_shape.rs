//! `selectShape` (seed 11372686): the shape with the best score of performance against cost, for a peak *and* an average.
//!
//! `score = performance * tradeoff + (1 - tradeoff) / cost`, over the shapes that hold the predicted peak and that the
//! region has room for. So that both terms are of one size, whatever the currency, cost is taken relative to the cheapest
//! shape that will do: the second term is 1 for that one and less for every other. Performance is how well the *average*
//! uses the shape (a shape that the peak needs and the average leaves idle scores low) times the shape's profile.
//!
//! [`moves_to`] is the same choice for what runs already, with hysteresis: a replica is moved to another shape only if its
//! own no longer holds the peak, or the other's score is better by a margin. It looks at what one replica really uses, so it
//! corrects what a service was thought to need per unit; nothing calls it by itself. Who moves what otherwise:
//! [`crate::capacity::plan_capacity`] weighs whole mixes of shapes and pools of a service by price, and moves where that
//! saves what the move costs within [`crate::capacity::PlanningLimits::payback_s`], whatever single replicas use.

use std::collections::BTreeMap;

use crate::capacity::{Amounts, Micros, Shape};

/// What a replica is predicted to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictedLoad {
    /// At the peak.
    pub peak: Amounts,
    /// On average.
    pub average: Amounts,
}

/// How good a shape is for a load.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeScore {
    /// Name of the shape.
    pub shape: String,
    /// Price of the duration asked for, in micros.
    pub cost_micros: Micros,
    /// 0 to 1 for a shape of the standard's profile.
    pub performance: f64,
    /// The higher the better.
    pub score: f64,
}

/// All shapes that hold the peak and that the region has room for, best first. `region_capacity` is how many instances of
/// each shape the region still has; `tradeoff` within 0 (cost only) to 1 (performance only); `duration_s` how long for.
#[must_use]
pub fn shape_scores(
    shapes: &[Shape],
    load: &PredictedLoad,
    region_capacity: &BTreeMap<String, u32>,
    tradeoff: f64,
    duration_s: f64,
) -> Vec<ShapeScore> {
    let has_room = |shape: &&Shape| region_capacity.get(&shape.name).is_some_and(|count| *count > 0);
    let adequate = shapes.iter().filter(has_room).filter(|shape| holds(shape, &load.peak));
    let mut scores: Vec<ShapeScore> = adequate
        .map(|shape| ShapeScore {
            shape: shape.name.clone(),
            cost_micros: crate::capacity::price::spent_micros(shape.price_micros_per_h, duration_s),
            performance: performance(shape, &load.average),
            score: 0.0,
        })
        .collect();
    let cheapest = scores.iter().map(|score| score.cost_micros.max(1)).min().unwrap_or(1) as f64;
    let tradeoff = tradeoff.clamp(0.0, 1.0);
    for score in &mut scores {
        let relative = score.cost_micros.max(1) as f64 / cheapest;
        score.score = score.performance * tradeoff + (1.0 - tradeoff) / relative;
    }
    scores.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then(a.cost_micros.cmp(&b.cost_micros)).then(a.shape.cmp(&b.shape))
    });
    scores
}

/// The shape with the highest score; `None` where none holds the peak or the region has room for none that does.
#[must_use]
pub fn select_shape(
    shapes: &[Shape],
    load: &PredictedLoad,
    region_capacity: &BTreeMap<String, u32>,
    tradeoff: f64,
    duration_s: f64,
) -> Option<ShapeScore> {
    shape_scores(shapes, load, region_capacity, tradeoff, duration_s).into_iter().next()
}

/// The shape that a replica of shape `current` should be moved to, if any. `scores` are those of all adequate shapes;
/// `margin` is how much better another must be, as a share of the present score.
#[must_use]
pub fn moves_to<'a>(current: &str, scores: &'a [ShapeScore], margin: f64) -> Option<&'a ShapeScore> {
    let best = scores.first()?;
    let Some(present) = scores.iter().find(|score| score.shape == current) else {
        return Some(best);
    };
    (best.shape != current && best.score > present.score * (1.0 + margin.max(0.0))).then_some(best)
}

fn holds(shape: &Shape, need: &Amounts) -> bool {
    shape.performance > 0.0 && shape.offers.holds(need) * shape.performance >= 1.0
}

/// How much of what the shape has the average uses, the mean over what is used at all, times the shape's profile.
fn performance(shape: &Shape, average: &Amounts) -> f64 {
    let pairs = shape.offers.as_array().into_iter().zip(average.as_array());
    let used: Vec<f64> =
        pairs.filter(|(has, need)| *has > 0.0 && *need > 0.0).map(|(has, need)| (need / has).min(1.0)).collect();
    if used.is_empty() { 0.0 } else { shape.performance * used.iter().sum::<f64>() / used.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str, cores: f64, price_micros_per_h: Micros) -> Shape {
        let offers = Amounts { cpu_milli: 1_000.0 * cores, memory_mib: 4_000.0 * cores, ..Amounts::default() };
        Shape { name: name.to_owned(), offers, price_micros_per_h, performance: 1.0 }
    }

    fn shapes() -> Vec<Shape> {
        vec![shape("Micro", 0.5, 10), shape("Small", 1.0, 20), shape("Medium", 2.0, 44), shape("Large", 4.0, 60)]
    }

    fn load(peak: f64, average: f64) -> PredictedLoad {
        let of = |cores: f64| Amounts { cpu_milli: 1_000.0 * cores, memory_mib: 2_000.0 * cores, ..Amounts::default() };
        PredictedLoad { peak: of(peak), average: of(average) }
    }

    fn room(names: &[&str]) -> BTreeMap<String, u32> {
        names.iter().map(|name| ((*name).to_owned(), 1)).collect()
    }

    const ALL: [&str; 4] = ["Micro", "Small", "Medium", "Large"];

    #[test]
    fn the_score_weighs_use_by_the_average_against_cost() {
        let scores = shape_scores(&shapes(), &load(0.9, 0.5), &room(&ALL), 0.5, 3_600.0);
        let golden: Vec<(&str, Micros, f64)> =
            vec![("Small", 20, 0.6875), ("Medium", 44, 0.321_022_727), ("Large", 60, 0.213_541_667)];
        assert_eq!(scores.len(), golden.len());
        for (score, (shape, cost, value)) in scores.iter().zip(golden) {
            assert_eq!((score.shape.as_str(), score.cost_micros), (shape, cost));
            assert!((score.score - value).abs() < 1e-6, "{score:?}");
        }
    }

    #[test]
    fn the_peak_and_the_regions_room_decide_who_is_in() {
        let chosen = |peak, names: &[&str]| {
            select_shape(&shapes(), &load(peak, 0.2), &room(names), 0.0, 3_600.0).map(|of| of.shape)
        };
        assert_eq!(chosen(0.4, &ALL).as_deref(), Some("Micro"));
        assert_eq!(chosen(0.4, &["Large"]).as_deref(), Some("Large"));
        assert_eq!(chosen(1.5, &ALL).as_deref(), Some("Medium"));
        assert_eq!(chosen(5.0, &ALL), None);
    }

    #[test]
    fn replicas_move_when_they_must_or_when_it_pays() {
        let scores = shape_scores(&shapes(), &load(0.9, 0.5), &room(&ALL), 0.5, 3_600.0);
        let to = |current, margin| moves_to(current, &scores, margin).map(|of| of.shape.as_str());
        assert_eq!(to("Micro", 9.0), Some("Small"), "it no longer holds the peak");
        assert_eq!(to("Medium", 0.5), Some("Small"));
        assert_eq!(to("Medium", 1.5), None, "not by enough");
        assert_eq!(to("Small", 0.0), None);
    }
}
