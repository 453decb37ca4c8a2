//! A controller of one's own: the real binary in a folder of its own, and the real protocol over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use forebay_protocol::{Counters, Generation, Message, Report, Row, SyncStats, Watch, decode, encode};

/// Longest wait for anything; a test that needs it has failed.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: String,
    pub(crate) folder: PathBuf,
}

impl Daemon {
    /// Starts a controller in `folder` with this configuration beside what every test needs, and waits until it is ready.
    pub(crate) fn start(folder: &Path, config: &str) -> Self {
        let port_file = folder.join("port");
        let _ = std::fs::remove_file(&port_file);
        let file = folder.join("forebay.yaml");
        let own = format!(
            "listen: 127.0.0.1:0\nport_file: {}\ndata_dir: {}\n{config}\n",
            port_file.display(),
            folder.join("data").display()
        );
        std::fs::write(&file, own).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(["controller", "--config"])
            .arg(&file)
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let mut daemon = Self { child, address: String::new(), folder: folder.to_owned() };
        daemon.address =
            daemon.eventually("a port file", || std::fs::read_to_string(&port_file).ok()).trim().to_owned();
        let ready = Self::get_from(&daemon.address, "/readyz");
        daemon.eventually("readiness", || (Self::get_from(&daemon.address, "/readyz").0 == 200).then_some(()));
        assert!([200, 503].contains(&ready.0));
        daemon
    }

    /// Asks again until there is an answer.
    pub(crate) fn eventually<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < DEADLINE, "no {what} within {DEADLINE:?}; the log:\n{log}");
            std::thread::yield_now();
        }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Vec<u8>) {
        Self::get_from(&self.address, path)
    }

    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8(self.get(path).1).unwrap()
    }

    /// The value of a metric line that begins with `series`.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.text("/metrics");
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    fn get_from(address: &str, path: &str) -> (u16, Vec<u8>) {
        call(address, &format!("GET {path} HTTP/1.1\r\nhost: forebay\r\nconnection: close\r\n\r\n"), &[])
    }

    pub(crate) fn post(&self, body: &[u8]) -> (u16, Vec<u8>) {
        post(&self.address, body)
    }

    /// Posts JSON to a path; the status and the answer as text.
    pub(crate) fn post_json(&self, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: forebay\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        let (status, answer) = call(&self.address, &head, body.as_bytes());
        (status, String::from_utf8(answer).unwrap())
    }

    /// Any call; the status, the head of the answer in small letters, and its body.
    pub(crate) fn ask(&self, method: &str, target: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: forebay\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        answered(&self.address, &head, body)
    }

    /// Sends a message and reads the answer, if there is one.
    pub(crate) fn say(&self, message: &Message) -> Option<Message> {
        answer_of(self.post(&encode(message)))
    }

    /// As `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As `kill`, and waits for the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn post(address: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let head = format!(
        "POST /v1/sync HTTP/1.1\r\nhost: forebay\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    call(address, &head, body)
}

pub(crate) fn answer_of((status, body): (u16, Vec<u8>)) -> Option<Message> {
    assert!(status == 200 || status == 204, "{status}: {}", String::from_utf8_lossy(&body));
    (status == 200).then(|| decode(&body).unwrap())
}

/// One call on a connection of its own; the answer ends where the connection does.
fn call(address: &str, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let (status, _, answer) = answered(address, head, body);
    (status, answer)
}

fn answered(address: &str, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // A body that is refused early may not be taken in whole.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end + 4..].to_vec())
}

/// Runs a command of the binary to its end.
pub(crate) fn forebay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forebay")).args(arguments).output().unwrap()
}

pub(crate) fn report(sequence: u64, refused_units: u64) -> Report {
    let counters = Counters { refused_requests: refused_units, refused_units, ..Counters::default() };
    Report {
        proxy: "gateway".to_owned(),
        boot_id: 7,
        sequence,
        uptime_ms: sequence * 1_000,
        generation: Generation::default(),
        speaks: vec![1],
        rows: vec![Row { tenant: "shop".to_owned(), resource: "requests".to_owned(), counters }],
        stats: SyncStats::default(),
        extensions: Vec::new(),
    }
}

pub(crate) fn watch(proxy: &str, known: Generation, collecting: Option<(Generation, u16)>) -> Message {
    let proxy = proxy.to_owned();
    Message::Watch(Watch { proxy, boot_id: 7, known, collecting, speaks: vec![1], extensions: Vec::new() })
}
