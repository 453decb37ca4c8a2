//! What only processes do: ends that are ignored, crash loops, ids used again, records cut off, output without end.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::InstanceState;
use forebay_provision::{FailureKind, Observed, Ports, Process, ProvisionError};
use serde_json::Value;

use super::{Local, instance};
use crate::driver::{Driver, ready, state};
use crate::subject::{Subject, other, steady};

impl Driver<Local> {
    /// Changes the only record's file while no manager is there, as a crash at some point leaves it.
    fn crash_leaving<T>(&mut self, change: impl FnOnce(&mut Value) -> T) -> Result<T> {
        self.subject.manager = None;
        let folder = self.subject.folder().join("instances");
        let path = fs::read_dir(&folder)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "json"))
            .context("there is a record")?;
        let mut record = serde_json::from_slice(&fs::read(&path)?)?;
        let result = change(&mut record);
        fs::write(path, serde_json::to_vec(&record)?)?;
        self.subject.open()?;
        Ok(result)
    }

    /// Pauses until nothing of the steady group exists, seen from outside.
    pub(super) async fn nothing_runs(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.subject.running(&steady()) > 0 {
            ensure!(Instant::now() < deadline, "something still runs");
            self.subject.pause().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_process_whose_id_was_not_written_any_more_is_found() -> Result<()> {
    let mut driver = Driver::<Local>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    driver.crash_leaving(|record| {
        record["process"] = Value::Null;
        record["state"] = "requested".into();
    })?;
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 1);
    driver.order(&[]).await?;
    driver.settle().await?;
    ensure!(driver.subject.running(&steady()) == 0);
    Ok(())
}

#[tokio::test]
async fn a_record_whose_process_never_came_is_gone_and_made_good() -> Result<()> {
    let mut driver = Driver::<Local>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    let id = ready(&driver.settle().await?, &steady()).first().context("one is ready")?.clone();
    driver.subject.take_away(&id);
    driver.crash_leaving(|record| {
        record["process"] = Value::Null;
        record["state"] = "requested".into();
    })?;
    // It had been ready in this driver's eyes: only what comes now is looked at.
    driver.forget_seen();
    let observed = driver.settle().await?;
    ensure!(state(&observed, &id) == Some(InstanceState::Gone), "{observed:?}");
    Ok(())
}

#[tokio::test]
async fn another_process_with_the_same_id_is_neither_adopted_nor_ended() -> Result<()> {
    /// A process of somebody else's, which leads a group of its own.
    struct Stranger(Child);
    impl Drop for Stranger {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    use std::os::unix::process::CommandExt;
    let mut driver = Driver::<Local>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    let id = ready(&driver.settle().await?, &steady()).first().context("one is ready")?.clone();
    driver.subject.take_away(&id);
    let own_start = driver.crash_leaving(|record| record["process"]["start_ticks"].clone())?;
    // Starts are told apart by ticks of 10 ms; an id is not used again that soon.
    let mut stranger = loop {
        let stranger = Stranger(Command::new("sleep").arg("600").process_group(0).spawn()?);
        let stat = fs::read_to_string(format!("/proc/{}/stat", stranger.0.id()))?;
        if stat.split(' ').nth(21) != Some(own_start.to_string().as_str()) {
            break stranger;
        }
        driver.subject.pause().await;
    };
    let pid = stranger.0.id();
    driver.crash_leaving(|record| record["process"]["pid"] = pid.into())?;
    let observed = driver.observe().await?;
    ensure!(state(&observed, &id) == Some(InstanceState::Gone), "{observed:?}");
    driver.settle().await?;
    ensure!(stranger.0.try_wait()?.is_none(), "the stranger was ended");
    Ok(())
}

#[tokio::test]
async fn what_no_record_knows_is_ended() -> Result<()> {
    let mut driver = Driver::<Local>::set_up().await?;
    driver.order(&[(steady(), 2)]).await?;
    driver.settle().await?;
    driver.subject.manager = None;
    fs::remove_dir_all(driver.subject.folder().join("instances"))?;
    driver.subject.open()?;
    driver.order(&[]).await?;
    driver.settle().await?;
    driver.nothing_runs().await
}

#[tokio::test]
async fn one_controller_at_a_time_owns_a_folder() -> Result<()> {
    let local = Local::set_up().await?;
    let second = Process::open(local.settings.clone()).err().context("it is taken")?;
    ensure!(matches!(second, ProvisionError::Unreachable { .. }) && second.to_string().contains("another controller"));
    Ok(())
}

#[tokio::test]
async fn who_ignores_being_asked_is_ended_within_the_bound() -> Result<()> {
    let subject = Local::with(|settings| {
        for template in &mut settings.templates {
            // A shell that does not hear it, and neither do its children: the whole group is ended.
            let own = template.program.display().to_string();
            let script = format!(
                "trap '' TERM; {own} {} & while true; do wait; sleep 0.01; done",
                instance::ARGUMENTS.join(" ")
            );
            template.program = template.program.with_extension("shell");
            template.arguments = vec!["-c".to_owned(), script];
            template.drain.end_within_ms = 50;
        }
    });
    let mut driver = Driver::of(subject.and_then(|subject| {
        for group in [steady(), other()] {
            let shell = subject.program(&group).with_extension("shell");
            fs::remove_file(&shell)?;
            std::os::unix::fs::symlink("/bin/sh", shell)?;
            super::link(&subject.program(&group))?;
        }
        Ok(subject)
    })?);
    driver.order(&[(steady(), 1)]).await?;
    driver.until("it serves", |observed| ready(observed, &steady()).len() == 1).await?;
    driver.order(&[]).await?;
    driver.settle().await?;
    driver.nothing_runs().await
}

#[tokio::test]
async fn a_crash_loop_is_slowed_down_and_named() -> Result<()> {
    let subject = Local::with(|settings| {
        settings.backoff.first_ms = 3_600_000;
        settings.backoff.most_ms = 3_600_000;
        for template in settings.templates.iter_mut().filter(|template| template.service == steady().service) {
            template.arguments = vec!["--no-such-argument".to_owned()];
        }
    })?;
    let mut driver = Driver::of(subject);
    driver.order(&[(steady(), 1)]).await?;
    driver.until("it ended", |seen| seen.instances.iter().all(|one| one.state == InstanceState::Gone)).await?;
    for _ in 0..3 {
        let applied = driver.repeat().await?;
        let [failure] = applied.failures.as_slice() else { anyhow::bail!("{applied:?}") };
        ensure!(failure.kind == FailureKind::Failed && applied.started == 0, "{applied:?}");
        ensure!(failure.detail.contains("ended by itself"), "{failure:?}");
    }
    Ok(())
}

#[tokio::test]
async fn who_stops_answering_is_replaced() -> Result<()> {
    let silent = tempfile::tempdir()?;
    let file = silent.path().join("silent");
    let subject = Local::with(|settings| {
        settings.check_within_ms = 200;
        for template in &mut settings.templates {
            template.environment.push((instance::SILENT.to_owned(), file.display().to_string()));
        }
    })?;
    let mut driver = Driver::of(subject);
    driver.order(&[(steady(), 1)]).await?;
    let id = ready(&driver.settle().await?, &steady()).first().context("one is ready")?.clone();
    fs::write(&file, "")?;
    driver.until("it goes", |seen| state(seen, &id).is_some_and(|state| state > InstanceState::Ready)).await?;
    fs::remove_file(&file)?;
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 2);
    Ok(())
}

#[tokio::test]
async fn who_takes_too_long_is_given_up() -> Result<()> {
    let subject = Local::with(|settings| {
        for template in &mut settings.templates {
            template.start_within_ms = 30;
        }
    })?;
    let mut driver = Driver::of(subject);
    driver.subject.hold_starts(&steady(), true);
    driver.order(&[(steady(), 1)]).await?;
    driver.until("it is given up", |seen| seen.instances.iter().all(|one| one.state > InstanceState::Ready)).await?;
    Ok(())
}

#[tokio::test]
async fn what_instances_write_is_bounded() -> Result<()> {
    const MAX_BYTES: u64 = 10_000;
    let subject = Local::with(|settings| {
        settings.max_output_bytes = MAX_BYTES;
        for template in &mut settings.templates {
            template.environment.push((instance::CHATTER.to_owned(), "3000".to_owned()));
        }
    })?;
    let mut driver = Driver::of(subject);
    driver.order(&[(steady(), 1)]).await?;
    driver.settle().await?;
    let mut most = 0;
    for _ in 0..50 {
        driver.observe().await?;
        let files = fs::read_dir(driver.subject.folder().join("instances"))?.flatten();
        most = most.max(files.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum());
    }
    ensure!((MAX_BYTES..4 * MAX_BYTES).contains(&most), "{most} bytes");
    Ok(())
}

#[tokio::test]
async fn only_what_went_through_its_warming_is_ready() -> Result<()> {
    const MINIMUM_AGE_MS: u64 = 50;
    let cold = tempfile::tempdir()?;
    let file = cold.path().join("cold");
    fs::write(&file, "")?;
    let subject = Local::with(|settings| {
        for template in &mut settings.templates {
            template.warming.minimum_age_ms = MINIMUM_AGE_MS;
            template.environment.push((instance::COLD.to_owned(), file.display().to_string()));
        }
    })?;
    let mut driver = Driver::of(subject);
    driver.order(&[(steady(), 1)]).await?;
    let is_warming = |seen: &Observed| seen.instances.iter().all(|one| one.state == InstanceState::Warming);
    let began = driver.until("it warms", is_warming).await?;
    let first_ms = began.instances.first().context("there is one")?.requested_ms;
    for _ in 0..10 {
        ensure!(is_warming(&driver.observe().await?), "a warming request fails");
        driver.subject.pause().await;
    }
    fs::remove_file(&file)?;
    let observed = driver.settle().await?;
    let ready_ms = observed.instances.first().and_then(|one| one.ready_ms).context("it is ready")?;
    ensure!(ready_ms >= first_ms + MINIMUM_AGE_MS, "{observed:?}");
    Ok(())
}

#[tokio::test]
async fn ports_run_out_by_name() -> Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut driver = Driver::of(Local::with(|settings| settings.ports = Ports::Range(port, port))?);
    let applied = driver.order(&[(steady(), 2)]).await?;
    let [failure] = applied.failures.as_slice() else { anyhow::bail!("{applied:?}") };
    ensure!(failure.kind == FailureKind::OutOfCapacity && applied.started == 1, "{applied:?}");
    Ok(())
}

