//! A call that says more than the task it forks: `imgdel` deletes volumes, and the path of the call says that it was a backup.

use pipeline::pve::Endpoint;
use pipeline::{Catalogue, Event, StateError, Value, fields};

use super::codec::{Put, Take};
use super::names::NAMES;

/// What a call says that its task does.
#[derive(Debug)]
pub(super) struct Refined {
    code: Box<str>,
    object: Box<str>,
}

impl Refined {
    /// By a line of the access log; `None` where the task says it as well.
    pub(super) fn of(line: &Event) -> Option<Refined> {
        let path = line.str(fields::URL_PATH)?;
        let call = Endpoint::find(line.str(fields::HTTP_METHOD)?, path)?;
        Some(Refined {
            code: call.refined()?.into(),
            object: call.act().object_id.into_owned().into(),
        })
    }

    /// Memory it stands for, beside itself [bytes].
    pub(super) fn size(&self) -> usize {
        self.code.len() + self.object.len()
    }

    /// Makes a record of the task one of what was asked for.
    pub(super) fn write(&self, event: &mut Event) {
        let Some(row) = Catalogue::builtin().get(&self.code) else {
            return;
        };
        let list = |words: &[String]| {
            let words = words.iter().map(|word| Value::from(word.as_str()));
            Value::List(words.collect())
        };
        event.set_str(fields::EVENT_CODE, &row.code);
        event.set_str(fields::EVENT_ACTION, &row.action);
        event.set(NAMES.category, list(&row.category));
        event.set(NAMES.kind, list(&row.kinds));
        event.set(fields::EVENT_SEVERITY, i64::from(row.severity));
        event.set_str(NAMES.object_type, &row.object);
        if !self.object.is_empty() {
            event.set_str(NAMES.object_id, &self.object);
        }
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_str(&self.code);
        to.put_str(&self.object);
    }

    pub(super) fn load(from: &mut Take<'_>) -> Result<Refined, StateError> {
        Ok(Refined {
            code: from.str()?.into(),
            object: from.str()?.into(),
        })
    }
}
