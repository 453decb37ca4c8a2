//! The task that lists, then follows: it resumes after a connection that ended, lists anew where that cannot be, and waits ever
//! longer where nothing works. Whoever wants a list interrupts all of that.
//!
//! An end is as it should be when the time that was asked for is over; every other is a break, also one that looks like an end,
//! because a connection that is cut in the middle of an event ends the stream as quietly.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use kube::core::WatchEvent;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::super::cluster::{CallError, Calls};
use super::kept::{Event, Object};
use super::{Begun, Shared};

/// Pause after what failed; doubled each time up to the longest. Controllers of a cluster are few: nothing is drawn at random.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How much earlier than asked for an end may come.
const EARLY: Duration = Duration::from_millis(500);

/// How a watch ended.
enum End {
    /// As it should: its time was over.
    Due,
    /// It is taken up again where it ended.
    Broken(Option<CallError>),
    /// What comes after what is kept cannot be had any more.
    Lost,
}

/// Lists and follows for ever.
pub(super) async fn follow<T: Object>(shared: Arc<Shared<T>>, calls: Arc<Calls>) {
    let mut wanted = shared.wanted.subscribe();
    let mut pause = FIRST_PAUSE;
    loop {
        wanted.mark_unchanged();
        let begun = shared.begin();
        match calls.list(&shared.kind).await {
            Ok(listed) => shared.take_list(&begun, listed.items, listed.version),
            Err(error) => {
                shared.change(|state| state.failed = Some((begun.needed, error)));
                rest(&mut pause, &mut wanted).await;
                continue;
            }
        }
        loop {
            let news = shared.state().news;
            let end = tokio::select! {
                biased;
                _ = wanted.changed() => break,
                end = events(&shared, &calls) => end,
            };
            if shared.state().news > news {
                pause = FIRST_PAUSE;
            }
            match end {
                End::Due => {}
                End::Broken(error) => {
                    shared.change(|state| state.follows = Err(error));
                    if rest(&mut pause, &mut wanted).await {
                        break;
                    }
                }
                End::Lost => {
                    shared.change(|state| state.follows = Err(None));
                    rest(&mut pause, &mut wanted).await;
                    break;
                }
            }
        }
    }
}

/// Waits, each time longer; whether somebody wanted a list meanwhile.
async fn rest(pause: &mut Duration, wanted: &mut Receiver<()>) -> bool {
    let is_wanted = tokio::time::timeout(*pause, wanted.changed()).await.is_ok();
    *pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    is_wanted
}

impl<T: Object> Shared<T> {
    fn begin(&self) -> Begun {
        let state = self.state();
        Begun { needed: state.needed, written: state.written }
    }

    fn take_list(&self, begun: &Begun, items: Vec<T>, version: String) {
        self.change(|state| {
            state.kept.replace(items, version);
            state.listed = begun.needed;
            state.failed = None;
            state.follows = Ok(());
            state.news = Some(Instant::now());
            state.lists += 1;
            // The list began after what was written by then.
            if state.written == begun.written {
                state.written = None;
            }
        });
    }
}

/// Follows events from what is kept on, until they end.
async fn events<T: Object>(shared: &Shared<T>, calls: &Calls) -> End {
    let version = shared.state().kept.version().to_owned();
    // So that the end of a watch, which servers announce with a bookmark, is news in time.
    let lasts = Duration::from_secs((shared.news_within * 3 / 4).as_secs().max(1));
    let begun = Instant::now();
    let mut events = match calls.watch::<T>(&shared.kind, (&version, lasts)).await {
        Ok(events) => events,
        Err(CallError::Expired { .. }) => return End::Lost,
        Err(error) => return End::Broken(Some(error)),
    };
    loop {
        let event = match tokio::time::timeout(shared.news_within.max(lasts + EARLY), events.try_next()).await {
            Ok(Ok(Some(event))) => event,
            Ok(Ok(None)) if begun.elapsed() + EARLY >= lasts => return End::Due,
            // What cannot be read will not be readable the next time.
            Ok(Err(kube::Error::SerdeError(_) | kube::Error::Api(_))) => return End::Lost,
            Ok(Ok(None) | Err(_)) | Err(_) => return End::Broken(None),
        };
        let took = |event: Event<T>| shared.change(|state| state.kept.take(event));
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => drop(took(Event::Is(object))),
            WatchEvent::Deleted(object) => drop(took(Event::Gone(object))),
            WatchEvent::Bookmark(mark) => {
                shared.change(|state| state.kept.mark(&mark.metadata.resource_version));
            }
            WatchEvent::Error(_) => return End::Lost,
        }
        shared.change(|state| {
            state.news = Some(Instant::now());
            state.follows = Ok(());
        });
        calls.saw(&shared.kind.path, shared.state().kept.version());
    }
}
