//! Selections at work: an OR of ANDs of tests on fields.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashSet;
use ipnet::IpNet;
use pipeline::{Event, Time, ValueRef};
use regex_automata::meta::Regex;

use super::fold;
use super::number::Number;
use super::path::{Path, Root};

/// A named set of tests.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) name: Box<str>,
    /// One of these lists must hold as a whole.
    pub(super) either: Vec<Vec<Test>>,
}

/// One test of a field.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pub(super) path: Path,
    pub(super) how: How,
    /// `neq`: the test must fail.
    pub(super) negated: bool,
    /// Key and value as written, for people.
    pub(super) written: Box<str>,
}

/// What a value is held against.
#[derive(Clone, Debug)]
pub(super) enum How {
    /// It is there, or not.
    Exists(bool),
    /// One of these must hold for some value.
    One(Vec<Check>),
    /// Each of these must hold for some value.
    Each(Vec<Check>),
    /// Some map must pass one of these lists of tests.
    Row(Vec<Vec<Test>>),
}

/// One comparison of one value.
#[derive(Clone, Debug)]
pub(super) enum Check {
    Is(Arc<Words>),
    Contains(Box<str>, Case),
    Starts(Box<str>, Case),
    Ends(Box<str>, Case),
    Glob(Box<[char]>, Case),
    Re(Regex),
    Net(IpNet),
    Number(Ordered, Number),
    Time(Ordered, Time),
    /// The value of another field.
    Other(Path, Relation, Case),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// `A` is `a`.
    Folded,
    /// Letter by letter.
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ordered {
    Gt,
    Gte,
    Lt,
    Lte,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Is,
    Contains,
    Starts,
    Ends,
    Order(Ordered),
}

impl Ordered {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Ordered::Gt => order.is_gt(),
            Ordered::Gte => order.is_ge(),
            Ordered::Lt => order.is_lt(),
            Ordered::Lte => order.is_le(),
        }
    }
}

/// A value of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    Text(String),
    Number(Number),
    Bool(bool),
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.compare(*other) == Some(Ordering::Equal)
    }
}

/// Values of which one must be met: texts, numbers and addresses by value, networks by what lies in them.
#[derive(Clone, Debug)]
pub(super) struct Words {
    case: Case,
    few: Vec<Box<str>>,
    many: HashSet<Box<str>>,
    numbers: Vec<Number>,
    addresses: HashSet<IpAddr>,
    networks: Vec<IpNet>,
    bools: Vec<bool>,
}

/// Up to so many texts are compared one by one.
const FEW: usize = 8;

impl Words {
    pub(super) fn new(words: &[Word], case: Case) -> Words {
        let mut texts = Vec::new();
        let mut all = Words {
            case,
            few: Vec::new(),
            many: HashSet::new(),
            numbers: Vec::new(),
            addresses: HashSet::new(),
            networks: Vec::new(),
            bools: Vec::new(),
        };
        for word in words {
            match word {
                Word::Number(number) => all.numbers.push(*number),
                Word::Bool(is) => all.bools.push(*is),
                Word::Text(text) => {
                    if let Ok(network) = text.parse::<IpNet>() {
                        all.networks.push(network.trunc());
                    } else if let Ok(address) = text.parse::<IpAddr>() {
                        all.addresses.insert(address.to_canonical());
                    }
                    if let Some(number) = Number::parse(text) {
                        all.numbers.push(number);
                    }
                    texts.push(match case {
                        Case::Folded => fold::fold(text).into_boxed_str(),
                        Case::Exact => text.as_str().into(),
                    });
                }
            }
        }
        if texts.len() <= FEW {
            all.few = texts;
        } else {
            all.many = texts.into_iter().collect();
        }
        all
    }

    /// The texts among them, folded where case does not count.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.few.iter().chain(&self.many).map(|word| &**word)
    }

    fn meet(&self, value: ValueRef<'_>) -> bool {
        match value {
            ValueRef::Str(text) => self.text(text) || self.address(text) || self.spelled(text),
            ValueRef::Int(number) => self.number(Number::Int(number)),
            ValueRef::Float(number) => self.number(Number::Float(number)),
            ValueRef::Bool(is) => {
                self.bools.contains(&is) || self.text(if is { "true" } else { "false" })
            }
            ValueRef::Time(time) => {
                let mut text = [0; 24];
                time.write(&mut text);
                std::str::from_utf8(&text).is_ok_and(|text| self.text(text))
                    || self.few.iter().any(|word| Time::parse(word) == Some(time))
            }
            _ => false,
        }
    }

    #[inline]
    fn text(&self, text: &str) -> bool {
        let few = self.few.iter();
        match self.case {
            Case::Folded => {
                let mut few = few;
                few.any(|word| fold::equal(text, word))
                    || (!self.many.is_empty() && self.many.contains(&*fold::folded(text)))
            }
            Case::Exact => {
                let mut few = few;
                few.any(|word| **word == *text)
                    || (!self.many.is_empty() && self.many.contains(text))
            }
        }
    }

    fn address(&self, text: &str) -> bool {
        if self.addresses.is_empty() && self.networks.is_empty() {
            return false;
        }
        text.parse::<IpAddr>().is_ok_and(|address| {
            let address = address.to_canonical();
            self.addresses.contains(&address)
                || self.networks.iter().any(|net| net.contains(&address))
        })
    }

    /// A text that spells a number is that number, where the rule wrote a number.
    fn spelled(&self, text: &str) -> bool {
        if self
            .bools
            .iter()
            .any(|is| text == if *is { "true" } else { "false" })
        {
            return true;
        }
        !self.numbers.is_empty() && Number::parse(text).is_some_and(|number| self.number(number))
    }

    fn number(&self, number: Number) -> bool {
        self.numbers
            .iter()
            .any(|word| word.compare(number) == Some(Ordering::Equal))
    }
}

