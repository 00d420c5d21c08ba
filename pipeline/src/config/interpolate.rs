//! `${VAR}`, `${VAR:-otherwise}`, `${VAR:?why}`, `${file:path}`, `${cred:name}` and `$$` inside parsed strings.
//!
//! Only whole string values are filled in, after parsing, so a variable's text can never become a key, a section or a comment.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use super::env::Env;

/// What could not be filled in: where in the string, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfilled {
    pub(crate) range: Range<usize>,
    pub(crate) why: String,
    pub(crate) help: String,
}

/// Fills in `text`; borrowed where there is nothing to fill in. `revealed` gets (value, how it was written) of each.
pub(crate) fn fill<'a>(
    text: &'a str,
    env: &dyn Env,
    revealed: &mut Vec<(String, String)>,
) -> Result<Cow<'a, str>, Vec<Unfilled>> {
    if !text.contains('$') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut errors = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('$').map(|n| at + n) {
        out.push_str(&text[at..found]);
        let rest = &text[found + 1..];
        if rest.starts_with('$') {
            out.push('$');
            at = found + 2;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let Some(end) = inner.find('}') else {
                errors.push(Unfilled {
                    range: found..text.len(),
                    why: "\"${\" is not closed".to_owned(),
                    help: "write \"${NAME}\", or \"$$\" for a dollar sign".to_owned(),
                });
                return Err(errors);
            };
            let whole = found..found + end + 3;
            match value(&inner[..end], env) {
                Ok(value) => {
                    out.push_str(&value);
                    revealed.push((value, text[whole.clone()].to_owned()));
                }
                Err((why, help)) => errors.push(Unfilled {
                    range: whole.clone(),
                    why,
                    help,
                }),
            }
            at = whole.end;
        } else {
            // A lone dollar sign is itself: "pve$" needs no escape.
            out.push('$');
            at = found + 1;
        }
    }
    out.push_str(&text[at..]);
    if errors.is_empty() {
        Ok(Cow::Owned(out))
    } else {
        Err(errors)
    }
}

/// The text that stands for `${inner}`, or why there is none and what to do.
fn value(inner: &str, env: &dyn Env) -> Result<String, (String, String)> {
    if let Some(path) = inner.strip_prefix("file:") {
        return read(env, Path::new(path), &format!("the file {path:?}"));
    }
    if let Some(name) = inner.strip_prefix("cred:") {
        if !matches!(
            Path::new(name).components().collect::<Vec<_>>().as_slice(),
            [Component::Normal(_)]
        ) {
            let help =
                "write the name given to systemd's LoadCredential=, without a path".to_owned();
            return Err((format!("{name:?} is no name of a credential"), help));
        }
        let Some(folder) = env.var("CREDENTIALS_DIRECTORY") else {
            return Err((
                format!("the credential {name:?} is not here: $CREDENTIALS_DIRECTORY is not set"),
                format!(
                    "start under systemd with LoadCredential={name}:/path, or set CREDENTIALS_DIRECTORY to a folder"
                ),
            ));
        };
        return read(
            env,
            &PathBuf::from(folder).join(name),
            &format!("the credential {name:?}"),
        );
    }
    let end = inner
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err((
            format!("\"${{{inner}}}\" names no variable"),
            "write \"${NAME}\", \"${file:/path}\" or \"${cred:name}\", or \"$$\" for a dollar sign"
                .to_owned(),
        ));
    }
    // As in a shell, ":-" and ":?" also hold for a variable that is set to nothing.
    let set = env.var(name);
    match (rest.get(..2), set) {
        (Some(":-"), set) => Ok(set
            .filter(|v| !v.is_empty())
            .unwrap_or_else(|| rest[2..].to_owned())),
        (Some(":?"), set) => set.filter(|v| !v.is_empty()).ok_or_else(|| {
            let why = if rest.len() > 2 {
                format!("the variable {name} is not set: {}", &rest[2..])
            } else {
                format!("the variable {name} is not set")
            };
            (why, format!("set it in the environment: {name}=…"))
        }),
        (None, Some(value)) if rest.is_empty() => Ok(value),
        (None, None) if rest.is_empty() => Err((
            format!("the variable {name} is not set"),
            format!("set it in the environment, or say what holds otherwise: \"${{{name}:-…}}\""),
        )),
        _ => Err((
            format!("\"${{{inner}}}\" is not understood"),
            format!(
                "write \"${{{name}}}\", \"${{{name}:-otherwise}}\" or \"${{{name}:?why it is needed}}\""
            ),
        )),
    }
}

