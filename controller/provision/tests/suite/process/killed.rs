//! A controller that is really killed, at any moment: the test's own program, started again as the controller.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::{Generation, Target};
use forebay_provision::{InstanceManager, Order, Process};

use super::{Local, settings};
use crate::driver::Driver;
use crate::subject::{Subject, other, steady};

/// The folder of the outside; without it this program is a test.
const CONTROLLER: &str = "TEST_CONTROLLER";
/// Moments at which controllers are killed, in milliseconds after they were started: before, while and after they start
/// three instances.
const KILLED_AFTER_MS: [u64; 8] = [0, 2, 4, 6, 8, 12, 20, 60];

#[tokio::test]
async fn whenever_a_controller_is_killed_its_successor_goes_on() -> Result<()> {
    if let Ok(outside) = std::env::var(CONTROLLER) {
        return be_the_controller(Path::new(&outside)).await;
    }
    for killed_after_ms in KILLED_AFTER_MS {
        let mut subject = Local::set_up().await?;
        subject.manager = None;
        let mut controller = Command::new(std::env::current_exe()?)
            .args(["process::killed::whenever_a_controller_is_killed_its_successor_goes_on", "--exact"])
            .env(CONTROLLER, subject.outside.path())
            .stdout(Stdio::null())
            .spawn()?;
        tokio::time::sleep(Duration::from_millis(killed_after_ms)).await;
        controller.kill()?;
        controller.wait()?;
        subject.open()?;
        let mut driver = Driver::of(subject);
        driver.order(&[(steady(), 2), (other(), 1)]).await?;
        driver.settle().await.with_context(|| format!("killed after {killed_after_ms} ms"))?;
        let started = (driver.subject.ever_started(&steady()), driver.subject.ever_started(&other()));
        ensure!(started == (2, 1), "killed after {killed_after_ms} ms: {started:?} were started");
        driver.order(&[]).await?;
        driver.settle().await?;
        driver.nothing_runs().await?;
    }
    Ok(())
}

async fn be_the_controller(outside: &Path) -> Result<()> {
    let manager = Process::open(settings(outside)?)?;
    let targets = [(steady(), 2), (other(), 1)];
    let targets = targets.map(|(group, count)| Target { group, count }).to_vec();
    manager.apply(&Order { generation: Generation { epoch: 1, sequence: 0 }, targets, ..Order::default() }).await?;
    loop {
        manager.observe().await?;
    }
}
