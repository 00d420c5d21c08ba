//! One connection: its bytes, cut into frames on the page that all share.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pipeline::log_limited;
use pipeline::net::listen::Stream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::desk::{Desk, Sender};
use super::frame::{Framer, Oddities};

/// Least and most room for one read [bytes].
const LEAST: usize = 8 * 1024;
const MOST: usize = 256 * 1024;
/// A sender that was told of the end and says nothing for so long has said all.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How TLS begins.
const CLIENT_HELLO: [u8; 2] = [0x16, 0x03];

/// One connection, from its acceptance to its end.
pub(super) struct Connection {
    stream: Stream,
    sender: Arc<Sender>,
    framer: Framer,
    /// Room for the next read [bytes].
    room: usize,
    /// When something came last.
    heard: Instant,
    /// Since when a frame is waiting for its end.
    waits: Option<Instant>,
    /// TLS may have decrypted more than was read, which shows on no socket.
    unread: bool,
    idle_timeout: Option<Duration>,
    frame_timeout: Duration,
    ends: Ends,
    state: State,
}

/// How all connections are ended.
#[derive(Clone, Default)]
pub(super) struct Ends {
    /// Set when senders are to be told that this is the end.
    pub(super) stop: CancellationToken,
    /// Set when nobody can wait for their end any longer.
    pub(super) leave: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was read yet.
    New,
    Open,
    /// The sender was told that this is the end, and may have more on its way.
    Leaving,
    /// No more will come, and there are frames left to make.
    Ended,
}

/// Why a connection is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Something came.
    Readable,
    /// A frame has been waiting for its end for too long.
    Unfinished,
    /// Nothing came for too long, or nobody waits any longer.
    Over,
    /// The source ends.
    Goodbye,
}

/// What a look at a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All that has arrived is read.
    Drained,
    /// The page is full, and there may be more.
    More,
    /// It is over.
    Closed,
}

impl Connection {
    pub(super) fn new(
        stream: Stream,
        sender: Arc<Sender>,
        settings: &Settings,
        ends: &Ends,
    ) -> Box<Self> {
        Box::new(Self {
            // A client's first words may have come with the end of its handshake.
            unread: stream.is_tls(),
            stream,
            sender,
            framer: Framer::new(settings.max_length),
            room: LEAST,
            heard: Instant::now(),
            waits: None,
            idle_timeout: settings.idle_timeout,
            frame_timeout: settings.frame_timeout,
            ends: ends.clone(),
            state: State::New,
        })
    }

