//! Numbers and texts of a saved state: little-endian, texts behind their length. A state that was cut or damaged is an
//! error, never a panic and never a large allocation.

use pipeline::{EventId, StateError};

use super::spec::Stamp;

/// Appends to a state.
pub(super) struct Put<'a>(pub(super) &'a mut Vec<u8>);

impl Put<'_> {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.u64(value as u64);
    }

    pub(super) fn len(&mut self, len: usize) {
        self.u32(u32::try_from(len).unwrap_or(u32::MAX));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.len(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn id(&mut self, id: EventId) {
        id.0.into_iter().for_each(|word| self.u64(word));
    }

    pub(super) fn stamp(&mut self, stamp: Stamp) {
        self.i64(stamp.time);
        self.id(stamp.id);
    }
}

/// Reads a state from its front.
pub(super) struct Take<'a>(pub(super) &'a [u8]);

impl<'a> Take<'a> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, StateError> {
        Ok(self.bytes::<1>()?[0])
    }

    pub(super) fn flag(&mut self) -> Result<bool, StateError> {
        Ok(self.u8()? != 0)
    }

    pub(super) fn u32(&mut self) -> Result<u32, StateError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, StateError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, StateError> {
        Ok(self.u64()? as i64)
    }

    /// A number of things, each of which takes at least one byte.
    pub(super) fn len(&mut self) -> Result<usize, StateError> {
        let len = self.u32()? as usize;
        if len > self.0.len() {
            return Err(short());
        }
        Ok(len)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        self.bytes()
    }

    pub(super) fn slice(&mut self) -> Result<&'a [u8], StateError> {
        let len = self.len()?;
        let (head, rest) = self.0.split_at_checked(len).ok_or_else(short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, StateError> {
        std::str::from_utf8(self.slice()?)
            .map_err(|_| StateError("a saved text is no UTF-8".to_owned()))
    }

    pub(super) fn id(&mut self) -> Result<EventId, StateError> {
        Ok(EventId([self.u64()?, self.u64()?]))
    }

    pub(super) fn stamp(&mut self) -> Result<Stamp, StateError> {
        Ok(Stamp::new(self.i64()?, self.id()?))
    }

    pub(super) fn event(&mut self) -> Result<pipeline::Event, StateError> {
        pipeline::state::read_event(&mut self.0)
    }
}

#[cold]
fn short() -> StateError {
    StateError("the saved state of the rules is cut short".to_owned())
}