#[tokio::test]
async fn a_clock_that_was_put_back_holds_nothing_up() -> Result<()> {
    const YEAR_MS: u64 = 365 * 24 * 60 * 60 * 1_000;
    let mut driver = Driver::<Local>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    driver.settle().await?;
    driver.decide(&[]);
    // Written by a controller whose clock was a year ahead.
    driver.crash_leaving(|record| {
        for time in ["requested_ms", "answered_ms", "ready_ms"] {
            record[time] = (record[time].as_u64().unwrap_or_default() + YEAR_MS).into();
        }
        record["draining_ms"] = record["ready_ms"].clone();
        record["state"] = "draining".into();
    })?;
    driver.forget_seen();
    driver.settle().await?;
    driver.nothing_runs().await
}

#[tokio::test]
async fn what_started_while_no_controller_was_there_is_not_late() -> Result<()> {
    let mut driver = Driver::<Local>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    driver.crash_leaving(|record| {
        let requested_ms = record["requested_ms"].as_u64().unwrap_or_default();
        record["requested_ms"] = (requested_ms - 60 * 60 * 1_000).into();
    })?;
    driver.forget_seen();
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 1);
    Ok(())
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_named_and_ends_nothing() -> Result<()> {
    let mut driver = Driver::<Local>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    driver.settle().await?;
    let damaged = driver.crash_leaving(|record| *record = Value::Null);
    let error = damaged.err().context("it is refused")?.to_string();
    ensure!(error.contains("process-1.json") && error.contains("move the file away"), "{error}");
    ensure!(driver.subject.running(&steady()) == 1);
    Ok(())
}
