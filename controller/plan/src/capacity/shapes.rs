//! New shapes from observed demand (SPEC C5): what replicas really take, clustered, against what the library makes them buy.
//!
//! The intuition: replicas that take much memory and little CPU pay for idle cores in every shape of the library. Their
//! demands are clustered (k-means on logarithms, so that clusters are of like proportions rather than of like size), each
//! cluster gives a shape that holds nearly all of its members, and what the same demand would cost with it is set against
//! what it costs now. Only the shape that saves most is added, then the rest is judged again, so two proposals never claim
//! one saving.
//!
//! Proposals are bounded in number and have to be worth their name; whether one is taken up is the operator's or the
//! controller's decision, noted in the [`ShapeLibrary`].

mod library;

use smartcore::cluster::kmeans::{KMeans, KMeansParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

use super::{Amounts, Micros, Shape};

pub use library::{LibraryError, MAX_CHANGES, MAX_SHAPES, NotedChange, ShapeChange, ShapeLibrary};

/// Shapes that are proposed at once, at most.
pub const MAX_PROPOSALS: usize = 4;
/// Demands that are clustered at most; the work is linear in them.
pub const MAX_DEMANDS: usize = 10_000;
/// Clusters that are tried at most.
const MAX_CLUSTERS: usize = 8;
/// Passes of the clustering at most.
const MAX_PASSES: usize = 50;
/// Share of a cluster's members that its shape holds in each resource.
const HELD: f64 = 0.95;
/// Grid that shapes lie on: whole steps of what providers sell, in the order of [`Amounts::as_array`].
const GRID: [f64; 6] = [250.0, 256.0, 1.0, 100.0, 50.0, 1.0];

/// What replicas of one kind were observed to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObservedDemand {
    /// What one replica takes at its peak.
    pub peak: Amounts,
    /// How many there are, on average.
    pub replicas: f64,
}

/// A shape that would save money.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The shape.
    pub shape: Shape,
    /// What the observed demand costs less with it, in micros an hour, those before it being taken up.
    pub saving_micros_per_h: Micros,
    /// The same as a share of what the demand costs without.
    pub saving_share: f64,
    /// Replicas that would use it.
    pub replicas: f64,
}

/// Proposes shapes, the one that saves most first. `price` gives what an hour of a new shape would cost, in micros;
/// `min_saving_share` of the present cost is what each must save; the same `seed` gives the same proposals.
#[must_use]
pub fn propose_shapes(
    demands: &[ObservedDemand],
    library: &[Shape],
    price: impl Fn(&Amounts) -> Micros,
    min_saving_share: f64,
    seed: u64,
) -> Vec<Proposal> {
    let demands = &demands[..demands.len().min(MAX_DEMANDS)];
    let now = cost_micros_per_h(demands, library);
    let mut candidates: Vec<Shape> = clusters(demands, seed).iter().map(|members| held_by(members, &price)).collect();
    let mut library = library.to_vec();
    let mut proposals: Vec<Proposal> = Vec::new();
    while proposals.len() < MAX_PROPOSALS && now > 0.0 {
        let before = cost_micros_per_h(demands, &library);
        let saving = |shape: &Shape| {
            let with: Vec<Shape> = library.iter().cloned().chain([shape.clone()]).collect();
            before - cost_micros_per_h(demands, &with)
        };
        let savings = candidates.iter().map(saving).enumerate();
        let Some((at, saving)) = savings.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))) else { break };
        if saving <= 0.0 || saving < min_saving_share * now {
            break;
        }
        let shape = candidates.swap_remove(at);
        library.push(shape.clone());
        let uses = |demand: &&ObservedDemand| cheapest(&demand.peak, &library).is_some_and(|of| of.name == shape.name);
        let replicas = demands.iter().filter(uses).map(|demand| demand.replicas).sum();
        proposals.push(Proposal { shape, saving_micros_per_h: saving as Micros, saving_share: saving / now, replicas });
    }
    proposals
}

/// What an hour of the demand costs with the cheapest shapes of a library that hold it. What none holds costs nothing here:
/// it cannot run, with or without a proposal that does not hold it either.
#[must_use]
pub fn cost_micros_per_h(demands: &[ObservedDemand], library: &[Shape]) -> f64 {
    let of = demands.iter().filter_map(|demand| {
        let shape = cheapest(&demand.peak, library)?;
        Some(demand.replicas.max(0.0) * shape.price_micros_per_h as f64)
    });
    of.sum()
}

fn cheapest<'a>(need: &Amounts, library: &'a [Shape]) -> Option<&'a Shape> {
    let holds = library.iter().filter(|shape| shape.offers.holds(need) * shape.performance >= 1.0);
    holds.min_by(|a, b| a.price_micros_per_h.cmp(&b.price_micros_per_h).then(a.name.cmp(&b.name)))
}

