//! Asks PVE's API: one GET at a time and place, bounded, over the endpoint that answers.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pipeline::net::HttpError;
use pipeline::{Http, Url};
use serde_json::Value;
use tokio::sync::Semaphore;

/// Largest body, also after it was unpacked [bytes].
const MOST: usize = 32 << 20;
/// Requests under way at once: calls that the endpoint answers itself.
const OWN: usize = 4;
/// Calls that it passes on to other nodes.
const PASSED_ON: usize = 8;
/// Calls to nodes that did not answer last time, so that waiting for them keeps nobody else waiting.
const TO_THE_AWAY: usize = 4;
/// The longest text of an error that is told on [bytes].
const LONGEST: usize = 300;

/// Why there is no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answers, or not over TLS as it must be. The kind is that of [`HttpError`].
    Connection(&'static str, String),
    /// 401: the token is not believed.
    Unauthorized(String),
    /// 403: the token lacks a right.
    Denied(String),
    /// The node that the call was passed on to does not answer (595–599, or nothing in time).
    Away(String),
    /// Another status.
    Refused(u16, String),
    /// What came is no answer of PVE's API.
    Nonsense(String),
    /// The answer is longer than we hold.
    TooLong,
}

impl Trouble {
    /// Whether it concerns every call, and not only the one that met it.
    pub(super) fn is_general(&self) -> bool {
        matches!(self, Trouble::Connection(..) | Trouble::Unauthorized(_))
    }

    /// Whether a second try at once would only meet it again.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Trouble::Connection(kind, _) => *kind == "tls",
            Trouble::Unauthorized(_) | Trouble::Denied(_) => true,
            _ => false,
        }
    }

    /// A word for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Trouble::Connection(kind, _) => kind,
            Trouble::Unauthorized(_) => "unauthorized",
            Trouble::Denied(_) => "denied",
            Trouble::Away(_) => "node_away",
            Trouble::Refused(..) => "refused",
            Trouble::Nonsense(_) => "nonsense",
            Trouble::TooLong => "too_long",
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Connection(_, why) => f.write_str(why),
            Trouble::Unauthorized(why) => write!(
                f,
                "the token is refused (401{}): it has expired, was removed, or its secret is another one",
                dashed(why)
            ),
            Trouble::Denied(why) => write!(f, "the token lacks a right (403{})", dashed(why)),
            Trouble::Away(why) => f.write_str(why),
            Trouble::Refused(status, why) => write!(f, "it answers {status}{}", dashed(why)),
            Trouble::Nonsense(why) => write!(f, "what it answers is not from PVE's API: {why}"),
            Trouble::TooLong => write!(f, "the answer is longer than {MOST} bytes"),
        }
    }
}

fn dashed(why: &str) -> String {
    match why {
        "" => String::new(),
        why => format!(", {why}"),
    }
}

/// Which queue a call stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// The endpoint answers itself.
    Own,
    /// Another node answers.
    PassedOn,
    /// A node that did not answer last time.
    Away,
}

/// Asks PVE.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    endpoints: Vec<Url>,
    current: AtomicUsize,
    queues: [Semaphore; 3],
    timeout: Duration,
    /// What is wrong with endpoints, though another one answered.
    complaints: Mutex<BTreeMap<String, Option<String>>>,
}

impl Client {
    /// `endpoints` is not empty.
    pub(super) fn new(http: Http, endpoints: Vec<Url>, timeout: Duration) -> Client {
        Client {
            http,
            endpoints,
            current: AtomicUsize::new(0),
            queues: [OWN, PASSED_ON, TO_THE_AWAY].map(Semaphore::new),
            timeout,
            complaints: Mutex::default(),
        }
    }

    /// The endpoint in use.
    pub(super) fn endpoint(&self) -> String {
        self.endpoints[self.current.load(Ordering::Relaxed)].origin()
    }

    /// What changed about single endpoints since the last call: what is wrong with it, or that it answers again.
    pub(super) fn complaints(&self) -> BTreeMap<String, Option<String>> {
        std::mem::take(&mut self.complaints.lock())
    }

