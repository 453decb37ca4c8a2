//! What the process manager is told: commands by group, ports, checks, and limits. Plain values; who reads a
//! configuration file makes them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use forebay_plan::capacity::Group;

use super::alive::MARK;
use super::backoff::Backoff;
use super::record::{Folder, Record};

/// What a process gets of the controller's environment; secrets of the controller are not among it.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// Everything that the manager is told.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// Where records and outputs lie; one manager at a time uses it.
    pub folder: PathBuf,
    /// Commands; of those that fit a group the first counts.
    pub templates: Vec<Template>,
    /// Where instances listen.
    pub ports: Ports,
    /// Processes that there may be at once, draining ones included.
    pub max_processes: u32,
    /// How fast what fails is started again.
    pub backoff: Backoff,
    /// How long one check or warming request may take, in milliseconds.
    pub check_within_ms: u64,
    /// Failed checks in a row after which an instance that was ready is ended.
    pub unhealthy_after: u32,
    /// Size at which an instance's output goes to a second file, whose earlier content is lost; bytes. An instance keeps
    /// at most twice this, and what it writes between two looks.
    pub max_output_bytes: u64,
}

/// How instances of some groups are run.
#[derive(Clone, Debug)]
pub struct Template {
    /// The service.
    pub service: String,
    /// Only in this pool, if given.
    pub pool: Option<String>,
    /// Only of this shape, if given.
    pub shape: Option<String>,
    /// What is run, looked up in the controller's `PATH`.
    pub program: PathBuf,
    /// Its arguments; `{port}`, `{id}`, `{service}`, `{pool}` and `{shape}` are filled in.
    pub arguments: Vec<String>,
    /// Its environment, filled in likewise, beside `PATH`, `HOME`, `LANG`, `TZ` and `TMPDIR`.
    pub environment: Vec<(String, String)>,
    /// How it is seen that an instance answers.
    pub health: Health,
    /// What an instance goes through before it is ready.
    pub warming: Warming,
    /// How long an instance may take from its start until it is ready, in milliseconds; then it is ended as failed.
    pub start_within_ms: u64,
    /// How an instance is ended.
    pub drain: Drain,
    /// Processes of one group that there may be at once, draining ones included.
    pub max_processes: u32,
}

/// How it is seen that an instance answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Its port takes a connection.
    Connect,
    /// `GET` of this path is answered with 2xx.
    Http(String),
}

/// What an instance that answers goes through before it is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warming {
    /// Paths that are asked for, one after the other, each to be answered with 2xx; after a failure from the beginning.
    pub paths: Vec<String>,
    /// How many times all of them are asked for.
    pub rounds: u32,
    /// Age that an instance has to reach, in milliseconds since it first answered.
    pub minimum_age_ms: u64,
}

/// How an instance is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Time that a ready instance has to finish what it has, in milliseconds, before it is asked to end (`SIGTERM`).
    pub serve_ms: u64,
    /// Time from then until it is ended (`SIGKILL`), in milliseconds.
    pub end_within_ms: u64,
}

/// Where instances listen, on the loopback address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Wherever the system has a free one.
    Free,
    /// From the first to the last, both included.
    Range(u16, u16),
}

impl ProcessSettings {
    /// The template for a group.
    pub(super) fn template(&self, group: &Group) -> Option<&Template> {
        let fits = |wanted: &Option<String>, has: &String| wanted.as_ref().is_none_or(|wanted| wanted == has);
        self.templates.iter().find(|template| {
            template.service == group.service
                && fits(&template.pool, &group.pool)
                && fits(&template.shape, &group.shape)
        })
    }
}

impl Ports {
    /// A port that nobody listens on and no instance of `taken` has.
    pub(super) fn free<'a>(&self, taken: impl Iterator<Item = &'a Record>) -> Option<u16> {
        /// How often the system is asked for one that is not taken.
        const TRIES: u16 = 64;
        let taken: Vec<u16> = taken.map(|record| record.port).collect();
        let free = |port: u16| {
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            let port = TcpListener::bind(address).and_then(|listener| listener.local_addr()).ok()?.port();
            (!taken.contains(&port)).then_some(port)
        };
        match *self {
            Self::Free => (0..TRIES).find_map(|_| free(0)),
            Self::Range(first, last) => (first..=last).filter(|port| !taken.contains(port)).find_map(free),
        }
    }
}

impl Template {
    /// Starts the process of a record, in a process group of its own.
    pub(super) fn spawn(&self, record: &Record, folder: &Folder) -> io::Result<Child> {
        let output = folder.output(record)?;
        let inherited = INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        Command::new(&self.program)
            .args(self.arguments.iter().map(|argument| record.fill_in(argument)))
            .env_clear()
            .envs(inherited)
            .envs(self.environment.iter().map(|(name, value)| (name, record.fill_in(value))))
            .env(MARK, folder.mark(&record.id))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
    }
}
