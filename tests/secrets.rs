//! Tickets, tokens and passwords planted in what is read: whatever the program writes, they are not in it.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use support::store::{Store, Trouble};
use support::{Ground, append, files};

/// What must be found nowhere, and the lines that carry it: request lines as pveproxy writes them, and log lines.
const PLANTED: [(&str, &str); 9] = [
    (
        "c2VjcmV0VGlja2V0T25l",
        "\"GET /api2/json/x?vncticket=PVEVNC%3A65F1A2B3%3A%3Ac2VjcmV0VGlja2V0T25l HTTP/1.1\" 200 1",
    ),
    (
        "c2VjcmV0VGlja2V0VHdv",
        "\"GET /?PVEAuthCookie=PVE%3Aroot%40pam%3A65F1A2B3%3A%3Ac2VjcmV0VGlja2V0VHdv HTTP/1.1\" 200 1",
    ),
    (
        "c2VjcmV0VGlja2V0Mw",
        "cookie PVEAuthCookie=PVE:root@pam:65F1A2B3::c2VjcmV0VGlja2V0Mw== sent",
    ),
    (
        "0f1e2d3c-5ec7-bbbb-cccc-0123456789ab",
        "Authorization: PVEAPIToken=root@pam!mon=0f1e2d3c-5ec7-bbbb-cccc-0123456789ab",
    ),
    (
        "1a2b3c4d-5ec7-dddd-eeee-abcdef012345",
        "PBSAPIToken=back@pbs!pve:1a2b3c4d-5ec7-dddd-eeee-abcdef012345 used",
    ),
    (
        "hunter2-secret",
        "\"POST /api2/json/access/ticket?username=root%40pam&password=hunter2-secret HTTP/1.1\" 200 1",
    ),
    (
        "hunter3-secret",
        "mount cifs://bob:hunter3-secret@nas/share failed",
    ),
    (
        "eyJhbGciOiJTRUNSRVQ",
        "Authorization: Bearer eyJhbGciOiJTRUNSRVQ.J9.x_y-z=",
    ),
    ("c2VjcmV0OmJhc2lj", "Authorization: Basic c2VjcmV0OmJhc2lj"),
];

fn search(place: &str, bytes: &[u8]) {
    for (secret, line) in PLANTED {
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "{secret} of {line:?} is in {place}");
    }
}

#[test]
fn planted_secrets_are_in_no_output_no_dead_letter_no_state_and_no_log() {
    let (ground, store) = (Ground::new(), Store::start());
    // One copy of each goes every way there is: delivered, dead, remembered by dedupe, printed, left in a lane at the end.
    let graph = format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{input}"]

[transforms.parsed]
type = "grok"
inputs = ["in"]
patterns = ['%{{NOTSPACE:user.name}} %{{GREEDYDATA:rest}}']

[transforms.odd]
type = "grok"
inputs = ["in"]
patterns = ['^this matches nothing$']

[transforms.once]
type = "dedupe"
inputs = ["parsed"]
fields.match = ["message"]

[sinks.store]
type = "elasticsearch"
inputs = ["once", "odd.errors"]
endpoints = ["{uri}"]
batch = {{ max_events = 5 }}
request = {{ retry_initial_backoff = "10ms", retry_max_backoff = "50ms" }}

[sinks.lines]
type = "file"
inputs = ["in", "odd"]
path = "{output}"

[sinks.screen]
type = "console"
inputs = ["in"]
encoding.codec = "pretty"
"#,
        input = ground.path("in.log").display(),
        uri = store.uri(),
        output = ground.path("out.log").display(),
    );
    ground.configure(&graph);
    store.on_item(|message| {
        message
            .contains("dead")
            .then_some((400, "document_parsing_exception", "no"))
    });
    store.on_request(|n| (n == 1).then(|| Trouble::Status(500, "<html>oops</html>".to_owned())));
    for way in ["plain", "dead", "\u{fffd}"] {
        for (_, line) in PLANTED {
            append(&ground.path("in.log"), &format!("{way} {line}\n"));
        }
    }
    // A torn UTF-8 sequence beside a secret: the bytes are kept elsewhere, the secret is not.
    let mut raw =
        b"caf\xe9 password=hunter2-secret vncticket=PVEVNC:65F1A2B3::c2VjcmV0VGlja2V0T25l\n"
            .to_vec();
    raw.extend(b"plain last\n");
    std::io::Write::write_all(
        &mut std::fs::File::options()
            .append(true)
            .open(ground.path("in.log"))
            .unwrap(),
        &raw,
    )
    .unwrap();

    let program = ground.start();
    let dead = || {
        let letters = files(&ground.path("data").join("dlq"));
        letters
            .iter()
            .map(|path| {
                std::fs::read_to_string(path)
                    .unwrap_or_default()
                    .lines()
                    .count()
            })
            .sum::<usize>()
    };
    ground.until("the living are stored and the dead are buried", || {
        store.len() >= 2 * PLANTED.len() && dead() >= PLANTED.len()
    });
    ground.until("the books balance", || ground.books_balance("store"));
    search("/metrics", ground.metrics_text().as_bytes());
    assert_eq!(program.stop(), Some(0), "{}", ground.log());

    for (id, document) in store.documents() {
        search(&format!("document {id}"), document.to_string().as_bytes());
    }
    let (mut seen, mut raw_bytes) = (0, Vec::new());
    for path in files(ground.path("data").parent().unwrap()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "in.log" || name == "graph.toml" {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        search(&path.display().to_string(), &bytes);
        raw_bytes.extend(bytes);
        seen += 1;
    }
    assert!(std::fs::metadata(ground.path("printed")).unwrap().len() > 0);
    assert!(
        seen >= 5,
        "positions, state, dead letters, outputs and log are there to be searched, not {seen} files"
    );
    // Kept bytes are looked into as well as text.
    let text = String::from_utf8_lossy(&raw_bytes).into_owned();
    for part in text.split("raw_b64\":\"").skip(1) {
        search("pve.raw_b64", &decoded(part.split('"').next().unwrap()));
    }
    assert!(
        text.contains("[redacted]"),
        "what was there is said to have been there"
    );
}

/// Base64 without a crate: the test must not trust the code it tests.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    for value in text.bytes().filter_map(digit) {
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}
