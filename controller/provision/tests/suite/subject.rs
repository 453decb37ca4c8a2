//! What the suite needs of a manager under test: the manager, and the knobs of the outside that it talks to.
//!
//! The outside is whatever really starts instances: the machine's processes, an API server, a receiver of orders. The
//! suite turns its knobs, and counts there what really exists, because a manager may be wrong about that.
//!
//! Three groups are known to every subject ([`steady`], [`other`], [`limited`]); any other is unknown to it.

use anyhow::Result;
use forebay_plan::capacity::Group;
use forebay_provision::InstanceManager;

/// How many instances of [`limited`] there may be.
pub(crate) const LIMIT: u32 = 2;

/// A group whose instances come, unless a knob says otherwise.
pub(crate) fn steady() -> Group {
    group("web", "reserved", "Small")
}

/// Another one, of another pool and shape.
pub(crate) fn other() -> Group {
    group("web", "spot", "Large")
}

/// One of which there may be [`LIMIT`] at once, by configuration or by a quota outside.
pub(crate) fn limited() -> Group {
    group("batch", "reserved", "Small")
}

/// One that no subject knows.
pub(crate) fn unknown() -> Group {
    group("nobody", "nowhere", "Small")
}

fn group(service: &str, pool: &str, shape: &str) -> Group {
    Group { service: service.to_owned(), pool: pool.to_owned(), shape: shape.to_owned() }
}

/// What happens to the next call that reaches for the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never arrives; the manager sees its connection end.
    RequestLost,
    /// It is carried out, and the answer never comes back.
    AnswerLost,
    /// It arrives twice, one after the other.
    Twice,
    /// It is kept back, seems lost, and arrives after the call that follows it.
    Late,
    /// Nothing ever answers it.
    Hangs,
    /// It is answered as if it were carried out, and is not.
    Lies,
}

/// A manager under test. Nothing here waits: what takes time happens while the suite calls [`pause`](Self::pause).
pub(crate) trait Subject: Sized {
    /// The manager.
    type Manager: InstanceManager;

    /// Whether its outside is on this machine; where it is not, it says so itself, and nothing is tested.
    fn is_there() -> bool {
        true
    }

    /// How much longer than usual anything may take, where the outside is more than a test has under its hand.
    fn slowness() -> u32 {
        1
    }

    /// Whether what an order took may serve on when a later one asks for more again: where the outside acts on its own, it may
    /// not have begun to end it.
    fn takes_back() -> bool {
        false
    }

    /// An empty outside, and a manager that has taken no order.
    async fn set_up() -> Result<Self>;

    /// The manager under test.
    fn manager(&self) -> &Self::Manager;

    /// Kills the manager without a farewell and makes it anew from what it stored; the outside goes on meanwhile.
    async fn restart(&mut self) -> Result<()>;

    /// Lets a short moment go by: a step of a manual clock, or a few milliseconds of the real one.
    async fn pause(&self);

    /// While held, instances of `group` that were started, or will be, do not become ready.
    fn hold_starts(&self, group: &Group, is_held: bool);

    /// While refused, the outside starts no instance of `group`, and says so at once.
    fn refuse_starts(&self, group: &Group, is_refused: bool);

    /// Ends an instance as a crash or a spot market does, without a notice.
    fn take_away(&self, id: &str);

    /// How many instances of `group` really exist, seen without the manager.
    fn running(&self, group: &Group) -> usize;

    /// How many instances of `group` were ever started, seen without the manager.
    fn ever_started(&self, group: &Group) -> usize;
}

/// A subject that talks to its outside over a network.
pub(crate) trait Remote: Subject {
    /// What happens to the next call.
    fn fault_next(&self, fault: Fault);

    /// From now on what can be seen of the outside is kept, for [`show_old_view`](Self::show_old_view).
    fn keep_view(&self);

    /// The next look at the outside, or event from it, is the one that was kept: it comes out of order.
    fn show_old_view(&self);
}

/// A subject whose pools are in several places, each of which may be out of sight by itself.
pub(crate) trait Scattered: Subject {
    /// While lost, the pool is not seen; what is there goes on.
    fn lose(&self, pool: &str, is_lost: bool);
}

/// A subject whose outside tells beforehand what it will take away.
pub(crate) trait Noticed: Subject {
    /// Announces that the instance will be taken away; it serves until then.
    fn announce(&self, id: &str);
}
