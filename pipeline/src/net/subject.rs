//! Who a certificate says it is: its subject and its alternative names.
//!
//! The chain has been checked before anything here is asked. What is read is all the same a stranger's text: bounded,
//! and to be escaped by whoever shows it.

use std::net::IpAddr;

use super::der::{Der, OCTETS, OID, SEQUENCE, SET};

/// Most alternative names that are read.
const NAMES: usize = 64;
/// Longest alternative name that is read [bytes]; a DNS name has 253.
const LONGEST_NAME: usize = 512;
/// Longest subject [bytes].
const LONGEST_SUBJECT: usize = 1024;

const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// What a certificate says about its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// As RFC 4514 writes it, `CN=agent,O=Example`.
    pub(super) subject: Option<String>,
    /// DNS names, addresses, mail addresses and URIs, in the certificate's order.
    pub(super) names: Vec<String>,
}

/// Reads the names out of an X.509 certificate. What cannot be read is left out.
pub(super) fn names_of(certificate: &[u8]) -> Names {
    read(certificate).unwrap_or_default()
}

fn read(certificate: &[u8]) -> Option<Names> {
    let mut outer = Der(Der(certificate).take(SEQUENCE)?);
    let mut body = Der(outer.take(SEQUENCE)?);
    // Version, serial number, algorithm, issuer, validity; the version may be left out.
    const VERSION: u8 = 0xa0;
    body.take(VERSION);
    for _ in 0..4 {
        body.next()?;
    }
    let subject = body.take(SEQUENCE)?;
    let mut names = Names {
        subject: subject_text(subject),
        names: Vec::new(),
    };
    const EXTENSIONS: u8 = 0xa3;
    while let Some((tag, content)) = body.next() {
        if tag == EXTENSIONS {
            names.names = alternative_names(content).unwrap_or_default();
        }
    }
    Some(names)
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut all = Der(Der(extensions).take(SEQUENCE)?);
    while let Some(extension) = all.take(SEQUENCE) {
        let mut extension = Der(extension);
        if extension.take(OID)? != SUBJECT_ALT_NAME {
            continue;
        }
        const BOOLEAN: u8 = 0x01;
        extension.take(BOOLEAN);
        let mut found = Vec::new();
        let mut general = Der(Der(extension.take(OCTETS)?).take(SEQUENCE)?);
        while let (true, Some((tag, content))) = (found.len() < NAMES, general.next()) {
            found.extend(general_name(tag, content));
        }
        return Some(found);
    }
    None
}

fn general_name(tag: u8, content: &[u8]) -> Option<String> {
    const MAIL: u8 = 0x81;
    const DNS: u8 = 0x82;
    const URI: u8 = 0x86;
    const ADDRESS: u8 = 0x87;
    match tag {
        MAIL | DNS | URI if content.len() <= LONGEST_NAME && content.is_ascii() => {
            Some(String::from_utf8_lossy(content).into_owned())
        }
        ADDRESS => {
            let address = if let Ok(v4) = <[u8; 4]>::try_from(content) {
                IpAddr::from(v4)
            } else {
                IpAddr::from(<[u8; 16]>::try_from(content).ok()?)
            };
            Some(address.to_string())
        }
        _ => None,
    }
}

/// RFC 4514: the last part first, `,` between parts, `+` inside one.
fn subject_text(sequence: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut all = Der(sequence);
    while let Some(set) = all.take(SET) {
        let mut part = String::new();
        let mut set = Der(set);
        while let Some(pair) = set.take(SEQUENCE) {
            let mut pair = Der(pair);
            let (Some(kind), Some((tag, value))) = (pair.take(OID), pair.next()) else {
                return None;
            };
            if !part.is_empty() {
                part.push('+');
            }
            part.push_str(&kind_text(kind));
            part.push('=');
            push_escaped(&mut part, &value_text(tag, value));
        }
        parts.push(part);
    }
    parts.reverse();
    let mut text = parts.join(",");
    if text.len() > LONGEST_SUBJECT {
        text.truncate(text.floor_char_boundary(LONGEST_SUBJECT));
        text.push('…');
    }
    (!text.is_empty()).then_some(text)
}

fn kind_text(oid: &[u8]) -> String {
    let short = match oid {
        [0x55, 0x04, kind] => match kind {
            3 => "CN",
            4 => "SN",
            5 => "serialNumber",
            6 => "C",
            7 => "L",
            8 => "ST",
            9 => "STREET",
            10 => "O",
            11 => "OU",
            12 => "title",
            _ => "",
        },
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 1] => "UID",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01] => "emailAddress",
        _ => "",
    };
    if !short.is_empty() {
        return short.to_owned();
    }
    dotted(oid)
}

