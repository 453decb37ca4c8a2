//! The recurrent network as a model of one series: the median of what the network says.
//!
//! Where a network is given that was trained on many series ([`Globals`]), it is used as it is, and a fit costs nothing.
//! It is refused where it was trained on what comes after the fit: a backtest that asks a network about what it has seen
//! praises it for its memory. Where none is given, a small one is trained on this series alone, within a fixed number of
//! steps: dear for what it gives, and there for comparison.
//!
//! A fitted model keeps the network that it was fitted with (about 80 kB when stored; in memory it is shared), so that
//! it goes on forecasting the same when a newer one is trained.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::lag_features::Shape;
use super::{Globals, Model};
use crate::error::ModelError;
use crate::history::History;
use crate::network::{GlobalNetwork, NetworkSettings};

/// The name in errors.
const NAME: &str = "lstm";
/// The network for one series alone: 150 steps of 16 windows of two days of hours, about 1 GFLOP.
const ALONE: NetworkSettings = NetworkSettings {
    horizon_steps: 1,
    hidden: 16,
    window_steps: 48,
    batch: 16,
    steps: 150,
    learning_rate: 1e-2,
    seed: 20_260_403,
};

/// A series' view of a network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Lstm {
    shape: Shape,
    #[serde(with = "shared")]
    network: Arc<GlobalNetwork>,
}

impl Lstm {
    pub(super) fn fit(
        globals: &Globals,
        history: &History,
        end: usize,
        horizon_steps: usize,
    ) -> Result<Self, ModelError> {
        let network = match &globals.network {
            Some(network) => {
                let refused = |message: String| Err(ModelError::NotEstimated { model: NAME, message });
                let (until_s, end_s, leads) = (network.trained_until_s(), history.at_s(end), network.horizon_steps());
                if until_s > end_s {
                    return refused(format!("the network was trained until {until_s}, this fit ends at {end_s}"));
                }
                if leads < horizon_steps {
                    return refused(format!("the network forecasts {leads} steps, {horizon_steps} are wanted"));
                }
                Arc::clone(network)
            }
            None => Arc::new(GlobalNetwork::train_on(&[(history, end)], &NetworkSettings { horizon_steps, ..ALONE })?),
        };
        Ok(Self { shape: Shape::of(history, end), network })
    }
}

impl Model for Lstm {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        self.network
            .medians(history, &self.shape, &[origin], out.len(), &mut |_, medians| out.copy_from_slice(medians));
    }

    fn roll(&self, history: &History, origins: &[usize], steps: usize, visit: &mut dyn FnMut(usize, &mut [f64])) {
        self.network.medians(history, &self.shape, origins, steps, visit);
    }
}

/// Stores what is shared by value.
mod shared {
    use super::{Arc, Deserialize, GlobalNetwork, Serialize};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(network: &Arc<GlobalNetwork>, serializer: S) -> Result<S::Ok, S::Error> {
        network.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<GlobalNetwork>, D::Error> {
        GlobalNetwork::deserialize(deserializer).map(Arc::new)
    }
}
