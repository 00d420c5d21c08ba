//! Resolves `%{NAME}`, `%{NAME:field}`, `%{NAME:field:type}` and `(?<field>…)` against a library.

use std::collections::HashMap;

use super::ast::{Known, Node};
use super::library::{Library, base_text};
use super::syntax::{Fault, Parser, parse};

/// References inside references at most [levels]; Logstash's own go six deep.
const MAX_DEPTH: usize = 40;
/// Nodes that one pattern may grow to.
const MAX_NODES: usize = 200_000;
/// Captures that one pattern may have.
const MAX_CAPTURES: usize = 2_000;

/// What a captured text becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// The text as it stands.
    Text,
    /// `:int`
    Int,
    /// `:float`
    Float,
    /// `:boolean`: `true` and `false`, in any case; other texts stay text.
    Bool,
}

/// One group that remembers.
#[derive(Clone, Debug)]
pub struct Group {
    /// Dotted path of the field, `source.ip` for `[source][ip]`.
    pub field: String,
    /// What the text becomes.
    pub cast: Cast,
    /// The library name it was taken by, empty for `(?<field>…)`.
    pub syntax: String,
    /// As written, `IP:[source][ip]`: groups written alike fill one field in their order.
    pub(super) written: String,
}

/// Collects groups while one pattern is read.
pub(super) struct Expander<'l> {
    library: &'l Library,
    named_only: bool,
    pub(super) groups: Vec<Group>,
    /// Groups inside groups at this moment, over all definitions being read [levels].
    pub(super) depth: usize,
    /// Where the parts of the pattern itself stand in its text, and whether it is one sequence, for `grok try`.
    pub(super) pieces: Vec<std::ops::Range<usize>>,
    pub(super) alternatives: bool,
    open: Vec<String>,
    local: HashMap<String, String>,
    nodes: usize,
}

impl<'l> Expander<'l> {
    /// With `named_only`, `%{NAME}` without a field remembers nothing, as Logstash has it.
    pub(super) fn new(library: &'l Library, named_only: bool) -> Expander<'l> {
        Expander {
            library,
            named_only,
            groups: Vec::new(),
            depth: 0,
            pieces: Vec::new(),
            alternatives: false,
            open: Vec::new(),
            local: HashMap::new(),
            nodes: 0,
        }
    }

    /// For reading the definition of `name`, which may then not name itself.
    pub(super) fn inside(mut self, name: &str) -> Self {
        self.open.push(name.to_owned());
        self
    }

    /// Whether the pattern itself is being read, and no group or definition in it.
    pub(super) fn at_top(&self) -> bool {
        self.depth == 0 && self.open.is_empty()
    }

    /// Counts what the pattern grows to.
    pub(super) fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(format!("the pattern grows to more than {MAX_NODES} pieces"));
        }
        Ok(())
    }

    /// The numbers of the groups written under this name so far.
    pub(super) fn groups_called(&self, name: &str) -> Vec<usize> {
        let called = |group: &&(usize, &Group)| group.1.written == name || group.1.field == name;
        let all: Vec<_> = self.groups.iter().enumerate().collect();
        all.iter().filter(called).map(|group| group.0).collect()
    }

    /// Opens `(?<name>…)`, also `(?<name:int>…)`. A fault's place is relative to the name.
    pub(super) fn named_group(&mut self, name: &str) -> Result<usize, Fault> {
        let (path, kind) = name
            .split_once(':')
            .map_or((name, None), |(path, kind)| (path, Some(kind)));
        let field = field_path(path).ok_or_else(|| {
            Fault::new(0, format!("`{path}` is no name of a field"))
                .help("write it like source.ip or [source][ip]")
        })?;
        let cast = cast_of(kind).map_err(|what| {
            Fault::new(path.len() + 1, what)
                .help("types are `int`, `float` and `boolean`; without one it stays text")
        })?;
        self.group(
            Group {
                field,
                cast,
                syntax: String::new(),
                written: name.to_owned(),
            },
            0,
        )
    }

    fn group(&mut self, group: Group, at: usize) -> Result<usize, Fault> {
        if self.groups.len() >= MAX_CAPTURES {
            return Err(Fault::new(
                at,
                format!("more than {MAX_CAPTURES} captures in one pattern"),
            ));
        }
        self.groups.push(group);
        Ok(self.groups.len() - 1)
    }

    /// Whether hand-written code may stand for this definition: only for the text it was written for.
    fn known(&self, name: &str, text: &str) -> Option<Known> {
        let usual = |name: &str| self.definition(name) == base_text(name);
        let what = match name {
            "IPV4" => Known::Ipv4,
            "IPV6" => Known::Ipv6,
            "BASE10NUM" => Known::Number,
            "QUOTEDSTRING" => Known::Quoted,
            "TIME" if ["HOUR", "MINUTE", "SECOND"].into_iter().all(usual) => Known::Time,
            _ => return None,
        };
        (base_text(name) == Some(text)).then_some(what)
    }

    fn definition(&self, name: &str) -> Option<&str> {
        self.local
            .get(name)
            .map(String::as_str)
            .or_else(|| self.library.get(name))
    }
}

