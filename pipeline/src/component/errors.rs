//! What `build` has to say against a configuration: everything at once, each with its place and its remedy.

use std::fmt;
use std::ops::Range;

use super::{Place, Spanned};

/// Where an error lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// The component as a whole.
    Component,
    /// One of its keys, by path (`tls.ca_file`, `route[0].receiver`).
    Key(String),
    /// A value.
    Value(Place),
    /// Some bytes of a string value, counted in the parsed string.
    Inside(Place, Range<usize>),
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    pub(crate) spot: Spot,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) note: Option<String>,
}

impl BuildError {
    /// A mistake of the component as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        BuildError {
            spot: Spot::Component,
            message: message.into(),
            help: None,
            note: None,
        }
    }

    /// A mistake in a value.
    pub fn at<T>(value: &Spanned<T>, message: impl Into<String>) -> Self {
        BuildError {
            spot: Spot::Value(value.place()),
            ..BuildError::new(message)
        }
    }

    /// A mistake in some bytes of a string: `range` counts in the parsed string.
    pub fn inside(text: &Spanned<String>, range: Range<usize>, message: impl Into<String>) -> Self {
        BuildError {
            spot: Spot::Inside(text.place(), range),
            ..BuildError::new(message)
        }
    }

    /// A mistake in the value of a key, by path below the component (`tls.ca_file`).
    pub fn key(path: impl Into<String>, message: impl Into<String>) -> Self {
        BuildError {
            spot: Spot::Key(path.into()),
            ..BuildError::new(message)
        }
    }

    /// What to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// More to know, several lines allowed.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The mistake in one sentence, without its place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it lies.
    pub fn spot(&self) -> &Spot {
        &self.spot
    }

    /// The remedy, if one was given.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.spot {
            Spot::Key(key) => write!(f, "{key}: {}", self.message)?,
            Spot::Inside(_, range) => write!(f, "{} (at byte {})", self.message, range.start)?,
            Spot::Component | Spot::Value(_) => f.write_str(&self.message)?,
        }
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BuildError {}

/// All mistakes of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildErrors(Vec<BuildError>);

impl BuildErrors {
    /// None so far.
    pub fn new() -> Self {
        BuildErrors::default()
    }

    /// One more.
    pub fn push(&mut self, error: BuildError) {
        self.0.push(error);
    }

    /// Keeps the value of `result`, or its errors.
    pub fn take<T, E: Into<BuildErrors>>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(errors) => {
                self.0.extend(errors.into().0);
                None
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &BuildError> {
        self.0.iter()
    }

    /// `value` if there were no errors.
    pub fn finish<T>(self, value: T) -> Result<T, BuildErrors> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl From<BuildError> for BuildErrors {
    fn from(error: BuildError) -> Self {
        BuildErrors(vec![error])
    }
}

impl Extend<BuildError> for BuildErrors {
    fn extend<I: IntoIterator<Item = BuildError>>(&mut self, errors: I) {
        self.0.extend(errors);
    }
}

impl IntoIterator for BuildErrors {
    type Item = BuildError;
    type IntoIter = std::vec::IntoIter<BuildError>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildErrors {}
