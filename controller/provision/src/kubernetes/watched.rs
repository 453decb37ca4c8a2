//! Objects of one kind, listed once and watched from then on, so that a look costs what changed and not what there is.
//!
//! The intuition: a task lists, then follows the events after that list (`watched/following.rs`); who looks reads what is kept
//! (`watched/kept.rs`) if it can be trusted to be as new as a list would be, and else has the task list again and waits for it.
//! Only the task writes, so a list and events never have to be merged.
//!
//! What is kept is trusted while all of this holds:
//! - the events are followed: a connection that broke may have missed a deletion, until something comes over the next one;
//! - something came, an event or a bookmark, within
//!   [`KubernetesSettings::news_within`](super::KubernetesSettings::news_within): a connection that is silently dead tells
//!   nothing, and a server tells at least how far it is;
//! - every own write is in it: the version that the server answered was seen, or is waited for [`CAUGHT_UP_WITHIN`];
//! - no own write is in doubt: one that was not answered, or met somebody else's, may have changed anything.
//!
//! So a look never answers from before an own write, and where following does not work, for want of the right to it or of a
//! connection, each look lists, as if nobody watched. Only where that fails too is the cluster unreachable.
//!
//! Why not `kube-runtime`, whose `reflector` is much of this: its `watcher` swallows bookmarks and the versions of lists, so
//! neither silence nor whether an own write was seen can be told from its events, and it brings 16 crates. The framing and
//! decoding of events is `kube`'s (`Client::request_events`).
//!
//! Sources: kubernetes.io, "Efficient detection of changes"; KEP-2340 (consistent reads from a cache: wait until it is as new,
//! for a limited time, else read from the source); KEP-5504 (versions can be compared).

mod following;
mod kept;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cluster::{CallError, Calls, Kind};

pub(super) use self::kept::{Kept, Object};

/// Longest that an own write is waited for among the events: what takes longer is listed.
const CAUGHT_UP_WITHIN: Duration = Duration::from_millis(500);

/// Objects of one kind in one cluster.
pub(super) struct Watched<T> {
    shared: Arc<Shared<T>>,
    /// Ends with this.
    _following: JoinSet<()>,
}

struct Shared<T> {
    kind: Kind,
    news_within: Duration,
    state: Mutex<State<T>>,
    /// Moves whenever the state does.
    changed: watch::Sender<()>,
    /// Moves when a list is wanted.
    wanted: watch::Sender<()>,
}

struct State<T> {
    kept: Kept<T>,
    /// Lists that were found to be needed, counted; and the count that the last list answered.
    needed: u64,
    listed: u64,
    /// The last list that failed, with the count that it was to answer.
    failed: Option<(u64, CallError)>,
    /// Whether events come, as far as is known, and why not.
    follows: Result<(), Option<CallError>>,
    /// When something came last.
    news: Option<Instant>,
    /// The newest version of an own write.
    written: Option<u64>,
    lists: u64,
}

/// How far a list goes that begins now.
struct Begun {
    needed: u64,
    written: Option<u64>,
}

impl<T> State<T> {
    fn is_trusted(&self, news_within: Duration) -> bool {
        self.listed >= self.needed && self.follows.is_ok() && self.news.is_some_and(|news| news.elapsed() < news_within)
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State<T>) -> R) -> R {
        let outcome = change(&mut self.state());
        self.changed.send_replace(());
        outcome
    }

    /// Waits until `is_so`; whether it came to that in time.
    async fn until(&self, within: Duration, mut is_so: impl FnMut(&State<T>) -> bool) -> bool {
        let mut changed = self.changed.subscribe();
        let comes = async {
            while !is_so(&self.state()) {
                // Its sender is here.
                let _ = changed.changed().await;
            }
        };
        tokio::time::timeout(within, comes).await.is_ok()
    }
}

/// Who is told of own writes.
pub(super) trait Written: Sync {
    /// An own write was answered, with this version.
    fn wrote(&self, version: &str);

    /// What is kept may be older than an own write, or than what it met.
    fn doubt(&self);
}

impl<T: Object> Written for Watched<T> {
    fn wrote(&self, version: &str) {
        match kept::number(version) {
            Some(version) => self.shared.change(|state| state.written = state.written.max(Some(version))),
            None => self.doubt(),
        }
    }

    fn doubt(&self) {
        self.shared.change(|state| state.needed += 1);
    }
}

impl<T: Object> Watched<T> {
    /// Begins to list and follow, on the runtime that this is called on.
    pub(super) fn follow(kind: Kind, calls: &Arc<Calls>, news_within: Duration) -> Self {
        let state = State {
            kept: Kept::default(),
            needed: 1,
            listed: 0,
            failed: None,
            follows: Err(None),
            news: None,
            written: None,
            lists: 0,
        };
        let (changed, wanted) = (watch::Sender::new(()), watch::Sender::new(()));
        let shared = Arc::new(Shared { kind, news_within, state: Mutex::new(state), changed, wanted });
        let mut following = JoinSet::new();
        following.spawn(following::follow(Arc::clone(&shared), Arc::clone(calls)));
        Self { shared, _following: following }
    }

    /// What there is, no older than any own write before.
    pub(super) async fn look(&self) -> Result<Vec<Arc<T>>, CallError> {
        let has_own = |state: &State<T>| state.written.is_none_or(|written| state.kept.reaches(written));
        let is_trusted = self.shared.state().is_trusted(self.shared.news_within);
        if !is_trusted || !self.shared.until(CAUGHT_UP_WITHIN, has_own).await {
            self.list().await?;
        }
        Ok(self.shared.state().kept.objects().cloned().collect())
    }

    /// Waits until what is kept is as `is_so` says; whether it came to that within the time that an own write is given.
    pub(super) async fn comes_to(&self, within: Option<Duration>, mut is_so: impl FnMut(&Kept<T>) -> bool) -> bool {
        self.shared.until(within.unwrap_or(CAUGHT_UP_WITHIN), |state| is_so(&state.kept)).await
    }

    /// What is kept, read in place.
    pub(super) fn with<R>(&self, read: impl FnOnce(&Kept<T>) -> R) -> R {
        read(&self.shared.state().kept)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &str {
        &self.shared.kind.path
    }

    /// How it stands: what is watched, the version that is kept, how many objects, lists so far, and why it is not followed.
    pub(super) fn standing(&self) -> super::Watching {
        let state = self.shared.state();
        super::Watching {
            operation: self.shared.kind.operation,
            version: state.kept.version().to_owned(),
            objects: state.kept.objects().len(),
            lists: state.lists,
            hindered: state.follows.clone().err().flatten().map(|error| error.to_string()),
        }
    }

    /// Has the task list, and waits for it.
    async fn list(&self) -> Result<(), CallError> {
        let needed = self.shared.change(|state| {
            if state.listed >= state.needed {
                state.needed += 1;
            }
            state.failed = None;
            state.needed
        });
        self.shared.wanted.send_replace(());
        let mut outcome = Ok(());
        // Each request of a list has its limit of time; who asked has one for the whole.
        self.shared
            .until(Duration::MAX, |state| {
                let failed = state.failed.as_ref().filter(|(answered, _)| *answered >= needed);
                outcome = failed.map_or(Ok(()), |(_, error)| Err(error.clone()));
                state.listed >= needed || outcome.is_err()
            })
            .await;
        outcome
    }
}
