//! Numbers and texts of a saved state: little-endian, texts behind their length. A state that was cut or damaged is an
//! error, never a panic and never a large allocation.

use std::net::IpAddr;

use pipeline::{EventId, StateError, Time};

/// Appends to a state.
pub(super) trait Put {
    /// One byte.
    fn put_u8(&mut self, value: u8);
    /// Four bytes.
    fn put_u32(&mut self, value: u32);
    /// Eight bytes.
    fn put_i64(&mut self, value: i64);
    /// A text.
    fn put_str(&mut self, text: &str);

    /// A length.
    fn put_len(&mut self, len: usize) {
        self.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// A point in time.
    fn put_time(&mut self, time: Time) {
        self.put_i64(time.0);
    }

    /// The id of an event.
    fn put_id(&mut self, id: EventId) {
        for word in id.0 {
            self.put_i64(word as i64);
        }
    }

    /// An address.
    fn put_ip(&mut self, ip: IpAddr) {
        self.put_str(&ip.to_string());
    }

    /// A value that may be absent.
    fn put_option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.put_u8(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }

    /// Several values behind their number.
    fn put_all<T>(&mut self, values: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.put_len(values.len());
        for value in values {
            put(self, value);
        }
    }
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_str(&mut self, text: &str) {
        self.put_len(text.len());
        self.extend_from_slice(text.as_bytes());
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

    /// One byte.
    pub(super) fn u8(&mut self) -> Result<u8, StateError> {
        Ok(self.bytes::<1>()?[0])
    }

    /// Four bytes.
    pub(super) fn u32(&mut self) -> Result<u32, StateError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    /// Eight bytes.
    pub(super) fn i64(&mut self) -> Result<i64, StateError> {
        Ok(i64::from_le_bytes(self.bytes()?))
    }

    /// A text.
    pub(super) fn str(&mut self) -> Result<&'a str, StateError> {
        let len = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(len).ok_or_else(short)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| StateError("a saved text is no UTF-8".to_owned()))
    }

    /// A point in time.
    pub(super) fn time(&mut self) -> Result<Time, StateError> {
        Ok(Time(self.i64()?))
    }

    /// The id of an event.
    pub(super) fn id(&mut self) -> Result<EventId, StateError> {
        Ok(EventId([self.i64()? as u64, self.i64()? as u64]))
    }

    /// An address.
    pub(super) fn ip(&mut self) -> Result<IpAddr, StateError> {
        let text = self.str()?;
        text.parse()
            .map_err(|_| StateError(format!("a saved address is none: {text:?}")))
    }

    /// A value that may be absent.
    pub(super) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T, StateError>,
    ) -> Result<Option<T>, StateError> {
        match self.u8()? {
            0 => Ok(None),
            1 => take(self).map(Some),
            other => Err(StateError(format!("{other} is neither there nor absent"))),
        }
    }

    /// Several values. Each takes at least one byte, so their number is bounded by what is there.
    pub(super) fn all<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<T, StateError>,
    ) -> Result<Vec<T>, StateError> {
        let count = self.u32()? as usize;
        if count > self.0.len() {
            return Err(short());
        }
        (0..count).map(|_| take(self)).collect()
    }

    /// An event that was held.
    pub(super) fn event(&mut self) -> Result<pipeline::Event, StateError> {
        pipeline::state::read_event(&mut self.0)
    }
}

#[cold]
fn short() -> StateError {
    StateError("the saved state of the correlation is cut short".to_owned())
}
