//! What the tests start as an instance: a small server of one thread, in the test's own program, told by its environment.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Where it listens; without it this program is a test.
pub(super) const PORT: &str = "TEST_INSTANCE_PORT";
/// What group it is of.
pub(super) const GROUP: &str = "TEST_INSTANCE_GROUP";
/// While this file is there it answers 503, unless it has answered well before.
pub(super) const HELD: &str = "TEST_INSTANCE_HELD";
/// It makes this file when it starts.
pub(super) const STARTED: &str = "TEST_INSTANCE_STARTED";
/// While this file is there, it does not answer at all.
pub(super) const SILENT: &str = "TEST_INSTANCE_SILENT";
/// While this file is there, it answers warming requests with 503.
pub(super) const COLD: &str = "TEST_INSTANCE_COLD";
/// Bytes that it writes to its output for each request.
pub(super) const CHATTER: &str = "TEST_INSTANCE_CHATTER";
/// What the program is started with, to be an instance.
pub(super) const ARGUMENTS: [&str; 4] =
    ["process::instance::serves_until_it_is_ended", "--exact", "--nocapture", "--test-threads=1"];

#[test]
fn serves_until_it_is_ended() -> Result<()> {
    if let Ok(port) = std::env::var(PORT) {
        return serve(port.parse()?);
    }
    // As a test: an instance answers.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut instance = Command::new(std::env::current_exe()?)
        .args(ARGUMENTS)
        .env(PORT, port.to_string())
        .stdout(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(30);
    let answer = loop {
        match ask(port) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            answer => break answer,
        }
    };
    instance.kill()?;
    instance.wait()?;
    let answer = answer?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

fn ask(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn serve(port: u16) -> Result<()> {
    let setting = |name| std::env::var(name).unwrap_or_default();
    if let Ok(path) = std::env::var(STARTED) {
        std::fs::write(&path, "").context(path)?;
    }
    let (held, silent, cold) = (setting(HELD), setting(SILENT), setting(COLD));
    let chatter = setting(CHATTER).parse().unwrap_or(0);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let mut has_answered = false;
    for stream in listener.incoming() {
        if Path::new(&silent).exists() {
            continue;
        }
        let mut stream = stream?;
        has_answered |= !Path::new(&held).exists();
        print!("{}", "x".repeat(chatter));
        // Who asked may be gone by now.
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let is_cold = request.starts_with(b"GET /warm") && Path::new(&cold).exists();
        let status = if has_answered && !is_cold { "200 OK" } else { "503 Service Unavailable" };
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
    Ok(())
}