/// `2.5.4.46`, out of the base 128 it is written in.
fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut number = 0_u64;
    for byte in oid.iter().take(32) {
        number = (number & (u64::MAX >> 7)) << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (number / 40).min(2);
            text = format!("{first}.{}", number - first * 40);
        } else {
            text.push_str(&format!(".{number}"));
        }
        number = 0;
    }
    text
}

fn value_text(tag: u8, value: &[u8]) -> String {
    const LATIN1: u8 = 0x14;
    const UTF16: u8 = 0x1e;
    match tag {
        LATIN1 => value.iter().map(|byte| char::from(*byte)).collect(),
        UTF16 => {
            let units: Vec<u16> = value
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            String::from_utf16_lossy(&units)
        }
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (place, c) in value.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
        let at_an_end = (c == ' ' && (place == 0 || place == last)) || (c == '#' && place == 0);
        if c.is_control() {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                text.push_str(&format!("\\{byte:02x}"));
            }
            continue;
        }
        if special || at_an_end {
            text.push('\\');
        }
        text.push(c);
    }
}

/// A list of names that are let in: `agent.example`, `*.example` (one label), an address, a mail address, a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AllowedNames(Vec<String>);

impl AllowedNames {
    /// Of the patterns; the error names the first that cannot match anything.
    pub(super) fn new(patterns: &[String]) -> Result<Self, String> {
        let mut normal = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let rest = pattern.strip_prefix("*.").unwrap_or(pattern);
            if rest.trim().is_empty() || rest.contains('*') {
                return Err(format!(
                    "{pattern:?} can match no name; write `agent.example`, or `*.example` for one label before it"
                ));
            }
            normal.push(normalise(pattern));
        }
        Ok(Self(normal))
    }

    /// Whether one of `names` is on the list; an empty list lets everyone in.
    pub(super) fn allow(&self, names: &[String]) -> bool {
        self.0.is_empty()
            || names.iter().any(|name| {
                let name = normalise(name);
                self.0.iter().any(|pattern| matches(pattern, &name))
            })
    }
}

fn normalise(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => name.trim_end_matches('.').to_ascii_lowercase(),
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern == name,
        Some(domain) => name
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![
            "Agent.example".to_owned(),
            "192.0.2.7".to_owned(),
            "2001:db8::1".to_owned(),
        ])
        .unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut parameters.distinguished_name;
        name.push(rcgen::DnType::OrganizationName, "Example, \"Ltd\"");
        name.push(rcgen::DnType::CommonName, " agent\n\u{1b}[31m");
        parameters.self_signed(&key).unwrap()
    }

    #[test]
    fn subject_and_names_are_read_and_escaped() {
        let names = names_of(certificate().der());
        assert_eq!(
            names.subject.unwrap(),
            r#"CN=\ agent\0a\1b[31m,O=Example\, \"Ltd\""#
        );
        assert_eq!(names.names, ["Agent.example", "192.0.2.7", "2001:db8::1"]);
    }

    #[test]
    fn cut_and_bent_certificates_give_what_can_be_read() {
        let certificate = certificate();
        let der = certificate.der();
        for end in 0..der.len() {
            names_of(&der[..end]);
        }
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut bent = der.to_vec();
                bent[at] ^= 1 << bit;
                names_of(&bent);
            }
        }
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let list = |patterns: &[&str]| {
            AllowedNames::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>())
        };
        let allowed = list(&["*.Example", "192.0.2.7", "root@pve"]).unwrap();
        let holds = |name: &str| allowed.allow(&[name.to_owned()]);
        assert!(holds("AGENT.example."));
        assert!(holds("::ffff:192.0.2.7"));
        assert!(holds("root@pve"));
        for other in [
            "example",
            "a.b.example",
            "agent.example.org",
            "192.0.2.70",
            ".example",
        ] {
            assert!(!holds(other), "{other}");
        }
        assert!(!allowed.allow(&[]));
        assert!(list(&[]).unwrap().allow(&[]));
        for wrong in ["", "*", "*.", "a*.example", "*.*.example"] {
            assert!(list(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_kind_is_a_dotted_number() {
        assert_eq!(dotted(&[0x55, 0x04, 46]), "2.5.4.46");
        assert_eq!(
            dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]),
            "1.2.840.113549"
        );
        // Numbers beyond 64 bits wrap; they are no names anyone looks for.
        dotted(&[0xff; 40]);
    }
}
