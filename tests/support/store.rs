//! A store that takes bulks like Elasticsearch: one document per id, a verdict per item, and trouble as a test orders it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What happens to one request instead of an answer to its items.
pub enum Trouble {
    /// A status and a body.
    Status(u16, String),
    /// All is stored, and half of the answer is sent.
    HalfAnAnswer,
    /// The connection is closed without a word, before anything is stored.
    Closed,
}

/// What happens to one item instead of being stored: a status, a type and a reason.
pub type Verdict = Option<(u16, &'static str, &'static str)>;

type OnRequest = Box<dyn FnMut(usize) -> Option<Trouble> + Send>;
type OnItem = Box<dyn FnMut(&str) -> Verdict + Send>;

/// The store; it listens as long as the test runs.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
    port: u16,
}

#[derive(Default)]
struct Inner {
    /// Document by id.
    documents: BTreeMap<String, Value>,
    /// Largest body that is taken [bytes].
    largest: Option<usize>,
    requests: usize,
    on_request: Option<OnRequest>,
    on_item: Option<OnItem>,
}

impl Store {
    /// An empty store on a free port.
    pub fn start() -> Store {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let store = Store {
            inner: Arc::default(),
            port: listener.local_addr().unwrap().port(),
        };
        let answering = store.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let store = answering.clone();
                // A connection that breaks is the client's to mend.
                std::thread::spawn(move || drop(store.serve(stream)));
            }
        });
        store
    }

    /// Its address.
    pub fn uri(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Trouble for whole requests, by their number from 0.
    pub fn on_request(&self, trouble: impl FnMut(usize) -> Option<Trouble> + Send + 'static) {
        self.inner.lock().unwrap().on_request = Some(Box::new(trouble));
    }

    /// Trouble for items, by their document.
    pub fn on_item(&self, verdict: impl FnMut(&str) -> Verdict + Send + 'static) {
        self.inner.lock().unwrap().on_item = Some(Box::new(verdict));
    }

    /// Larger bodies are answered 413.
    pub fn largest(&self, bytes: usize) {
        self.inner.lock().unwrap().largest = Some(bytes);
    }

    /// No more trouble.
    pub fn heal(&self) {
        let mut inner = self.inner.lock().unwrap();
        (inner.on_request, inner.on_item, inner.largest) = (None, None, None);
    }

    /// Documents stored.
    pub fn len(&self) -> usize {
        self.inner.lock().unwrap().documents.len()
    }

    /// Bulks that came.
    pub fn requests(&self) -> usize {
        self.inner.lock().unwrap().requests
    }

    /// The `message` of every document, sorted.
    pub fn messages(&self) -> Vec<String> {
        let inner = self.inner.lock().unwrap();
        let message =
            |document: &Value| document["message"].as_str().unwrap_or_default().to_owned();
        let mut messages: Vec<String> = inner.documents.values().map(message).collect();
        messages.sort_unstable();
        messages
    }

    /// Every document with its id.
    pub fn documents(&self) -> Vec<(String, Value)> {
        let inner = self.inner.lock().unwrap();
        let pair = |(id, document): (&String, &Value)| (id.clone(), document.clone());
        inner.documents.iter().map(pair).collect()
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let bulk = line.contains("_bulk");
            let mut length = 0;
            loop {
                line.clear();
                reader.read_line(&mut line)?;
                if line.trim().is_empty() {
                    break;
                }
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().map_err(std::io::Error::other)?;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            if !bulk {
                respond(
                    &mut stream,
                    200,
                    br#"{"version":{"number":"8.19.0"},"tagline":"You Know, for Search"}"#,
                )?;
                continue;
            }
            if !self.bulk(&mut stream, &body)? {
                return Ok(());
            }
        }
    }

    /// Answers one bulk; `false`: the connection is to be closed.
    fn bulk(&self, stream: &mut TcpStream, body: &[u8]) -> std::io::Result<bool> {
        let mut inner = self.inner.lock().unwrap();
        let n = inner.requests;
        inner.requests += 1;
        if inner.largest.is_some_and(|largest| body.len() > largest) {
            respond(stream, 413, b"{}")?;
            return Ok(true);
        }
        let trouble = inner.on_request.as_mut().and_then(|trouble| trouble(n));
        match trouble {
            Some(Trouble::Closed) => return Ok(false),
            Some(Trouble::Status(status, text)) => {
                respond(stream, status, text.as_bytes())?;
                return Ok(true);
            }
            None | Some(Trouble::HalfAnAnswer) => {}
        }
        let answer = inner.store(body).to_string();
        drop(inner);
        if trouble.is_some() {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&answer.as_bytes()[..answer.len() / 2])?;
            return Ok(false);
        }
        respond(stream, 200, answer.as_bytes())?;
        Ok(true)
    }
}

impl Inner {
    fn store(&mut self, body: &[u8]) -> Value {
        let mut items = Vec::new();
        let mut lines = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        while let (Some(action), Some(document)) = (lines.next(), lines.next()) {
            let action: Value = serde_json::from_slice(action).expect("an action is JSON");
            let document: Value = serde_json::from_slice(document).expect("a document is JSON");
            let id = action["create"]["_id"]
                .as_str()
                .expect("create with an id")
                .to_owned();
            let verdict = self
                .on_item
                .as_mut()
                .and_then(|verdict| verdict(document["message"].as_str().unwrap_or_default()));
            let (status, error) = match verdict {
                Some((status, kind, reason)) => {
                    (status, Some(json!({ "type": kind, "reason": reason })))
                }
                None if self.documents.contains_key(&id) => (
                    409,
                    Some(
                        json!({ "type": "version_conflict_engine_exception", "reason": "document already exists" }),
                    ),
                ),
                None => {
                    self.documents.insert(id.clone(), document);
                    (201, None)
                }
            };
            let mut item = json!({ "_id": id, "status": status });
            if let Some(error) = error {
                item["error"] = error;
            }
            items.push(json!({ "create": item }));
        }
        let errors = items
            .iter()
            .any(|item| item["create"].get("error").is_some());
        json!({ "errors": errors, "items": items })
    }
}

fn respond(stream: &mut TcpStream, status: u16, body: &[u8]) -> std::io::Result<()> {
    let mut answer = format!(
        "HTTP/1.1 {status} Any\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    stream.write_all(&answer)
}
