//! What happens to a process from outside the request path: time passes, calls are answered.
//!
//! Ticks fire in the order of their due time, those due at one moment in the order in which they were armed.
//! As in Envoy a timer is armed again after its callback has returned. Enqueued items reach their consumers
//! before the next tick.

use std::time::Duration;

use crate::vm::Root;
use crate::{Answer, HostError, HttpCall, Process, RootId};

impl Process {
    /// Moves both clocks forward and fires what falls due on the way. A trap fails its VM and everything else
    /// goes on; the first one is returned at the end.
    pub fn advance(&mut self, by: Duration) -> Result<(), HostError> {
        self.begin();
        let by_ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = self.clock().steady_ns.saturating_add(by_ns);
        let mut first_trap = Ok(());
        loop {
            let posted = self.deliver_posts();
            first_trap = first_trap.and(posted);
            let Some((due_ns, root)) = self.next_tick().filter(|(due_ns, _)| *due_ns <= until_ns) else {
                break;
            };
            self.world_mut().clock.move_to(due_ns);
            let ticked = self.tick(root);
            first_trap = first_trap.and(ticked);
        }
        self.world_mut().clock.move_to(until_ns);
        first_trap
    }

    /// Steady time of the next tick, ns; none if no timer is armed.
    pub fn next_tick_ns(&self) -> Option<u64> {
        self.next_tick().map(|(due_ns, _)| due_ns)
    }

    /// Steps the wall clock, as a clock correction does; the steady clock and the timers do not notice.
    pub fn set_wall_clock(&mut self, wall_ns: u64) {
        self.world_mut().clock.wall_ns = wall_ns;
    }

    fn next_tick(&self) -> Option<(u64, RootId)> {
        let live = self.vms.iter().filter(|(_, vm)| vm.failed.is_none());
        let armed = live.flat_map(|(vm, found)| {
            let due = |(context, root): (&u32, &Root)| Some((root.due?, RootId { vm: *vm, context: *context }));
            found.state().roots.iter().filter_map(due)
        });
        armed.min().map(|((due_ns, _), root)| (due_ns, root))
    }

    fn tick(&mut self, root: RootId) -> Result<(), HostError> {
        if let Some(timer) = self.root_mut(root) {
            timer.due = None;
        }
        self.enter(root.vm, root.context, "proxy_on_tick", |e| &e.on_tick, root.context)?;
        let now_ns = self.clock().steady_ns;
        let arming = self.world_mut().next_arming();
        if let Some(timer) = self.root_mut(root) {
            let period_ns = u64::from(timer.tick_period_ms) * 1_000_000;
            timer.due = (period_ns > 0).then(|| (now_ns.saturating_add(period_ns), arming));
        }
        Ok(())
    }

    fn deliver_posts(&mut self) -> Result<(), HostError> {
        let mut first_trap = Ok(());
        while let Some((root, token)) = self.world_mut().queues.next_post() {
            let alive = self.failed(root.vm).is_none() && self.root_mut(root).is_some();
            if alive {
                let params = (root.context, token);
                let ready = self.enter(root.vm, root.context, "proxy_on_queue_ready", |e| &e.on_queue_ready, params);
                first_trap = first_trap.and(ready.map(|_| ()));
            }
        }
        first_trap
    }

    /// Delivers the answer to a call. A timeout is answered with [`Answer::timeout`].
    pub fn answer(&mut self, call: &HttpCall, answer: Answer) -> Result<(), HostError> {
        self.deliver(call, Some(answer))
    }

    /// The call fails (connection refused, reset): delivered with zero headers, and no map to read.
    pub fn fail_call(&mut self, call: &HttpCall) -> Result<(), HostError> {
        self.deliver(call, None)
    }

    fn deliver(&mut self, call: &HttpCall, answer: Option<Answer>) -> Result<(), HostError> {
        self.begin();
        let (vm, token) = (call.vm, call.token);
        let context = self.world_mut().open_calls.remove(&(vm, token)).ok_or(HostError::NoSuchCall { vm, token })?;
        self.world_mut().calls.retain(|waiting| (waiting.vm, waiting.token) != (vm, token));
        let [headers, body, trailers] = answer.as_ref().map_or([0; 3], |answer| {
            [answer.headers.len() as u32, answer.body.len() as u32, answer.trailers.len() as u32]
        });
        self.live_vm(vm)?.state_mut().call_response = answer;
        let params = (context, token, headers, body, trailers);
        let delivered = self.drive(vm, context, "proxy_on_http_call_response", |e| &e.on_http_call_response, params);
        self.vm_mut(vm)?.state_mut().call_response = None;
        self.settle(vm);
        delivered.map(|_| ())
    }

    fn root_mut(&mut self, root: RootId) -> Option<&mut Root> {
        self.vms.get_mut(&root.vm)?.state_mut().roots.get_mut(&root.context)
    }
}
