//! The network, for every component that connects or listens: HTTP, TLS, authentication, proxies.
//!
//! One [`Http`] per component, built from its options; bodies are borrowed, answers are bounded and streamed.

mod auth;
mod connection;
mod der;
mod http;
pub mod listen;
pub mod nats;
mod origin;
mod pkcs8;
mod proxy;
pub mod receiver;
mod response;
mod sign;
mod subject;
mod tls;
mod url;
mod verify;
mod wire;

#[cfg(test)]
mod tests;

pub use auth::{Auth, Secret};
pub use http::{Http, HttpError, HttpOptions, Request};
pub use listen::{Accepted, ListenAt, ListenOptions, ListenTls, Listener, Peer, Stream};
pub use origin::Networks;
pub use response::Response;
pub use sign::{Sign, SignForm, Signer};
pub use tls::{TlsOptions, provider, reload_files};
pub use url::Url;
pub use verify::Fingerprint;
pub use wire::{Dialer, Wire};

/// An option that cannot work, with the key it stands under.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct OptionError {
    /// Like `tls.ca_file`, relative to the component.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl OptionError {
    /// Of the option at `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

impl From<OptionError> for crate::component::BuildErrors {
    fn from(error: OptionError) -> Self {
        crate::component::BuildError::key(error.key, error.message).into()
    }
}

impl crate::component::Context {
    /// A client with the component's own `tls` and `auth`, and with the timeout and headers of its `request` options.
    pub fn http(
        &self,
        tls: &TlsOptions,
        auth: Option<&Auth>,
    ) -> Result<Http, crate::component::BuildErrors> {
        let request = self.request();
        let options = HttpOptions {
            tls: tls.clone(),
            auth: auth.cloned(),
            headers: request.headers.clone(),
            timeout: request.timeout.into(),
            ..HttpOptions::default()
        };
        Http::new(&options).map_err(|first| {
            let mistakes = options.mistakes();
            let all = if mistakes.is_empty() {
                vec![first]
            } else {
                mistakes
            };
            let mut errors = crate::component::BuildErrors::new();
            errors.extend(
                all.into_iter()
                    .map(|e| crate::component::BuildError::key(e.key, e.message)),
            );
            errors
        })
    }
}
