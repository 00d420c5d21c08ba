//! How a TLS peer is believed: by a chain to a root, by a pinned fingerprint, or (loudly) not at all.
//!
//! Whatever is decided about the certificate, the signature of the handshake is always checked: without that check a
//! certificate proves nothing, because anyone can send a copy of it.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// SHA-256 of a certificate's DER bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of the certificate itself (the end entity), as `openssl x509 -fingerprint -sha256` and the PVE console show it.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.as_ref());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Reads `7D:3A:…` (32 pairs), with or without colons, blanks and a `sha256:` before it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower
            .strip_prefix("sha256:")
            .or_else(|| lower.strip_prefix("sha256 fingerprint="))
            .unwrap_or(&lower);
        let mut nibbles = Vec::with_capacity(64);
        for c in digits.chars().filter(|c| !matches!(c, ':' | ' ' | '-')) {
            let Some(value) = c.to_digit(16) else {
                return Err(format!("`{c}` is no hexadecimal digit"));
            };
            nibbles.push(value as u8);
        }
        if nibbles.len() != 64 {
            let sha1 = if nibbles.len() == 40 {
                " (this looks like SHA-1, which is not accepted)"
            } else {
                ""
            };
            return Err(format!(
                "a SHA-256 fingerprint has 64 hexadecimal digits, this one has {}{sha1}",
                nibbles.len()
            ));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(nibbles.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is asked of the server's certificate. All that is set must hold.
#[derive(Debug)]
pub(super) struct Verifier {
    /// One of these must be the server's certificate; empty: not asked.
    pub(super) pins: Vec<Fingerprint>,
    /// The chain must lead to one of its roots; `None`: not asked.
    pub(super) chain: Option<Arc<dyn ServerCertVerifier>>,
    /// Whether the certificate must name the host that was asked for.
    pub(super) hostname: bool,
    /// Whose algorithms check the handshake.
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.pins.is_empty() {
            let seen = Fingerprint::of(end_entity);
            if !self.pins.contains(&seen) {
                // The fingerprint is public, and seeing it is what an operator needs after a renewal.
                let pinned: Vec<String> = self.pins.iter().map(Fingerprint::to_string).collect();
                return Err(Error::General(format!(
                    "the server's certificate has the fingerprint {seen}, which is none of tls.fingerprint ({}); \
                     if the certificate was renewed, add this one to the list",
                    pinned.join(", ")
                )));
            }
        }
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain is checked before the name, so this error says that the chain is good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.hostname => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_paste_them() {
        let bare = "7d3a".repeat(16);
        let colons = bare
            .as_bytes()
            .chunks(2)
            .map(|p| String::from_utf8_lossy(p).to_uppercase())
            .collect::<Vec<_>>()
            .join(":");
        let pin = Fingerprint::parse(&bare).unwrap();
        assert_eq!(Fingerprint::parse(&colons).unwrap(), pin);
        assert_eq!(
            Fingerprint::parse(&format!(" SHA256:{bare} ")).unwrap(),
            pin
        );
        assert_eq!(pin.to_string(), colons);
    }

    #[test]
    fn a_wrong_fingerprint_says_what_is_wrong() {
        assert!(Fingerprint::parse("7D:3A").unwrap_err().contains("has 4"));
        assert!(
            Fingerprint::parse(&"ab".repeat(20))
                .unwrap_err()
                .contains("SHA-1")
        );
        assert!(Fingerprint::parse("zz").unwrap_err().contains("`z`"));
    }
}
