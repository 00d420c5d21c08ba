//! What is remembered of a change or a difference beside its event: what it takes to say whose it is, or whose it cannot be.

use pipeline::{Event, EventId, StateError, Time, ValueRef, fields};

use super::codec::{Put, Take};
use super::follows;
use super::names::NAMES;
use super::wrote::{self, Way};

/// The tag that `pve_config` gives to what changed while it did not look.
const WHILE_STOPPED: &str = "changed_while_stopped";

/// Keys, marks and ids.
#[derive(Debug)]
pub(super) struct Facts {
    /// Of what the journal says: the keys it names.
    pub(super) named: Vec<Box<str>>,
    /// Of a difference: what became of its object.
    pub(super) way: Way,
    /// Keys of objects whose end or beginning writes this along with it, and which of the two.
    pub(super) causes: Vec<(Box<str>, Way)>,
    /// The event that tells it.
    pub(super) joined: Option<EventId>,
    /// When it was written is not known, for nobody looked.
    pub(super) vague: bool,
    /// The API was asked, and told it.
    pub(super) polled: bool,
    /// When the API was asked the time before.
    pub(super) since: Option<Time>,
    /// What it says of users and rights, as [`follows::marks`] numbers it.
    pub(super) marks: Vec<u64>,
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            named: Vec::new(),
            way: Way::Change,
            causes: Vec::new(),
            joined: None,
            vague: false,
            polled: false,
            since: None,
            marks: Vec::new(),
        }
    }
}

impl Facts {
    /// Of a difference.
    pub(super) fn of(event: &Event) -> Facts {
        let polled = event.str(NAMES.origin) == Some("api");
        let vague = match event.get(fields::TAGS) {
            Some(ValueRef::List(tags)) => tags
                .iter()
                .any(|tag| tag.as_ref().as_str() == Some(WHILE_STOPPED)),
            Some(ValueRef::Str(tag)) => tag == WHILE_STOPPED,
            _ => false,
        };
        let since = match event.get(NAMES.start) {
            Some(ValueRef::Time(time)) => Some(time),
            Some(ValueRef::Str(text)) => Time::parse(text),
            _ => None,
        };
        let causes = follows::causes(event).into_iter();
        let causes = causes.map(|(object, id, way)| {
            let key = super::change::object_key("", object, &id);
            (key.into(), way)
        });
        Facts {
            way: wrote::way(event),
            causes: causes.collect(),
            vague,
            polled,
            since: since.filter(|_| polled),
            marks: follows::marks(event),
            ..Facts::default()
        }
    }

    /// Memory it stands for, beside itself [bytes].
    pub(super) fn size(&self) -> usize {
        let named: usize = self.named.iter().map(|name| name.len() + 16).sum();
        let causes: usize = self.causes.iter().map(|(key, _)| key.len() + 24).sum();
        // A mark stands in a list besides.
        named + causes + self.marks.len() * 48
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_all(&self.named, |to, name| to.put_str(name));
        to.put_u8(self.way as u8);
        to.put_all(&self.causes, |to, (key, way)| {
            to.put_str(key);
            to.put_u8(*way as u8);
        });
        to.put_option(self.joined, Put::put_id);
        to.put_u8(u8::from(self.vague) | u8::from(self.polled) << 1);
        to.put_option(self.since, Put::put_time);
        to.put_all(&self.marks, |to, mark| to.put_i64(mark.cast_signed()));
    }

    pub(super) fn load(from: &mut Take<'_>) -> Result<Facts, StateError> {
        let way = |from: &mut Take<'_>| {
            let way = usize::from(from.u8()?);
            let way = Way::ALL.get(way).copied();
            way.ok_or_else(|| StateError("a saved difference went no known way".to_owned()))
        };
        let named = from.all(|from| Ok(from.str()?.into()))?;
        let went = way(from)?;
        let causes = from.all(|from| Ok((from.str()?.into(), way(from)?)))?;
        let joined = from.option(Take::id)?;
        let flags = from.u8()?;
        Ok(Facts {
            named,
            way: went,
            causes,
            joined,
            vague: flags & 1 != 0,
            polled: flags & 2 != 0,
            since: from.option(Take::time)?,
            marks: from.all(|from| Ok(from.i64()?.cast_unsigned()))?,
        })
    }
}
