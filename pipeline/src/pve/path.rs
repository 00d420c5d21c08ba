//! The path of a call, as the server itself reads it before it looks for a handler.

use std::borrow::Cow;

/// In which form the answer was asked for. It stands behind `/api2/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A handler's error is the HTTP status.
    Json,
    /// The web console's: a handler's error is status 200 with `success:0` in the body (also `htmljs`).
    Extjs,
    /// `html`, `png`, `spiceconfig`: an error is the HTTP status.
    Other,
}

/// Takes `/api2/<format>` off, decodes `%xx` and collapses slashes (`PVE/RESTHandler.pm`, `PVE/APIServer/AnyEvent.pm`), so
/// that `//access/%75sers/a%40pve` and `/access/users/a@pve` are one path. `None` where it is no path of the API.
#[must_use]
pub fn normalise(raw: &str) -> Option<(Format, Cow<'_, str>)> {
    let decoded = decode(raw);
    let strip = |text: &str| -> Option<(Format, usize)> {
        let rest = text.strip_prefix("/api2")?.trim_start_matches('/');
        // `/api2x` is none, and a format there must be.
        if rest.len() + "/api2".len() == text.len() {
            return None;
        }
        let end = rest.find('/').unwrap_or(rest.len());
        let format = match &rest[..end] {
            "json" => Format::Json,
            "extjs" | "htmljs" => Format::Extjs,
            "" => return None,
            _ => Format::Other,
        };
        Some((format, text.len() - rest.len() + end))
    };
    let (format, at) = strip(&decoded)?;
    let path = match decoded {
        Cow::Borrowed(text) => collapse(&text[at..]),
        Cow::Owned(text) => Cow::Owned(collapse(&text[at..]).into_owned()),
    };
    Some((format, path))
}

/// `%xx` as bytes; what is no escape stays. What is no UTF-8 then is replaced.
#[must_use]
pub fn decode(raw: &str) -> Cow<'_, str> {
    if !raw.contains('%') {
        return Cow::Borrowed(raw);
    }
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |n: usize| bytes.get(at + n).and_then(|c| (*c as char).to_digit(16));
        match (bytes[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn collapse(path: &str) -> Cow<'_, str> {
    if !path.is_empty() && !path.contains("//") && (path.len() == 1 || !path.ends_with('/')) {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len() + 1);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        out.push('/');
        out.push_str(part);
    }
    if out.is_empty() {
        out.push('/');
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_a_path_is_one_path() {
        let path = |raw| normalise(raw).map(|(format, path)| (format, path.into_owned()));
        let user = Some((Format::Json, "/access/users/alice@pve".to_owned()));
        assert_eq!(path("/api2/json/access/users/alice@pve"), user);
        assert_eq!(path("/api2/json//access/users/alice%40pve"), user);
        assert_eq!(path("/api2//json/%61ccess/users//alice@pve/"), user);
        assert_eq!(path("/api2/extjs"), Some((Format::Extjs, "/".to_owned())));
        assert_eq!(
            path("/api2/png/nodes/pve1/rrd").map(|one| one.0),
            Some(Format::Other)
        );
        for none in [
            "/",
            "/pve2/css/ext6-pve.css",
            "/api2",
            "/api2/",
            "/api2x/json/nodes",
        ] {
            assert_eq!(path(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(raw in "(/api2/+(json|extjs)?)?[ -~é%/]{0,40}") {
            if let Some((_, path)) = normalise(&raw) {
                prop_assert!(path.starts_with('/') && !path.contains("//"));
            }
        }
    }
}