impl Parser<'_, '_, '_> {
    /// What `%{` opens; the `%` is read already.
    pub(super) fn reference(&mut self, start: usize) -> Result<Node, Fault> {
        self.at += 1; // `{`
        let inner_at = self.at;
        let Some(length) = closing(&self.text[inner_at..]) else {
            return Err(Fault::new(start, "a `%{` that is never closed")
                .help("write \\%\\{ for the characters themselves"));
        };
        let inner = &self.text[inner_at..inner_at + length];
        self.at = inner_at + length + 1;

        // `%{NAME:field=definition}` defines a pattern where it is used.
        let (head, own) = match inner.find('=') {
            Some(eq) => (&inner[..eq], Some(&inner[eq + 1..])),
            None => (inner, None),
        };
        let mut parts = head.splitn(3, ':');
        let name = parts.next().unwrap_or_default().to_owned();
        let (field, kind) = (
            parts.next().map(str::to_owned),
            parts.next().map(str::to_owned),
        );
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(Fault::new(start, format!("`%{{{inner}}}` names no pattern"))
                .help("a reference is %{NAME}, %{NAME:field} or %{NAME:field:type}, NAME of letters, digits and `_`"));
        }
        if let Some(own) = own {
            self.expander.local.insert(name.clone(), own.to_owned());
        }
        let Some(text) = self.expander.definition(&name).map(str::to_owned) else {
            let mut fault = Fault::new(inner_at, format!("no pattern is called `{name}`"));
            fault.help = Some(match self.expander.library.nearest(&name) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add it under pattern_definitions, or to a file in patterns_dir".to_owned(),
            });
            return Err(fault);
        };
        if let Some(from) = self.expander.open.iter().position(|open| *open == name) {
            let ring = self.expander.open[from..].join(" → ");
            return Err(Fault::new(
                start,
                format!("`{name}` contains itself: {ring} → {name}"),
            ));
        }
        if self.expander.open.len() >= MAX_DEPTH {
            return Err(Fault::new(
                start,
                format!("patterns refer to each other more than {MAX_DEPTH} deep"),
            ));
        }

        let index = self.open_field(&name, field.as_deref(), kind.as_deref(), inner_at)?;
        self.expander.open.push(name.clone());
        let parsed = parse(&text, self.flags, self.expander);
        self.expander.open.pop();
        let mut node = parsed.map_err(|mut inner| {
            if inner.within.is_empty() && !inner.what.contains("contains itself") {
                inner.what = format!(
                    "in the definition of {name}, at {}: {}",
                    inner.at, inner.what
                );
            }
            inner.at = start;
            inner.within.insert(0, name.clone());
            inner
        })?;
        let captures = node.any(&mut |node| matches!(node, Node::Capture { .. }));
        if let Some(what) = self
            .expander
            .known(&name, &text)
            .filter(|_| !self.flags.ignore_case && !captures)
        {
            node = Node::Known {
                what,
                node: Box::new(node),
            };
        }
        Ok(match index {
            Some(index) => Node::Capture {
                index,
                node: Box::new(node),
            },
            // A group of its own, so that what follows repeats the whole of it.
            None => match node {
                Node::Literal(text) => Node::Concat(vec![Node::Literal(text)]),
                node => node,
            },
        })
    }

    fn open_field(
        &mut self,
        name: &str,
        field: Option<&str>,
        kind: Option<&str>,
        at: usize,
    ) -> Result<Option<usize>, Fault> {
        let (path, written) = match field {
            Some(field) => {
                let path = field_path(field).ok_or_else(|| {
                    Fault::new(
                        at + name.len() + 1,
                        format!("`{field}` is no name of a field"),
                    )
                    .help("write it like source.ip or [source][ip]")
                })?;
                (path, format!("{name}:{field}"))
            }
            None if self.expander.named_only => return Ok(None),
            None => (name.to_owned(), name.to_owned()),
        };
        let cast = cast_of(kind).map_err(|what| {
            Fault::new(at + name.len() + field.map_or(0, str::len) + 2, what)
                .help("types are `int`, `float` and `boolean`; without one it stays text")
        })?;
        let group = Group {
            field: path,
            cast,
            syntax: name.to_owned(),
            written,
        };
        self.expander.group(group, at).map(Some)
    }
}

/// Where the `}` stands that closes what was opened before this text; an inline definition may hold braces of its own.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// `source.ip` of `[source][ip]` or `source.ip`; what Logstash reads over (`[code]?`, `[name?]`) is read over here.
fn field_path(written: &str) -> Option<String> {
    let mut path = String::new();
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || "_@-.+ ".contains(c))
    };
    if written.starts_with('[') {
        for part in written.split('[').skip(1) {
            let part = part
                .trim_end_matches('?')
                .trim_end_matches(']')
                .trim_end_matches('?');
            if !plain(part) {
                return None;
            }
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(part);
        }
    } else {
        path.push_str(written.trim_end_matches('?'));
        if !plain(&path) {
            return None;
        }
    }
    let good =
        !path.is_empty() && !path.starts_with('.') && !path.ends_with('.') && !path.contains("..");
    good.then_some(path)
}

fn cast_of(kind: Option<&str>) -> Result<Cast, String> {
    match kind {
        None | Some("string") => Ok(Cast::Text),
        Some("int" | "long") => Ok(Cast::Int),
        Some("float" | "double") => Ok(Cast::Float),
        Some("boolean" | "bool") => Ok(Cast::Bool),
        Some(other) => Err(format!("no type is called `{other}`")),
    }
}
