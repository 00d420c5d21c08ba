//! The text that many events share, recycled when the last of them is gone.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The text of one read. Cloning counts a reference; the bytes are freed or recycled with the last one.
#[derive(Clone, Debug)]
pub struct Buffer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    text: String,
    home: Weak<Pool>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.put(std::mem::take(&mut self.text).into_bytes());
        }
    }
}

impl Buffer {
    /// A buffer of its own.
    pub fn new(text: String) -> Buffer {
        Buffer(Arc::new(Shared {
            text,
            home: Weak::new(),
        }))
    }

    pub(crate) fn pooled(text: String, home: &Arc<Pool>) -> Buffer {
        Buffer(Arc::new(Shared {
            text,
            home: Arc::downgrade(home),
        }))
    }

    /// Whether both are the same piece of memory.
    #[inline]
    pub(crate) fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The whole text.
    #[inline]
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

/// Buffers waiting to be filled again; a bounded number of them, and none that grew far beyond the usual.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<VecDeque<Vec<u8>>>);

/// Buffers kept by one source [buffers].
const KEPT: usize = 32;
/// A buffer larger than this is freed, not kept [bytes].
const LARGEST_KEPT: usize = 1 << 20;

impl Pool {
    pub(crate) fn take(&self) -> Vec<u8> {
        self.0.lock().pop_front().unwrap_or_default()
    }

    fn put(&self, bytes: Vec<u8>) {
        let mut kept = self.0.lock();
        if kept.len() < KEPT && bytes.capacity() <= LARGEST_KEPT {
            kept.push_back(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_goes_home_with_its_last_reference() {
        let pool = Arc::new(Pool::default());
        let first = Buffer::pooled("some text".to_owned(), &pool);
        let second = first.clone();
        drop(first);
        assert_eq!(pool.take().capacity(), 0, "still referred to");
        drop(second);
        assert_eq!(pool.take(), b"some text");
    }
}