    /// The whole answer, an object with `data` in it. `path` stands below `/api2/json`.
    pub(super) async fn get(
        &self,
        queue: Queue,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, Trouble> {
        let _place = self.queues[queue as usize]
            .acquire()
            .await
            .map_err(|_| Trouble::Connection("closed", "the program ends".to_owned()))?;
        let first = self.current.load(Ordering::Relaxed);
        let mut last = None;
        for n in 0..self.endpoints.len() {
            let at = (first + n) % self.endpoints.len();
            let endpoint = &self.endpoints[at];
            match self.ask(endpoint, queue, path, query).await {
                Err(Trouble::Connection(kind, why)) => {
                    if self.endpoints.len() > 1 {
                        let mut complaints = self.complaints.lock();
                        complaints.insert(endpoint.origin(), Some(why.clone()));
                    }
                    last = Some(Trouble::Connection(kind, why));
                }
                answer => {
                    if self.endpoints.len() > 1 {
                        let mut complaints = self.complaints.lock();
                        complaints.insert(endpoint.origin(), None);
                    }
                    if n > 0 {
                        // Whoever was first to find it.
                        let _ = self.current.compare_exchange(
                            first,
                            at,
                            Ordering::Relaxed,
                            Ordering::Relaxed,
                        );
                    }
                    return answer;
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            Trouble::Connection("connect", "there is no endpoint to ask".to_owned())
        }))
    }

    /// The list that is the `data` of an answer. Anything else is no proof that there is nothing.
    pub(super) async fn list(
        &self,
        queue: Queue,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, Trouble> {
        match self.get(queue, path, query).await?["data"].take() {
            list @ Value::Array(_) => Ok(list),
            _ => Err(Trouble::Nonsense("where a list belongs is none".to_owned())),
        }
    }

    async fn ask(
        &self,
        endpoint: &Url,
        queue: Queue,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, Trouble> {
        let mut url = endpoint.join(&format!("api2/json/{}", path.trim_start_matches('/')));
        for (name, value) in query {
            url = url.with(name, value);
        }
        let passed_on = queue != Queue::Own;
        let no_answer = |why: HttpError| match why {
            HttpError::Timeout(what) if passed_on && what != "a connection" => {
                Trouble::Away(format!("no answer within {} s", self.timeout.as_secs()))
            }
            HttpError::TooLong { .. } => Trouble::TooLong,
            why => Trouble::Connection(why.kind(), why.to_string()),
        };
        let request = self.http.get(&url).timeout(self.timeout);
        let mut answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        let gzip = answer
            .header("content-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        let mut body = Vec::new();
        let most = if status == 200 { MOST } else { 64 << 10 };
        match answer.read_into(&mut body, most).await {
            Ok(()) => {}
            // The status says enough.
            Err(_) if status != 200 => body.clear(),
            Err(why) => return Err(no_answer(why)),
        }
        if gzip {
            body = unpack(&body)?;
        }
        understand(status, &body)
    }
}

/// `text` as one part of a path: what PVE writes encoded (`foo%3Abar.iso`) has to arrive as it is.
pub(super) fn part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@!".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unpack(body: &[u8]) -> Result<Vec<u8>, Trouble> {
    let mut out = Vec::new();
    let mut gzip = flate2::bufread::MultiGzDecoder::new(body).take(MOST as u64 + 1);
    gzip.read_to_end(&mut out)
        .map_err(|why| Trouble::Nonsense(format!("it cannot be unpacked: {why}")))?;
    if out.len() > MOST {
        return Err(Trouble::TooLong);
    }
    Ok(out)
}

/// What an answer means.
fn understand(status: u16, body: &[u8]) -> Result<Value, Trouble> {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    if status == 200 {
        return match json {
            Some(json) if json.get("data").is_some() => Ok(json),
            Some(_) => Err(Trouble::Nonsense("it has no data in it".to_owned())),
            None => Err(Trouble::Nonsense(format!("{:?}", excerpt(body)))),
        };
    }
    let why = match json.as_ref().and_then(|json| json.get("message")) {
        Some(Value::String(message)) => excerpt(message.as_bytes()),
        _ => excerpt(body),
    };
    Err(match status {
        401 => Trouble::Unauthorized(why),
        403 => Trouble::Denied(why),
        595..=599 => Trouble::Away(format!(
            "the endpoint cannot reach it ({status}{})",
            dashed(&why)
        )),
        status => Trouble::Refused(status, why),
    })
}

/// The beginning, in one line that can be printed.
fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(LONGEST)]);
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_by_its_status_and_what_is_in_it() {
        let of = |status, body: &str| understand(status, body.as_bytes());
        assert!(of(200, r#"{"data":[]}"#).is_ok());
        for (status, body, kind) in [
            (200, "<html>login</html>", "nonsense"),
            (200, "{}", "nonsense"),
            (200, "", "nonsense"),
            (401, "", "unauthorized"),
            (
                403,
                r#"{"data":null,"message":"Permission check failed (/, Sys.Syslog)\n"}"#,
                "denied",
            ),
            (595, "", "node_away"),
            (599, "{", "node_away"),
            (
                500,
                r#"{"data":null,"message":"illegal backslash"}"#,
                "refused",
            ),
            (503, "<html>", "refused"),
        ] {
            assert_eq!(
                of(status, body).unwrap_err().kind(),
                kind,
                "{status} {body}"
            );
        }
        let denied = of(
            403,
            r#"{"message":"Permission check failed (/, Sys.Syslog)\n"}"#,
        );
        assert_eq!(
            denied.unwrap_err().to_string(),
            "the token lacks a right (403, Permission check failed (/, Sys.Syslog))"
        );
        assert!(!excerpt("a\u{1b}[2J\nb".as_bytes()).contains('\u{1b}'));
    }

    #[test]
    fn a_upid_arrives_as_it_is() {
        let upid = "UPID:p:download:foo%3Abar.iso:100-scsi0>1:a@pve!ci:";
        let url = Url::parse("https://pve1:8006/").unwrap();
        let url = url.join(&format!("api2/json/nodes/p/tasks/{}/log", part(upid)));
        assert_eq!(
            url.path_and_query(),
            "/api2/json/nodes/p/tasks/UPID:p:download:foo%253Abar.iso:100-scsi0%3E1:a@pve!ci:/log"
        );
        assert_eq!(part("a/../b?c#d\u{e9}"), "a%2F..%2Fb%3Fc%23d%C3%A9");
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let zeros = vec![b' '; 1 << 20];
        for _ in 0..40 {
            gzip.write_all(&zeros).unwrap();
        }
        assert_eq!(unpack(&gzip.finish().unwrap()), Err(Trouble::TooLong));
        assert_eq!(unpack(b"nothing packed").unwrap_err().kind(), "nonsense");
    }
}