impl Selection {
    #[inline]
    pub(super) fn holds(&self, event: &Event) -> bool {
        self.either
            .iter()
            .any(|tests| all(tests, Root::Event(event)))
    }
}

#[inline]
fn all(tests: &[Test], root: Root<'_>) -> bool {
    tests.iter().all(|test| test.holds(root))
}

impl Test {
    #[inline]
    pub(super) fn holds(&self, root: Root<'_>) -> bool {
        let holds = match &self.how {
            How::Exists(wanted) => self.path.any(root, &mut |_| true) == *wanted,
            How::One(checks) => self.path.any(root, &mut |value| {
                checks.iter().any(|check| check.holds(value, root))
            }),
            // Of an empty list nothing can be held against anything.
            How::Each(checks) => {
                !checks.is_empty()
                    && checks
                        .iter()
                        .all(|check| self.path.any(root, &mut |value| check.holds(value, root)))
            }
            How::Row(either) => self.path.any(root, &mut |value| match value {
                ValueRef::Map(map) => either.iter().any(|tests| all(tests, Root::Map(map))),
                _ => false,
            }),
        };
        holds != self.negated
    }
}

/// Shows the text that a value is or would be written as.
fn as_text(value: ValueRef<'_>, look: impl FnOnce(&str) -> bool) -> bool {
    match value {
        ValueRef::Str(text) => look(text),
        ValueRef::Bool(is) => look(if is { "true" } else { "false" }),
        ValueRef::Int(number) => look(&number.to_string()),
        ValueRef::Float(number) => look(&number.to_string()),
        ValueRef::Time(time) => look(&time.to_string()),
        _ => false,
    }
}

impl Check {
    fn holds(&self, value: ValueRef<'_>, root: Root<'_>) -> bool {
        match self {
            Check::Is(words) => words.meet(value),
            Check::Contains(part, case) => as_text(value, |text| contains(text, part, *case)),
            Check::Starts(part, case) => as_text(value, |text| starts(text, part, *case)),
            Check::Ends(part, case) => as_text(value, |text| ends(text, part, *case)),
            Check::Glob(pattern, Case::Exact) => {
                as_text(value, |text| fold::glob(text.chars(), pattern))
            }
            Check::Glob(pattern, Case::Folded) => as_text(value, |text| {
                fold::glob(text.chars().flat_map(char::to_lowercase), pattern)
            }),
            Check::Re(regex) => as_text(value, |text| regex.is_match(text)),
            Check::Net(network) => match value {
                ValueRef::Str(text) => text
                    .parse::<IpAddr>()
                    .is_ok_and(|address| network.contains(&address.to_canonical())),
                _ => false,
            },
            Check::Number(how, bound) => Number::of(value)
                .and_then(|number| number.compare(*bound))
                .is_some_and(|order| how.holds(order)),
            Check::Time(how, bound) => {
                time_of(value).is_some_and(|time| how.holds(time.cmp(bound)))
            }
            Check::Other(path, relation, case) => {
                path.any(root, &mut |other| related(value, other, *relation, *case))
            }
        }
    }
}

fn time_of(value: ValueRef<'_>) -> Option<Time> {
    match value {
        ValueRef::Time(time) => Some(time),
        ValueRef::Str(text) => Time::parse(text),
        _ => None,
    }
}

fn contains(text: &str, part: &str, case: Case) -> bool {
    match case {
        Case::Folded => fold::contains(text, part),
        Case::Exact => text.contains(part),
    }
}

fn starts(text: &str, part: &str, case: Case) -> bool {
    match case {
        Case::Folded => fold::starts(text, part),
        Case::Exact => text.starts_with(part),
    }
}

fn ends(text: &str, part: &str, case: Case) -> bool {
    match case {
        Case::Folded => fold::ends(text, part),
        Case::Exact => text.ends_with(part),
    }
}

fn related(value: ValueRef<'_>, other: ValueRef<'_>, relation: Relation, case: Case) -> bool {
    let by_text = |compare: fn(&str, &str, Case) -> bool| {
        as_text(value, |text| {
            as_text(other, |part| match case {
                Case::Folded => compare(text, &fold::folded(part), case),
                Case::Exact => compare(text, part, case),
            })
        })
    };
    match relation {
        Relation::Contains => by_text(contains),
        Relation::Starts => by_text(starts),
        Relation::Ends => by_text(ends),
        Relation::Is => by_value(value, other) || by_text(same),
        Relation::Order(how) => {
            let numbers = Number::of(value).zip(Number::of(other));
            let order = numbers.and_then(|(one, other)| one.compare(other));
            let times = || Some(time_of(value)?.cmp(&time_of(other)?));
            order.or_else(times).is_some_and(|order| how.holds(order))
        }
    }
}

fn same(text: &str, other: &str, case: Case) -> bool {
    match case {
        Case::Folded => fold::equal(text, other),
        Case::Exact => text == other,
    }
}

fn by_value(value: ValueRef<'_>, other: ValueRef<'_>) -> bool {
    if let (ValueRef::Str(one), ValueRef::Str(other)) = (value, other) {
        let addresses = one.parse::<IpAddr>().ok().zip(other.parse::<IpAddr>().ok());
        return addresses.is_some_and(|(one, other)| one.to_canonical() == other.to_canonical());
    }
    let numbers = Number::of(value).zip(Number::of(other));
    numbers.is_some_and(|(one, other)| one.compare(other) == Some(Ordering::Equal))
}