/// Clusters of like proportions, for every number of clusters that is tried.
fn clusters(demands: &[ObservedDemand], seed: u64) -> Vec<Vec<ObservedDemand>> {
    let rows: Vec<Vec<f64>> =
        demands.iter().map(|demand| demand.peak.as_array().map(|amount| amount.max(0.0).ln_1p()).to_vec()).collect();
    let mut found = vec![demands.to_vec()];
    found.retain(|members| !members.is_empty());
    for k in 2..=MAX_CLUSTERS.min(demands.len()) {
        let Ok(matrix) = DenseMatrix::from_2d_vec(&rows) else { break };
        let mut parameters = KMeansParameters::default().with_k(k).with_max_iter(MAX_PASSES);
        parameters.seed = Some(seed);
        // What cannot be clustered, as when all rows are one, has the clusters that were found before.
        let Ok(model) = KMeans::<f64, i32, DenseMatrix<f64>, Vec<i32>>::fit(&matrix, parameters) else { break };
        let Ok(labels) = model.predict(&matrix) else { break };
        for label in 0..k {
            let of = demands.iter().zip(&labels).filter(|(_, of)| usize::try_from(**of) == Ok(label));
            let members: Vec<ObservedDemand> = of.map(|(demand, _)| *demand).collect();
            if !members.is_empty() {
                found.push(members);
            }
        }
    }
    found
}

/// The smallest shape on the grid that holds nearly all of a cluster in each resource.
fn held_by(members: &[ObservedDemand], price: &impl Fn(&Amounts) -> Micros) -> Shape {
    let mut offers = [0.0; 6];
    for (resource, offer) in offers.iter_mut().enumerate() {
        let mut amounts: Vec<f64> = members.iter().map(|demand| demand.peak.as_array()[resource].max(0.0)).collect();
        amounts.sort_by(f64::total_cmp);
        let at = ((HELD * amounts.len() as f64).ceil() as usize).clamp(1, amounts.len()) - 1;
        *offer = (amounts[at] / GRID[resource]).ceil() * GRID[resource];
    }
    let offers = Amounts::from_array(offers);
    let name = format!("g-{:.0}m-{:.0}Mi", offers.cpu_milli, offers.memory_mib);
    Shape { name, offers, price_micros_per_h: price(&offers), performance: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(cores: f64, gib: f64) -> Amounts {
        Amounts { cpu_milli: 1_000.0 * cores, memory_mib: 1_024.0 * gib, ..Amounts::default() }
    }

    fn price(offers: &Amounts) -> Micros {
        (offers.cpu_milli * 30.0 + offers.memory_mib * 4.0) as Micros
    }

    fn library() -> Vec<Shape> {
        let of = |name: &str, cores: f64| {
            let offers = amounts(cores, 4.0 * cores);
            Shape { name: name.to_owned(), offers, price_micros_per_h: price(&offers), performance: 1.0 }
        };
        vec![of("Small", 1.0), of("Medium", 2.0), of("Large", 4.0), of("XL", 8.0)]
    }

    /// Half of them take memory and hardly a core, the others fit Medium.
    fn demands() -> Vec<ObservedDemand> {
        let of = |i: usize| {
            let more = 0.01 * (i % 7) as f64;
            let peak = if i.is_multiple_of(2) { amounts(0.4 + more, 14.0 + more) } else { amounts(1.9, 7.9) };
            ObservedDemand { peak, replicas: 3.0 }
        };
        (0..60).map(of).collect()
    }

    #[test]
    fn a_shape_is_proposed_for_what_the_library_serves_badly_with_its_true_saving() {
        let proposals = propose_shapes(&demands(), &library(), price, 0.02, 1);
        assert_eq!(proposals.len(), 1, "{proposals:?}");
        let of = &proposals[0];
        assert_eq!(of.replicas, 90.0);
        assert!(of.shape.offers.cpu_milli <= 500.0 && of.shape.offers.memory_mib >= 14.0 * 1_024.0, "{of:?}");
        let with: Vec<Shape> = library().into_iter().chain([of.shape.clone()]).collect();
        let saved = cost_micros_per_h(&demands(), &library()) - cost_micros_per_h(&demands(), &with);
        assert_eq!(of.saving_micros_per_h, saved as Micros);
        assert_eq!(proposals, propose_shapes(&demands(), &library(), price, 0.02, 1));
    }

    #[test]
    fn nothing_is_proposed_where_the_library_fits_or_nothing_is_known() {
        let fitting: Vec<ObservedDemand> =
            (0..20).map(|_| ObservedDemand { peak: amounts(2.0, 8.0), replicas: 1.0 }).collect();
        assert_eq!(propose_shapes(&fitting, &library(), price, 0.01, 1), []);
        assert_eq!(propose_shapes(&[], &library(), price, 0.01, 1), []);
    }
}
