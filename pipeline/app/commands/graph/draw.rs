//! A graph drawn with box characters: one column per step of the way, events go from left to right.
//!
//! Lines leave a box on even rows and arrive on odd ones, and each output has a vertical of its own between two columns.
//! So two lines never lie on top of each other; where they cross, the vertical one passes over.

use std::collections::BTreeMap;

use pipeline::{Graph, OutputRef};

/// The picture, lines without trailing blanks.
pub(crate) fn draw(graph: &Graph) -> String {
    let mut layout = Layout::new(graph);
    layout.place();
    let mut canvas = Canvas::default();
    let mut left = 0;
    for n in 0..layout.columns.len() {
        left = layout.column(n, left, &mut canvas);
    }
    canvas.text()
}

/// What stands in a column: a component, or a line that only passes by.
struct Slot {
    /// Lines of text; empty for a line that passes by.
    label: Vec<String>,
    /// What arrives here.
    inputs: Vec<OutputRef>,
    /// What leaves here, and on which row below the top.
    outputs: Vec<(OutputRef, usize)>,
    /// Row of its top.
    top: usize,
}

impl Slot {
    fn height(&self) -> usize {
        if self.label.is_empty() {
            return 2;
        }
        // Even, so that whatever stands below begins on an even row again.
        (self.label.len() + 2).next_multiple_of(2)
    }

    fn width(&self) -> usize {
        let text = self.label.iter().map(|line| line.chars().count()).max();
        text.map_or(0, |text| text + 4)
    }
}

struct Layout {
    columns: Vec<Vec<Slot>>,
}

impl Layout {
    fn new(graph: &Graph) -> Layout {
        let mut depth: BTreeMap<&str, usize> = BTreeMap::new();
        // Transforms come after what they take events from, so one pass is enough.
        for node in graph.nodes() {
            let before = node.inputs.iter().filter_map(|i| depth.get(i.id.as_str()));
            depth.insert(&node.id, before.map(|d| d + 1).max().unwrap_or(0));
        }
        let count = depth.values().max().map_or(0, |d| d + 1);
        let mut columns: Vec<Vec<Slot>> = (0..count).map(|_| Vec::new()).collect();
        // The last column that each output has to reach.
        let mut until: BTreeMap<&OutputRef, usize> = BTreeMap::new();
        for node in graph.nodes() {
            for input in &node.inputs {
                let last = until.entry(input).or_default();
                *last = (*last).max(depth[node.id.as_str()]);
            }
        }
        for node in graph.nodes() {
            let mut label = vec![node.id.clone(), node.type_name.to_owned()];
            let mut outputs = Vec::new();
            for output in until.keys().filter(|output| output.id == node.id) {
                match &output.output {
                    None => outputs.push(((*output).clone(), 2)),
                    Some(name) => {
                        label.push(String::new());
                        label.push(format!("→ {name}"));
                        outputs.push(((*output).clone(), label.len()));
                    }
                }
            }
            columns[depth[node.id.as_str()]].push(Slot {
                label,
                inputs: node.inputs.clone(),
                outputs,
                top: 0,
            });
        }
        for (output, last) in &until {
            for column in &mut columns[depth[output.id.as_str()] + 1..*last] {
                column.push(Slot {
                    label: Vec::new(),
                    inputs: vec![(*output).clone()],
                    outputs: vec![((*output).clone(), 2)],
                    top: 0,
                });
            }
        }
        Layout { columns }
    }

    /// Puts every slot beside what it takes events from, as far as there is room.
    fn place(&mut self) {
        for n in 0..self.columns.len() {
            let (before, rest) = self.columns.split_at_mut(n);
            let before = before.last();
            let row = |output: &OutputRef| {
                let slots = before.into_iter().flatten();
                let mut rows = slots.flat_map(|s| s.outputs.iter().map(|(o, r)| (o, s.top + r)));
                rows.find(|(o, _)| *o == output).map(|(_, row)| row)
            };
            let wish = |slot: &Slot| {
                let rows: Vec<usize> = slot.inputs.iter().filter_map(row).collect();
                rows.iter().sum::<usize>() / rows.len().max(1)
            };
            // Stable: equals keep the order of the file.
            rest[0].sort_by_key(wish);
            let mut free = 0;
            for slot in &mut rest[0] {
                slot.top = free;
                free += slot.height() + 2;
            }
        }
    }

