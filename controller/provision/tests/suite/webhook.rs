//! The row of `webhook`, against a receiver as the protocol asks for ([`receiver`]), whose network and honesty can be spoilt.

mod answers;
mod openapi;
pub(crate) mod receiver;
mod tls;

use std::sync::MutexGuard;
use std::time::Duration;

use anyhow::Result;
use forebay_plan::capacity::Group;
use forebay_provision::protocol::ObserveAnswer;
use forebay_provision::{Manager, Retries, TlsSettings, Webhook, WebhookSettings};

use crate::conformance::conforms;
use crate::subject::{Fault, Noticed, Remote, Scattered, Subject};
use receiver::{Receiver, State, locked, secret};

conforms!(Remotely: all, remote, noticed, scattered);

const NOW_S: u64 = 1_800_000_000;

/// The manager, and the receiver that it speaks to.
pub(crate) struct Remotely {
    manager: Manager,
    receiver: Receiver,
}

impl Remotely {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.receiver.state)
    }
}

/// Longest that a try takes where one that hangs is to be given up.
const TRY_WITHIN: Duration = Duration::from_secs(2);
/// As long as three tries may take at most: for who asks what is answered, and not how soon.
const PATIENTLY: Duration = Duration::from_secs(9);

fn settings(receiver: &Receiver) -> WebhookSettings {
    WebhookSettings {
        url: format!("http://{}", receiver.address),
        tls: TlsSettings::default(),
        secret: secret(),
        retries: Retries {
            most_tries: 3,
            try_within: TRY_WITHIN,
            first_pause: Duration::from_millis(2),
            most_pause: Duration::from_millis(8),
        },
        seed: 1,
    }
}

/// Settings for what takes long on a loaded machine, such as answers that are as long as they may be.
fn patient(receiver: &Receiver) -> WebhookSettings {
    let settings = settings(receiver);
    WebhookSettings { retries: Retries { try_within: PATIENTLY, ..settings.retries }, ..settings }
}

fn manager(settings: WebhookSettings) -> Result<Manager> {
    Ok(Manager::Webhook(Box::new(Webhook::new(settings, || NOW_S)?)))
}

impl Subject for Remotely {
    type Manager = Manager;

    async fn set_up() -> Result<Self> {
        let receiver = Receiver::start(NOW_S).await?;
        Ok(Self { manager: manager(settings(&receiver))?, receiver })
    }

    fn manager(&self) -> &Manager {
        &self.manager
    }

    async fn restart(&mut self) -> Result<()> {
        self.manager = manager(settings(&self.receiver))?;
        Ok(())
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn hold_starts(&self, group: &Group, is_held: bool) {
        self.state().fleet.hold_starts(group, is_held);
    }

    fn refuse_starts(&self, group: &Group, is_refused: bool) {
        self.state().fleet.refuse_starts(group, is_refused);
    }

    fn take_away(&self, id: &str) {
        self.state().fleet.take_away(id);
    }

    fn running(&self, group: &Group) -> usize {
        self.state().fleet.running(group)
    }

    fn ever_started(&self, group: &Group) -> usize {
        self.state().fleet.ever_started(group)
    }
}

impl Remote for Remotely {
    fn fault_next(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    fn keep_view(&self) {
        let mut state = self.state();
        let (observed, revision) = (state.fleet.observe(), state.revision);
        state.old_view = Some(ObserveAnswer {
            request: String::new(),
            revision,
            generation: observed.generation.map(Into::into),
            instances: observed.instances.into_iter().map(Into::into).collect(),
            unreachable: observed.unreachable,
        });
    }

    fn show_old_view(&self) {
        self.state().shows_old_view = true;
    }
}

impl Scattered for Remotely {
    fn lose(&self, pool: &str, is_lost: bool) {
        self.state().fleet.lose(pool, is_lost);
    }
}

impl Noticed for Remotely {
    fn announce(&self, id: &str) {
        self.state().fleet.announce(id);
    }
}