fn read(env: &dyn Env, path: &Path, what: &str) -> Result<String, (String, String)> {
    match env.read(path) {
        // A secret's file usually ends with a line end that is not part of it.
        Ok(text) => Ok(text
            .strip_suffix('\n')
            .map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t))
            .to_owned()),
        Err(error) => Err((
            format!("{what} cannot be read: {error}"),
            format!(
                "check that {} exists and that this user may read it",
                path.display()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env::FakeEnv;

    fn world() -> FakeEnv {
        FakeEnv::new()
            .with_var("HOST", "pve1")
            .with_var("EMPTY", "")
            .with_var("TRICK", "${HOST}\"\n[sinks]")
            .with_var("CREDENTIALS_DIRECTORY", "/run/cred")
            .with_file("/run/cred/es", "s3cret\n")
            .with_file("/etc/name", "prod\r\n")
    }

    #[test]
    fn every_form_is_filled_in() {
        for (text, filled) in [
            ("plain", "plain"),
            ("a ${HOST} b", "a pve1 b"),
            ("${NONE:-x}", "x"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("${HOST:?why}", "pve1"),
            ("${file:/etc/name}", "prod"),
            ("${cred:es}", "s3cret"),
            ("$$ $${HOST} $", "$ ${HOST} $"),
            ("costs 5$ or $x", "costs 5$ or $x"),
            ("ä${HOST}ö", "äpve1ö"),
            // What a variable holds is text and nothing else.
            ("${TRICK}", "${HOST}\"\n[sinks]"),
        ] {
            assert_eq!(
                fill(text, &world(), &mut Vec::new()).as_deref(),
                Ok(filled),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_filled_in_says_where_and_what_to_do() {
        for (text, range, why) in [
            ("a ${NONE}", 2..9, "the variable NONE is not set"),
            (
                "${NONE:?ask the admin}",
                0..22,
                "the variable NONE is not set: ask the admin",
            ),
            ("${EMPTY:?}", 0..10, "the variable EMPTY is not set"),
            ("${", 0..2, "\"${\" is not closed"),
            ("${}", 0..3, "\"${}\" names no variable"),
            ("${9}", 0..4, "\"${9}\" names no variable"),
            ("${HOST:x}", 0..9, "\"${HOST:x}\" is not understood"),
            ("${HOST x}", 0..9, "\"${HOST x}\" is not understood"),
            (
                "${cred:../etc/shadow}",
                0..21,
                "\"../etc/shadow\" is no name of a credential",
            ),
            (
                "${cred:none}",
                0..12,
                "the credential \"none\" cannot be read: no such file",
            ),
            (
                "${file:/none}",
                0..13,
                "the file \"/none\" cannot be read: no such file",
            ),
        ] {
            let errors = fill(text, &world(), &mut Vec::new()).expect_err(text);
            assert_eq!(
                (errors[0].range.clone(), errors[0].why.as_str()),
                (range, why),
                "{text}"
            );
            assert!(!errors[0].help.is_empty());
        }
        assert_eq!(
            fill("${A} ${B}", &world(), &mut Vec::new())
                .expect_err("neither is set")
                .len(),
            2
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[${}:?a-zä-]*") {
            let _ = fill(&text, &world(), &mut Vec::new());
        }
    }
}
