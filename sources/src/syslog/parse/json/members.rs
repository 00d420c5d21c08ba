//! The members of one object, one after the other, without building what is known by its place.

use pipeline::Value;

use super::super::Refusal;
use super::text::{self, Text};
use super::{Item, MOST_LEVELS, MOST_MEMBERS};

/// Calls `take` for each member of the object that begins at `at` and ends with the text.
pub(super) fn each(text: &str, at: usize, take: &mut dyn FnMut(Text, Item)) -> Result<(), Refusal> {
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b'{') {
        return Err(Refusal::new("a JSON object begins with {", at));
    }
    let mut members = Members {
        text,
        at: at + 1,
        room: MOST_MEMBERS,
    };
    members.blanks();
    if members.next_is(b'}') {
        return members.end();
    }
    loop {
        members.take_room(1)?;
        members.blanks();
        if !members.next_is(b'"') {
            return Err(members.wrong("a JSON member begins with its name in quotes"));
        }
        let name = members.string()?;
        members.blanks();
        if !members.next_is(b':') {
            return Err(members.wrong("behind the name of a JSON member stands a colon"));
        }
        let item = members.item()?;
        take(name, item);
        members.blanks();
        if members.next_is(b'}') {
            return members.end();
        }
        if !members.next_is(b',') {
            return Err(members.wrong("JSON members are parted by commas"));
        }
    }
}

struct Members<'a> {
    text: &'a str,
    at: usize,
    room: usize,
}

impl Members<'_> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next_is(&mut self, byte: u8) -> bool {
        let is = self.byte() == Some(byte);
        self.at += usize::from(is);
        is
    }

    fn blanks(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn wrong(&self, why: &'static str) -> Refusal {
        Refusal::new(why, self.at)
    }

    fn take_room(&mut self, members: usize) -> Result<(), Refusal> {
        let Some(room) = self.room.checked_sub(members) else {
            return Err(self.wrong("its JSON has more than 1024 members"));
        };
        self.room = room;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.blanks();
        match self.byte() {
            None => Ok(()),
            Some(_) => Err(self.wrong("behind the JSON object stands something else")),
        }
    }

    /// The rest of a string whose quote was read.
    fn string(&mut self) -> Result<Text, Refusal> {
        let (text, end) = text::read(self.text, self.at)?;
        self.at = end;
        Ok(text)
    }

    fn item(&mut self) -> Result<Item, Refusal> {
        self.blanks();
        match self.byte() {
            Some(b'"') => self.text().map(Item::Text),
            Some(b'{' | b'[') => self.nested(),
            _ => self.plain(),
        }
    }

    /// A text, read rightly where a template wrote a whole member into it or in its place:
    /// `"message":""msg":"text""` or `"message":"msg":"text"`.
    fn text(&mut self) -> Result<Text, Refusal> {
        self.at += 1;
        let behind = self.text.as_bytes().get(self.at + 1);
        if self.byte() == Some(b'"')
            && behind.is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'$')
        {
            self.at += 1;
            self.string()?;
            let said = self.member_in_quotes()?;
            if !self.next_is(b'"') {
                return Err(self.wrong("behind a JSON member in quotes stands no quote"));
            }
            return Ok(said);
        }
        let said = self.string()?;
        if self.byte() == Some(b':') {
            return self.member_in_quotes();
        }
        Ok(said)
    }

    #[cold]
    fn member_in_quotes(&mut self) -> Result<Text, Refusal> {
        if !(self.next_is(b':') && self.next_is(b'"')) {
            return Err(self.wrong("a JSON string ends inside itself"));
        }
        pipeline::log_limited!(
            warn,
            "a syslog sender's rsyslog template writes format=\"jsonf\" inside quotes, which is no JSON; it is read all the \
             same, but write format=\"json\" there"
        );
        self.string()
    }

    /// An object or a list.
    fn nested(&mut self) -> Result<Item, Refusal> {
        let from = self.at;
        self.skip_nested()?;
        let json = self.text.get(from..self.at).unwrap_or_default();
        // Bounded in levels by now, and so in what this may cost.
        match serde_json::from_str::<serde_json::Value>(json) {
            Ok(value) => Ok(Item::Other(Value::from_json(value))),
            Err(_) => Err(Refusal::new("a JSON member is no JSON", from)),
        }
    }

    /// Goes behind the object or list that begins here, counting levels and members.
    fn skip_nested(&mut self) -> Result<(), Refusal> {
        // The outermost object is the first level.
        let mut level = 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let found = rest
                .iter()
                .position(|byte| matches!(byte, b'{' | b'[' | b'}' | b']' | b',' | b'"'))
                .ok_or_else(|| self.wrong("a JSON object or list does not end"))?;
            self.at += found + 1;
            match rest[found] {
                b'"' => {
                    self.string()?;
                }
                b',' => self.take_room(1)?,
                b'{' | b'[' => {
                    level += 1;
                    if level > MOST_LEVELS {
                        return Err(self.wrong("its JSON is nested more than 64 levels deep"));
                    }
                    self.take_room(1)?;
                }
                _ => {
                    level -= 1;
                    if level == 1 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    fn plain(&mut self) -> Result<Item, Refusal> {
        let from = self.at;
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        let len = rest
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r'))
            .unwrap_or(rest.len());
        self.at += len;
        let json = self.text.get(from..self.at).unwrap_or_default();
        match serde_json::from_str::<serde_json::Value>(json) {
            Ok(value) => Ok(Item::Other(Value::from_json(value))),
            Err(_) => Err(Refusal::new("a JSON member has no value", from)),
        }
    }
}
