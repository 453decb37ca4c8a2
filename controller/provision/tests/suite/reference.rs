//! The fleet as its own manager: shows that the suite can be passed, and that it notices managers that are wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use forebay_plan::capacity::{Group, InstanceState};
use forebay_provision::{Applied, InstanceManager, Observed, Order, ProvisionError};

use crate::conformance::{conforms, crashes, interruptions, orders, regions, scaling_down, starts};
use crate::fleet::Fleet;
use crate::subject::{Noticed, Scattered, Subject};

conforms!(Reference<NOTHING>: all, noticed, scattered);

/// What is wrong with a manager.
const NOTHING: u8 = 0;
const FORGETS_ORDERS: u8 = 1;
const STARTS_AGAIN: u8 = 2;
const STOPS_ANYTHING: u8 = 3;
const HIDES_GONE: u8 = 4;
const HIDES_LOST: u8 = 5;

// Some are found by what never comes, which takes as long as anything may take: time is moved on for it.
#[tokio::test(start_paused = true)]
async fn wrong_managers_are_found_out() {
    assert!(orders::older_orders_are_refused::<Reference<FORGETS_ORDERS>>().await.is_err());
    assert!(starts::what_starts_counts::<Reference<STARTS_AGAIN>>().await.is_err());
    assert!(orders::saying_it_twice_changes_nothing::<Reference<STARTS_AGAIN>>().await.is_err());
    assert!(crashes::killed_anywhere_nothing_is_doubled_or_orphaned::<Reference<STARTS_AGAIN>>().await.is_err());
    assert!(scaling_down::ready_ones_stay_while_others_can_go::<Reference<STOPS_ANYTHING>>().await.is_err());
    assert!(interruptions::what_was_taken_away_is_replaced::<Reference<HIDES_GONE>>().await.is_err());
    assert!(regions::what_cannot_be_seen_stays::<Reference<HIDES_LOST>>().await.is_err());
}

/// A manager and its outside in one.
pub(crate) struct Reference<const WRONG: u8>(Keeper<WRONG>);

/// The manager.
pub(crate) struct Keeper<const WRONG: u8>(Arc<Mutex<Fleet>>);

impl<const WRONG: u8> Keeper<WRONG> {
    fn locked(&self) -> MutexGuard<'_, Fleet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const WRONG: u8> InstanceManager for Keeper<WRONG> {
    async fn observe(&self) -> Result<Observed, ProvisionError> {
        let mut observed = self.locked().observe();
        if WRONG == HIDES_GONE {
            observed.instances.retain(|instance| instance.state != InstanceState::Gone);
        }
        if WRONG == HIDES_LOST {
            let lost = std::mem::take(&mut observed.unreachable);
            observed.instances.retain(|instance| !lost.contains(&instance.group.pool));
        }
        Ok(observed)
    }

    async fn apply(&self, order: &Order) -> Result<Applied, ProvisionError> {
        let mut fleet = self.locked();
        match WRONG {
            FORGETS_ORDERS => fleet.forget_generation(),
            STARTS_AGAIN => fleet.forget_starts(),
            STOPS_ANYTHING => fleet.stops_ready_first = true,
            _ => {}
        }
        fleet.apply(order).map_err(|taken| ProvisionError::StaleGeneration { asked: order.generation, taken })
    }
}

impl<const WRONG: u8> Subject for Reference<WRONG> {
    type Manager = Keeper<WRONG>;

    async fn set_up() -> Result<Self> {
        Ok(Self(Keeper(Arc::default())))
    }

    fn manager(&self) -> &Self::Manager {
        &self.0
    }

    async fn restart(&mut self) -> Result<()> {
        self.0 = Keeper(Arc::clone(&self.0.0));
        Ok(())
    }

    async fn pause(&self) {
        // A wrong one runs into deadlines, on time that is only moved on: a few steps are enough for it.
        tokio::time::sleep(Duration::from_millis(if WRONG == NOTHING { 1 } else { 1_000 })).await;
    }

    fn hold_starts(&self, group: &Group, is_held: bool) {
        self.0.locked().hold_starts(group, is_held);
    }

    fn refuse_starts(&self, group: &Group, is_refused: bool) {
        self.0.locked().refuse_starts(group, is_refused);
    }

    fn take_away(&self, id: &str) {
        self.0.locked().take_away(id);
    }

    fn running(&self, group: &Group) -> usize {
        self.0.locked().running(group)
    }

    fn ever_started(&self, group: &Group) -> usize {
        self.0.locked().ever_started(group)
    }
}

impl<const WRONG: u8> Scattered for Reference<WRONG> {
    fn lose(&self, pool: &str, is_lost: bool) {
        self.0.locked().lose(pool, is_lost);
    }
}

impl<const WRONG: u8> Noticed for Reference<WRONG> {
    fn announce(&self, id: &str) {
        self.0.locked().announce(id);
    }
}
