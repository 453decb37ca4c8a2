//! Whether this controller should be asked: `/readyz` for anything, `/readyz/capacity` for capacity.
//!
//! A controller that stands down for a newer one is ready and says that it stands by, as the standbys of Kubernetes' own
//! controllers, of Karpenter and of KEDA do: a Deployment of two would otherwise never be available, and its rollouts would
//! hang. It knows plans and forecasts as well as the other does. What it may not promise (`/v1/allocations`) it refuses by
//! itself; `/readyz/capacity` is for balancers that would rather not ask it.

use axum::http::StatusCode;

use crate::capacity::standing::StoodDown;
use crate::state::{Shared, lock};

/// 200 once history is open and the first plan is published, else 503; with the reason.
pub(crate) fn readiness(shared: &Shared) -> (StatusCode, String) {
    if shared.table.borrow().is_none() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the first plan is not published yet".to_owned());
    }
    let said = stands_by(shared).map_or_else(|| "ready".to_owned(), |why| format!("ready, and standing by: {why}"));
    (StatusCode::OK, said)
}

/// 503 while a newer controller keeps the capacity, too.
pub(crate) fn capacity_readiness(shared: &Shared) -> (StatusCode, String) {
    match (readiness(shared), stands_by(shared)) {
        ((StatusCode::OK, _), Some(why)) => (StatusCode::SERVICE_UNAVAILABLE, why),
        (said, _) => said,
    }
}

fn stands_by(shared: &Shared) -> Option<String> {
    let StoodDown { taken, .. } = lock(&shared.capacity.view).stood_down?;
    Some(format!("a newer controller keeps the capacity: order {taken} was taken"))
}