    /// Waits until there is something to do, and says what.
    pub(super) async fn wait(self: Box<Self>) -> (Box<Self>, Cause) {
        if self.framer.has_more() || self.unread || self.state == State::Ended {
            return (self, Cause::Readable);
        }
        let unfinished = self
            .waits
            .map(|since| (since + self.frame_timeout, Cause::Unfinished));
        let told = self.state == State::Leaving;
        let patience = if told {
            Some(LAST_WORDS)
        } else {
            self.idle_timeout
        };
        let idle = patience.map(|limit| (self.heard + limit, Cause::Over));
        let first = unfinished.into_iter().chain(idle).min_by_key(|(at, _)| *at);
        let cause = {
            let late = async {
                match first {
                    Some((at, cause)) => {
                        tokio::time::sleep_until(at).await;
                        cause
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.ends.stop.cancelled(), if !told => Cause::Goodbye,
                () = self.ends.leave.cancelled(), if told => Cause::Over,
                // An error shows again when it is read.
                _ = self.stream.readable() => Cause::Readable,
                cause = late => cause,
            }
        };
        (self, cause)
    }

    /// Reads what is there onto the page, and makes frames of it.
    pub(super) fn look(&mut self, desk: &mut Desk, cause: Cause) -> Outcome {
        desk.begin(&self.sender);
        let outcome = match cause {
            Cause::Readable => self.read(desk),
            Cause::Unfinished => {
                desk.error("unfinished_frame", 1);
                self.waits = None;
                self.finish(desk)
            }
            // What a sender believes to be delivered may lie in the kernel, and one that hears of the end sends no more.
            Cause::Goodbye => {
                self.stream.say_goodbye();
                self.state = State::Leaving;
                self.heard = Instant::now();
                self.read(desk)
            }
            Cause::Over => match self.read(desk) {
                Outcome::Drained => {
                    self.state = State::Ended;
                    self.finish(desk)
                }
                other => other,
            },
        };
        desk.end();
        outcome
    }

    /// The sender is silent: what is held back is all there is.
    fn finish(&mut self, desk: &mut Desk) -> Outcome {
        let (page, number) = desk.page();
        let from = self.framer.begin(page);
        let odd = self.framer.split(page, from, number, true);
        tell(desk, odd);
        if self.framer.has_more() {
            Outcome::More
        } else if self.state == State::Ended {
            self.stream.say_goodbye();
            Outcome::Closed
        } else {
            Outcome::Drained
        }
    }

    fn read(&mut self, desk: &mut Desk) -> Outcome {
        if self.state == State::Ended {
            return self.finish(desk);
        }
        loop {
            let ahead = self.framer.has_more();
            let room = self.room.min(desk.room()).max(LEAST);
            let (page, _) = desk.page();
            let from = self.framer.begin(page);
            let came = if ahead {
                Ok(0)
            } else {
                self.stream.try_read(&mut page.space(room)[..room])
            };
            let came = match came {
                Ok(0) if !ahead => None,
                Ok(n) => Some(n),
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => Some(0),
                Err(why) => {
                    log_limited!(info, %why, "a connection broke off");
                    desk.error("connection_broken", 1);
                    None
                }
            };
            if !ahead {
                self.unread = self.stream.is_tls() && came.is_some_and(|came| came > 0);
            }
            let Some(came) = came else {
                // The end of the stream ends its last frame; it lies on the page already.
                self.state = State::Ended;
                let (page, number) = desk.page();
                let odd = self.framer.split(page, from, number, true);
                tell(desk, odd);
                return if self.framer.has_more() {
                    Outcome::More
                } else {
                    Outcome::Closed
                };
            };
            let (page, number) = desk.page();
            page.filled(came);
            if self.state == State::New && came > 0 {
                self.state = State::Open;
                if !self.stream.is_tls() && page.text()[from..].starts_with(&CLIENT_HELLO) {
                    page.cut(from);
                    self.refuse(desk);
                    return Outcome::Closed;
                }
            }
            let before = *number;
            let odd = self.framer.split(page, from, number, false);
            let made = *number > before;
            tell(desk, odd);
            if came > 0 || ahead {
                self.note(came, room, made);
            }
            if desk.is_full() || self.framer.has_more() {
                return Outcome::More;
            }
            // Of TLS one record comes at a time, and only silence says that there is no other.
            if came == 0 || (came < room && !self.stream.is_tls()) {
                return Outcome::Drained;
            }
        }
    }

    /// So much came, for which there was so much room.
    fn note(&mut self, came: usize, room: usize, made: bool) {
        let now = Instant::now();
        self.heard = now;
        if !self.framer.holds() {
            self.waits = None;
        } else if made || self.waits.is_none() {
            self.waits = Some(now);
        }
        self.room = next_room(self.room, came, room, self.framer.has_more());
    }

    #[cold]
    fn refuse(&self, desk: &Desk) {
        log_limited!(
            warn,
            "a sender speaks TLS to a port that does not; set tls, or turn it off at the sender"
        );
        desk.error("tls_to_plain_port", 1);
    }
}

fn tell(desk: &Desk, odd: Oddities) {
    desk.error("invalid_frame", odd.lost);
    desk.error("incomplete_frame", odd.partial);
    desk.error("empty_frame", odd.empty);
    desk.error("frame_too_long", odd.long);
}

/// Room for the next read, when `came` bytes filled `given`. Where frames are left over for the next page, they are so
/// short that a large read would only be held in memory, for each of the connections that send such.
fn next_room(room: usize, came: usize, given: usize, has_more: bool) -> usize {
    if has_more {
        LEAST
    } else if came == given {
        (room * 2).min(MOST)
    } else if came < given / 4 {
        (room / 2).max(LEAST)
    } else {
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_grows_with_what_comes_and_not_for_frames_of_a_byte() {
        assert_eq!(next_room(LEAST, LEAST, LEAST, false), LEAST * 2);
        assert_eq!(next_room(MOST, MOST, MOST, false), MOST);
        assert_eq!(next_room(MOST, MOST, MOST, true), LEAST);
        assert_eq!(next_room(MOST, 10, MOST, false), MOST / 2);
        assert_eq!(next_room(LEAST, 10, LEAST, false), LEAST);
    }
}
