//! The steps of a scan program.

use memchr::memmem::Finder;

/// Which bytes, and at `END` the end of the text. A set of characters has all bytes of a character beyond ASCII or none; one
/// of what may come next only has the first, so that no end is ever inside a character.
pub(super) type Set = [bool; 256];

/// Where a set says whether the end of the text is in it. No UTF-8 text has this byte.
pub(super) const END: usize = 255;

/// One step. `u16` numbers are of sets, `u32` ones of steps unless told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// This byte.
    Byte(u8),
    /// These bytes of `Program::literals`.
    Literal { at: u32, len: u32 },
    /// One byte of a set.
    Set(u16),
    /// As many bytes of a set as there are, then fewer; only ends before a byte of `next` are tried.
    Run(Run),
    /// As few bytes of a set as can be, then more.
    Lazy(Run),
    /// On with the next step if the byte is in `here`, else or later with `there`, if it is in that set.
    Split { here: u16, there: u16, to: u32 },
    /// The other way round: `to` first.
    SplitTo { here: u16, there: u16, to: u32 },
    /// On with this step.
    Jump(u32),
    /// Remembers the place in this slot.
    Save(u32),
    /// A place that must be so.
    At(super::super::ast::Anchor),
    /// What stands before is (not) in a set; at the start of the text it is not.
    Behind { set: u16, negate: bool },
    /// What comes is (not) in a set; at the end of the text it is not.
    Ahead { set: u16, negate: bool },
    /// The steps up to `to` (not) matching from here; nothing is consumed.
    LookAhead { negate: bool, to: u32 },
    /// The same for the `width` bytes before.
    LookBehind { negate: bool, width: u32, to: u32 },
    /// The first way of the steps up to `to`.
    Atomic { to: u32 },
    /// Leaves a loop whose turn since the slot was saved took no text.
    Progress { slot: u32, exit: u32 },
    /// From here on this place failed before: fail at once.
    Memo(u16),
    /// Hand-written code.
    Ipv4,
    /// The whole run of address characters is an IPv6 address; what follows is none of them.
    Ipv6,
    /// A decimal number, whole.
    Number,
    /// A time of day, with the fraction or (later) without.
    Time,
    /// A quoted text, quotes included.
    Quoted,
    /// The end of a part that is run by itself.
    Done,
    /// The pattern has matched.
    Match,
}

/// A run of bytes of one set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) set: u16,
    pub(super) kind: Kind,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) next: u16,
    /// No byte of the set can be the next: there is one end only.
    pub(super) single: bool,
}

/// How a run finds its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By the table.
    Table,
    /// Every byte belongs to it.
    Any,
    /// Every byte but ASCII white space belongs to it.
    NotSpace,
}

/// A compiled pattern.
#[derive(Debug)]
pub(in super::super) struct Program {
    pub(super) ops: Vec<Op>,
    pub(super) sets: Vec<Set>,
    pub(super) literals: Vec<u8>,
    /// Places remembered: two per capture, then those of loops.
    pub(super) slots: usize,
    pub(super) memos: usize,
    /// Bytes that a match can begin with.
    pub(super) first: u16,
    /// It tells characters beyond ASCII apart, or counts them: not for lines that have some.
    pub(super) ascii_only: bool,
    /// Only the start of the text will do.
    pub(super) anchored: bool,
    /// A text that every match contains.
    pub(super) required: Option<Finder<'static>>,
}

impl Program {
    /// The text that a line must contain to match, for people.
    pub(in super::super) fn required(&self) -> Option<&[u8]> {
        self.required.as_ref().map(Finder::needle)
    }

    /// How many steps, for people.
    pub(in super::super) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether lines with characters beyond ASCII are for another engine.
    pub(in super::super) fn ascii_only(&self) -> bool {
        self.ascii_only
    }

    /// Whether only the start of a line is tried.
    pub(in super::super) fn anchored(&self) -> bool {
        self.anchored
    }
}