    /// Draws one column and the lines to the next. Returns where the next begins.
    fn column(&self, n: usize, left: usize, canvas: &mut Canvas) -> usize {
        let slots = &self.columns[n];
        let width = slots.iter().map(Slot::width).max().unwrap_or(0);
        let right = left + width;
        for slot in slots {
            canvas.slot(slot, left, right);
        }
        let Some(next) = self.columns.get(n + 1) else {
            return right;
        };
        let outputs: Vec<(&OutputRef, usize)> = slots
            .iter()
            .flat_map(|slot| slot.outputs.iter().map(|(o, row)| (o, slot.top + row)))
            .filter(|(o, _)| next.iter().any(|slot| slot.inputs.contains(o)))
            .collect();
        let gutter = right + 2 * outputs.len() + 2;
        for (i, (output, from)) in outputs.iter().enumerate() {
            // The lowest output turns first: fewer lines cross.
            let turn = right + 2 * (outputs.len() - i);
            canvas.across(*from, right, turn);
            for slot in next.iter().filter(|slot| slot.inputs.contains(output)) {
                let to = slot.top + 1;
                canvas.down(turn, *from, to);
                canvas.across(to, turn, gutter);
                if !slot.label.is_empty() {
                    canvas.write(to, gutter, "▶");
                }
            }
        }
        gutter + 1
    }
}

const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;

/// A cell is text, or lines in some of four directions.
#[derive(Clone, Copy, Default)]
struct Cell {
    text: Option<char>,
    lines: u8,
    /// Whether a vertical and a horizontal line here belong together.
    joined: bool,
}

#[derive(Default)]
struct Canvas(Vec<Vec<Cell>>);

impl Canvas {
    fn cell(&mut self, row: usize, column: usize) -> &mut Cell {
        if self.0.len() <= row {
            self.0.resize_with(row + 1, Vec::new);
        }
        let cells = &mut self.0[row];
        if cells.len() <= column {
            cells.resize_with(column + 1, Cell::default);
        }
        &mut cells[column]
    }

    fn write(&mut self, row: usize, column: usize, text: &str) {
        for (i, c) in text.chars().enumerate() {
            self.cell(row, column + i).text = Some(c);
        }
    }

    /// A line in a row, both ends included; its ends join what is there.
    fn across(&mut self, row: usize, from: usize, to: usize) {
        for column in from..=to {
            let cell = self.cell(row, column);
            cell.lines |=
                if column > from { LEFT } else { 0 } | if column < to { RIGHT } else { 0 };
        }
        self.cell(row, from).joined = true;
        self.cell(row, to).joined = true;
    }

    /// A line in a column, both ends included; its ends join what is there.
    fn down(&mut self, column: usize, from: usize, to: usize) {
        let (top, bottom) = (from.min(to), from.max(to));
        for row in top..=bottom {
            let cell = self.cell(row, column);
            cell.lines |= if row > top { UP } else { 0 } | if row < bottom { DOWN } else { 0 };
        }
        self.cell(top, column).joined = true;
        self.cell(bottom, column).joined = true;
    }

    fn slot(&mut self, slot: &Slot, left: usize, right: usize) {
        if slot.label.is_empty() {
            // From the odd row on which it arrives to the even one on which it goes on.
            self.across(slot.top + 1, left - 1, left + 1);
            self.down(left + 1, slot.top + 1, slot.top + 2);
            self.across(slot.top + 2, left + 1, right);
            return;
        }
        let bottom = slot.top + slot.height() - 1;
        let edge = "─".repeat(right - left - 2);
        self.write(slot.top, left, &format!("┌{edge}┐"));
        self.write(bottom, left, &format!("└{edge}┘"));
        for row in slot.top + 1..bottom {
            self.write(row, left, "│");
            self.write(row, right - 1, "│");
        }
        for (i, line) in slot.label.iter().enumerate() {
            self.write(slot.top + 1 + i, left + 2, line);
        }
        for (_, row) in &slot.outputs {
            self.write(slot.top + row, right - 1, "├");
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for row in &self.0 {
            let line: String = row
                .iter()
                .map(|cell| cell.text.unwrap_or_else(|| line(*cell)))
                .collect();
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

fn line(cell: Cell) -> char {
    const CROSS: u8 = UP | DOWN | LEFT | RIGHT;
    match cell.lines {
        CROSS if !cell.joined => '│',
        CROSS => '┼',
        0 => ' ',
        l if l & (UP | DOWN) == 0 => '─',
        l if l & (LEFT | RIGHT) == 0 => '│',
        l if l == UP | RIGHT => '╰',
        l if l == UP | LEFT => '╯',
        l if l == DOWN | RIGHT => '╭',
        l if l == DOWN | LEFT => '╮',
        l if l & DOWN == 0 => '┴',
        l if l & UP == 0 => '┬',
        l if l & LEFT == 0 => '├',
        _ => '┤',
    }
}
