//! Real servers of `tests/services`, and a few words of HTTP to look into them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// A server that runs until this is dropped.
pub struct Service {
    script: PathBuf,
    folder: tempfile::TempDir,
    /// Its address.
    pub url: String,
}

impl Service {
    /// Starts the server called `name` with further settings; `None`, told where the tests look, if this machine has none.
    pub fn start(name: &str, settings: &[&str]) -> Option<Service> {
        Service::start_with(name, settings, &[])
    }

    /// The same, with variables for its script.
    pub fn start_with(
        name: &str,
        settings: &[&str],
        variables: &[(&str, &str)],
    ) -> Option<Service> {
        let services = std::env::var_os("PVETRAIL_SERVICES")
            .map_or_else(|| PathBuf::from("tests/services"), PathBuf::from);
        let script = services.join(format!("{name}.sh"));
        let folder = tempfile::tempdir().unwrap();
        let installed = Command::new(&script).arg("install").output().unwrap();
        if !installed.status.success() {
            let why = String::from_utf8_lossy(&installed.stderr);
            skip(&format!(
                "service: {name}: {}",
                why.lines().last().unwrap_or("cannot be installed")
            ));
            return None;
        }
        let output = Command::new(&script)
            .args(["start", "0"])
            .arg(folder.path())
            .args(settings)
            .env("OWNER", std::process::id().to_string())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let url = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        Some(Service {
            script,
            folder,
            url,
        })
    }

    /// What the server has written to a file of its folder so far.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Asks the server something and gives its answer, which must not be an error.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = request(&self.url, method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Documents that searches find in these indices; 0 where there is no such index yet.
    pub fn documents(&self, indices: &str) -> u64 {
        let _ = request(&self.url, "POST", &format!("/{indices}/_refresh"), "");
        let (status, answer) = request(&self.url, "GET", &format!("/{indices}/_count"), "");
        if status != 200 {
            return 0;
        }
        serde_json::from_str::<Value>(&answer).unwrap()["count"]
            .as_u64()
            .unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Its owner being gone ends it as well.
        let _ = Command::new(&self.script)
            .arg("kill")
            .arg(self.folder.path())
            .output();
    }
}

/// Says in plain sight that something did not run: here, and in the table of `tests/all`.
#[allow(
    clippy::print_stderr,
    reason = "whoever runs the test by hand has to see it"
)]
pub fn skip(why: &str) {
    // Who runs one test by hand sees it here, `tests/all` in its table.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
    if let Some(path) = std::env::var_os("PVETRAIL_SKIPS") {
        super::append(path.as_ref(), &format!("{why}\n"));
    }
}

fn request(url: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        return (status, joined(body));
    }
    (status, body.to_owned())
}

/// The chunks of a body without their lengths.
pub fn joined(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        whole.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    whole
}
