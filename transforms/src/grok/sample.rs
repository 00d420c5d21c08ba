//! Makes lines out of a pattern: an example for people, and lines for tests, some of them spoilt.

use super::ast::{Anchor, Node};
use super::engine::{Grok, Outcome, Pattern};

/// A source of lines; the same seed, the same lines.
#[derive(Debug)]
pub struct Generator {
    random: fastrand::Rng,
}

const NOISE: &[&str] = &[
    "",
    " ",
    "-",
    "x",
    "0",
    ".",
    ":",
    "é",
    "ſ",
    "\n",
    "\t",
    "\"",
    "\\",
    "%",
    "[",
    "12",
    "ab ",
    "\u{1F600}",
    "'",
    "1.2",
    "_",
    "\0",
];

impl Generator {
    /// A source of lines for this seed.
    pub fn new(seed: u64) -> Generator {
        Generator {
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// True once in `of` times.
    pub fn chance(&mut self, of: usize) -> bool {
        self.random.usize(..of) == 0
    }

    /// A few characters that patterns stumble over.
    pub fn noise(&mut self) -> &'static str {
        NOISE[self.random.usize(..NOISE.len())]
    }

    /// A line for a pattern; every third one spoilt.
    pub fn line(&mut self, pattern: &Pattern) -> String {
        let mut line = String::new();
        self.write(&pattern.node, &mut line);
        if self.chance(3) {
            for _ in 0..=self.random.usize(..2) {
                self.spoil(&mut line);
            }
        }
        line
    }

    fn spoil(&mut self, line: &mut String) {
        let places: Vec<usize> = line
            .char_indices()
            .map(|(at, _)| at)
            .chain([line.len()])
            .collect();
        let at = places[self.random.usize(..places.len())];
        match self.random.usize(..3) {
            0 => line.insert_str(at, self.noise()),
            1 if at < line.len() => drop(line.remove(at)),
            _ => line.truncate(at),
        }
    }

    fn write(&mut self, node: &Node, line: &mut String) {
        if line.len() > 600 {
            return;
        }
        match node {
            Node::Empty | Node::Look { .. } | Node::Backref(_) => {}
            Node::Anchor(Anchor::LineStart) if !line.is_empty() => line.push('\n'),
            Node::Anchor(_) => {}
            Node::Literal(text) => line.push_str(text),
            Node::Class(class) => {
                let ranges: Vec<_> = class.iter().collect();
                if ranges.is_empty() {
                    return;
                }
                // Printable ASCII mostly, the edges of the set at times.
                for _ in 0..20 {
                    let range = ranges[self.random.usize(..ranges.len())];
                    let (low, high) = (range.start() as u32, range.end() as u32);
                    let pick = if self.chance(12) {
                        [low, high][self.random.usize(..2)]
                    } else {
                        self.random.u32(low..=high.min(low.max(126)))
                    };
                    let Some(c) = char::from_u32(pick) else {
                        continue;
                    };
                    if (' '..='~').contains(&c) || self.chance(8) {
                        line.push(c);
                        return;
                    }
                }
                line.push(ranges[0].start());
            }
            Node::Atomic(node) | Node::Capture { node, .. } | Node::Known { node, .. } => {
                self.write(node, line)
            }
            Node::Concat(nodes) => nodes.iter().for_each(|node| self.write(node, line)),
            Node::Alternate(nodes) => {
                let pick = self.random.usize(..nodes.len());
                self.write(&nodes[pick], line);
            }
            Node::Repeat { node, min, max, .. } => {
                let most = max.unwrap_or(min + 4).min(min + 6);
                for _ in 0..self.random.u32(*min..=most) {
                    self.write(node, line);
                }
            }
        }
    }
}

/// A line that the pattern matches, if one is found soon.
pub(super) fn example(text: &str, pattern: Pattern) -> Option<String> {
    let mut generator = Generator::new(text.len() as u64);
    let grok = Grok::new(vec![pattern]);
    let mut scratch = grok.scratch();
    (0..200)
        .map(|_| {
            let mut line = String::new();
            generator.write(&grok.patterns()[0].node, &mut line);
            line
        })
        .filter(|line| line.chars().all(|c| (' '..='~').contains(&c)))
        .find(|line| matches!(grok.matches(&mut scratch, line), Outcome::Match(0)))
}
