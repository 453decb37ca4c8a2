//! Shared queues: named, unbounded, one consumer each (the root that registered last).
//!
//! An enqueue posts `proxy_on_queue_ready` to the consumer; in Envoy that runs later on the consumer's thread,
//! here in the next [`crate::Process::advance`]. A consumer that is gone loses the post, not the data.
//!
//! Source: cpp-host `shared_queue.cc`.

use std::collections::{BTreeMap, VecDeque};

use crate::RootId;

#[derive(Debug, Default)]
pub(crate) struct SharedQueues {
    tokens: BTreeMap<(String, Vec<u8>), u32>,
    queues: BTreeMap<u32, Queue>,
    posts: VecDeque<(RootId, u32)>,
}

#[derive(Debug)]
struct Queue {
    consumer: RootId,
    items: VecDeque<Vec<u8>>,
}

impl SharedQueues {
    /// Makes `consumer` the consumer of the queue, which is created if need be, and gives its token.
    pub(crate) fn register(&mut self, vm_id: &str, name: Vec<u8>, consumer: RootId) -> u32 {
        let fresh = self.queues.len() as u32 + 1;
        let token = *self.tokens.entry((vm_id.to_owned(), name)).or_insert(fresh);
        self.queues.entry(token).or_insert_with(|| Queue { consumer, items: VecDeque::new() }).consumer = consumer;
        token
    }

    pub(crate) fn resolve(&self, vm_id: String, name: Vec<u8>) -> Option<u32> {
        self.tokens.get(&(vm_id, name)).copied()
    }

    /// False when there is no such queue.
    pub(crate) fn enqueue(&mut self, token: u32, item: Vec<u8>) -> bool {
        let Some(queue) = self.queues.get_mut(&token) else {
            return false;
        };
        queue.items.push_back(item);
        self.posts.push_back((queue.consumer, token));
        true
    }

    /// None when there is no such queue, `Some(None)` when it is empty.
    pub(crate) fn dequeue(&mut self, token: u32) -> Option<Option<Vec<u8>>> {
        Some(self.queues.get_mut(&token)?.items.pop_front())
    }

    pub(crate) fn next_post(&mut self) -> Option<(RootId, u32)> {
        self.posts.pop_front()
    }
}
