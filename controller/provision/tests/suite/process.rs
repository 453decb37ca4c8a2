//! The row of `process`: real processes, which are this test's own program started again ([`instance`]).

mod hazards;
mod instance;
mod killed;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use forebay_plan::capacity::Group;
use forebay_provision::{Backoff, Drain, Health, Manager, Ports, Process, ProcessSettings, Template, Warming};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::conformance::conforms;
use crate::subject::{LIMIT, Subject, limited, other, steady};

conforms!(Local: all);

/// The manager, in a folder of its own.
pub(crate) struct Local {
    settings: ProcessSettings,
    /// Given up only while it is made anew.
    manager: Option<Manager>,
    outside: TempDir,
}

impl Local {
    fn with(change: impl FnOnce(&mut ProcessSettings)) -> Result<Self> {
        let outside = tempfile::tempdir()?;
        fs::create_dir(outside.path().join("started"))?;
        let mut settings = settings(outside.path())?;
        change(&mut settings);
        for template in &settings.templates {
            link(&template.program)?;
        }
        let mut local = Self { settings, manager: None, outside };
        local.open()?;
        Ok(local)
    }

    fn open(&mut self) -> Result<()> {
        self.manager = Some(Manager::Process(Process::open(self.settings.clone())?));
        Ok(())
    }

    /// Ids and process ids of what lives, of one group.
    fn living(&self, group: &Group) -> Vec<(String, u32)> {
        let group = format!("{}={group}", instance::GROUP);
        let mark = format!("FOREBAY_INSTANCE={}:", self.folder().display());
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let environment = fs::read_to_string(entry.path().join("environ")).ok()?;
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                let variables: Vec<&str> = environment.split('\0').collect();
                let id = variables.iter().find_map(|variable| variable.strip_prefix(&mark))?;
                (variables.contains(&group.as_str()) && !stat.contains(") Z ")).then(|| (id.to_owned(), pid))
            })
            .collect()
    }

    fn folder(&self) -> PathBuf {
        self.settings.folder.clone()
    }

    fn program(&self, group: &Group) -> PathBuf {
        self.outside.path().join(file_name(group))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        for group in [steady(), other(), limited()] {
            for (_, pid) in self.living(&group) {
                end(pid);
            }
        }
    }
}

impl Subject for Local {
    type Manager = Manager;

    async fn set_up() -> Result<Self> {
        Self::with(|_| {})
    }

    fn manager(&self) -> &Manager {
        self.manager.as_ref().expect("it is there but while it is made anew")
    }

    async fn restart(&mut self) -> Result<()> {
        // The old one's lock on the folder ends with it.
        self.manager = None;
        self.open()
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    fn hold_starts(&self, group: &Group, is_held: bool) {
        let file = self.outside.path().join(format!("{}.held", file_name(group)));
        if is_held {
            fs::write(file, "").expect("a file of the test");
        } else {
            let _ = fs::remove_file(file);
        }
    }

    fn refuse_starts(&self, group: &Group, is_refused: bool) {
        let program = self.program(group);
        if is_refused {
            let _ = fs::remove_file(program);
        } else if !program.exists() {
            link(&program).expect("a link of the test");
        }
    }

    fn take_away(&self, id: &str) {
        for group in [steady(), other(), limited()] {
            for (_, pid) in self.living(&group).into_iter().filter(|(living, _)| living == id) {
                end(pid);
            }
        }
    }

    fn running(&self, group: &Group) -> usize {
        self.living(group).len()
    }

    fn ever_started(&self, group: &Group) -> usize {
        // Those that came far enough to say so, and those that live.
        let mut ids: BTreeSet<String> = self.living(group).into_iter().map(|(id, _)| id).collect();
        let prefix = format!("{}:", file_name(group));
        for entry in fs::read_dir(self.outside.path().join("started")).into_iter().flatten().flatten() {
            ids.extend(entry.file_name().to_str().and_then(|name| name.strip_prefix(&prefix)).map(str::to_owned));
        }
        ids.len()
    }
}

fn settings(outside: &Path) -> Result<ProcessSettings> {
    Ok(ProcessSettings {
        folder: outside.canonicalize()?.join("folder"),
        templates: [(steady(), 100), (other(), 100), (limited(), LIMIT)]
            .into_iter()
            .map(|(group, max)| template(&group, max, outside))
            .collect(),
        ports: Ports::Free,
        max_processes: 200,
        backoff: Backoff { first_ms: 5, most_ms: 40, forgotten_after_ms: 60_000 },
        check_within_ms: 2_000,
        unhealthy_after: 3,
        max_output_bytes: 64 * 1024,
    })
}

fn template(group: &Group, max_processes: u32, outside: &Path) -> Template {
    let outside_text = outside.display().to_string();
    let mut environment = vec![(instance::GROUP.to_owned(), "{service}/{pool}/{shape}".to_owned())];
    environment.push((instance::PORT.to_owned(), "{port}".to_owned()));
    environment.push((instance::HELD.to_owned(), format!("{outside_text}/{}.held", file_name(group))));
    environment.push((instance::STARTED.to_owned(), format!("{outside_text}/started/{}:{{id}}", file_name(group))));
    Template {
        service: group.service.clone(),
        pool: Some(group.pool.clone()),
        shape: Some(group.shape.clone()),
        program: outside.join(file_name(group)),
        arguments: instance::ARGUMENTS.map(str::to_owned).to_vec(),
        environment,
        health: Health::Http("/ready".to_owned()),
        warming: Warming { paths: vec!["/warm".to_owned()], rounds: 2, minimum_age_ms: 1 },
        start_within_ms: 60_000,
        drain: Drain { serve_ms: 10, end_within_ms: 2_000 },
        max_processes,
    }
}

fn file_name(group: &Group) -> String {
    group.to_string().replace('/', "-")
}

/// The program of a group is a link, so that it can be missing.
fn link(program: &Path) -> Result<()> {
    let own = std::env::current_exe()?;
    std::os::unix::fs::symlink(own, program).with_context(|| program.display().to_string())
}

fn end(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}
