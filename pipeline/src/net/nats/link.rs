//! How a connection is, as the library tells it.

use std::sync::Arc;

use async_nats::{Event, ServerError};
use tokio::sync::watch;

use crate::telemetry::Limited;

/// At most one line of each in ten seconds, for each connection.
#[derive(Default)]
pub(super) struct Logs {
    broke: Limited,
    back: Limited,
    trouble: Limited,
}

/// How the connection is.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// How often it broke. An answer that was owed before a break does not come any more.
    pub breaks: u64,
    /// How often the server forbade something.
    pub denials: u64,
    /// What it forbade last, in its words, like `Permissions Violation for Publish to "x"`.
    pub denial: Option<Arc<str>>,
    /// Why there is no connection, if that is known.
    pub trouble: Option<Arc<str>>,
}

impl Link {
    /// Whether the last thing forbidden was to publish to this subject.
    pub fn forbids(&self, subject: &str) -> bool {
        self.denial.as_ref().is_some_and(|denial| {
            denial.to_ascii_lowercase().contains("publish")
                && denial.contains(&format!("\"{subject}\""))
        })
    }
}

/// Keeps what the library tells.
pub(super) fn note(link: &watch::Sender<Link>, event: &Event, id: &str, logs: &Logs) {
    match event {
        Event::Connected => {
            let back = link.borrow().breaks > 0;
            link.send_modify(|link| link.trouble = None);
            if back && logs.back.pass().is_some() {
                tracing::info!(component_id = id, "the connection to NATS is back");
            }
        }
        Event::Disconnected => {
            link.send_modify(|link| link.breaks += 1);
            if let Some(held_back) = logs.broke.pass() {
                tracing::warn!(
                    component_id = id,
                    held_back,
                    "the connection to NATS broke; it is made again"
                );
            }
        }
        Event::ServerError(ServerError::Other(text))
            if text.to_ascii_lowercase().contains("permissions violation") =>
        {
            link.send_modify(|link| {
                link.denials += 1;
                link.denial = Some(text.as_str().into());
            });
            if let Some(held_back) = logs.trouble.pass() {
                tracing::error!(
                    component_id = id,
                    held_back,
                    "the NATS server forbids it: {text}"
                );
            }
        }
        Event::SlowConsumer(_) => {
            if let Some(held_back) = logs.trouble.pass() {
                tracing::error!(
                    component_id = id,
                    held_back,
                    "messages came faster than they were taken, and core NATS throws away what waits too long; JetStream keeps it"
                );
            }
        }
        Event::ServerError(_) | Event::ClientError(_) => {
            let text = match event {
                Event::ServerError(error) => error.to_string(),
                Event::ClientError(error) => error.to_string(),
                _ => return,
            };
            link.send_modify(|link| link.trouble = Some(text.as_str().into()));
            if let Some(held_back) = logs.trouble.pass() {
                tracing::warn!(component_id = id, held_back, "NATS: {text}");
            }
        }
        Event::LameDuckMode => {
            tracing::info!(
                component_id = id,
                "the NATS server is about to go; another one is looked for"
            );
        }
        Event::Draining | Event::Closed => {}
    }
}
