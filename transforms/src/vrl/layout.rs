//! Which parts of an event a program can touch, found out once when it is compiled.
//!
//! Paths that lie above or below one another share a cell, whose root is the topmost of them; a cell is filled from the
//! event when the program first asks for it, and written back if the program changed it. A program that touches `.` has
//! one cell, the whole event.

use pipeline::{Field, fields};
use vrl::compiler::ProgramInfo;
use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};

/// The cells of one program, and the way from each of its paths to its cell.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) cells: Vec<Root>,
    pub(super) paths: Vec<Known>,
    roots: Vec<Vec<String>>,
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// All of the event.
    Whole,
    /// `@timestamp`.
    Time,
    /// `event.id`.
    Id,
    /// A field, with what lies below it.
    Field(Field),
}

/// A path of the program.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) path: OwnedTargetPath,
    pub(super) cell: usize,
    /// What is left of it below the root of the cell.
    pub(super) rest: OwnedValuePath,
}

impl Layout {
    /// With `tops`, every cell is at the top of the event, so that members can be merged there.
    /// With `whole` there is but one, because the program looks at all of it.
    pub(super) fn of(info: &ProgramInfo, tops: bool, whole: bool) -> Layout {
        let mut paths: Vec<&OwnedTargetPath> = info
            .target_queries
            .iter()
            .chain(&info.target_assignments)
            .filter(|path| path.prefix == PathPrefix::Event)
            .collect();
        paths.sort();
        paths.dedup();
        let mut roots: Vec<Vec<String>> = paths
            .iter()
            .map(|path| Names::of(&path.path).parts)
            .collect();
        // Also what shares a cell with a path above it is a known name.
        for parts in roots.iter().filter(|parts| !parts.is_empty()) {
            Field::new(&parts.join("."));
        }
        if whole {
            roots = vec![Vec::new()];
        }
        if tops {
            roots.iter_mut().for_each(|parts| parts.truncate(1));
        }
        roots.sort();
        // Sorted, a path stands before all that lie below it.
        roots.dedup_by(|lower, upper| lower.starts_with(upper));
        let known = |path: &OwnedTargetPath| {
            let (cell, rest) = find(&roots, path)?;
            Some(Known {
                path: path.clone(),
                cell,
                rest,
            })
        };
        Layout {
            paths: paths.into_iter().filter_map(known).collect(),
            cells: roots.iter().map(|parts| Root::of(parts)).collect(),
            roots,
        }
    }

    /// The cell at the top of the event that is called so.
    pub(super) fn top(&self, name: &str) -> Option<usize> {
        self.roots
            .iter()
            .position(|parts| matches!(&parts[..], [only] if only == name))
    }

    /// The cell of any path, and what is left of the path below its root.
    pub(super) fn find(&self, path: &OwnedTargetPath) -> Option<(usize, OwnedValuePath)> {
        find(&self.roots, path)
    }
}

fn find(roots: &[Vec<String>], path: &OwnedTargetPath) -> Option<(usize, OwnedValuePath)> {
    let names = Names::of(&path.path);
    let cell = roots
        .iter()
        .position(|root| names.parts.starts_with(root))?;
    Some((cell, names.rest(&path.path, roots[cell].len())))
}

/// The names that a path begins with, up to the first index. A name with dots in it means as many fields.
struct Names {
    parts: Vec<String>,
    /// How many parts there are up to the end of each segment.
    ends: Vec<usize>,
}

impl Names {
    fn of(path: &OwnedValuePath) -> Names {
        let mut names = Names {
            parts: Vec::new(),
            ends: Vec::new(),
        };
        for segment in &path.segments {
            let OwnedSegment::Field(name) = segment else {
                break;
            };
            names.parts.extend(name.split('.').map(str::to_owned));
            names.ends.push(names.parts.len());
        }
        // Nothing lies below a time and an id.
        let leaf = match names.parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["@timestamp", ..] => 1,
            ["event", "id", ..] => 2,
            _ => names.parts.len(),
        };
        names.parts.truncate(leaf);
        names
    }

    /// What is left of the path behind its first `depth` parts.
    fn rest(&self, path: &OwnedValuePath, depth: usize) -> OwnedValuePath {
        let taken = self.ends.partition_point(|end| *end <= depth);
        let before = taken.checked_sub(1).map_or(0, |last| self.ends[last]);
        if before == depth || taken == self.ends.len() {
            return path.segments[taken..].to_vec().into();
        }
        // The root ends inside of a segment: what is left of it is a name of its own.
        let OwnedSegment::Field(cut) = &path.segments[taken] else {
            return path.segments[taken..].to_vec().into();
        };
        let left = cut
            .splitn(depth - before + 1, '.')
            .last()
            .unwrap_or_default();
        let mut rest = vec![OwnedSegment::field(left)];
        rest.extend(path.segments[taken + 1..].iter().cloned());
        rest.into()
    }
}

impl Root {
    fn of(parts: &[String]) -> Root {
        if parts.is_empty() {
            return Root::Whole;
        }
        match Field::new(&parts.join(".")) {
            fields::TIMESTAMP => Root::Time,
            fields::EVENT_ID => Root::Id,
            field => Root::Field(field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrl::path::parse_target_path;

    fn layout(paths: &[&str]) -> Layout {
        Layout::of(
            &ProgramInfo {
                fallible: false,
                abortable: false,
                target_queries: paths
                    .iter()
                    .map(|path| parse_target_path(path).unwrap())
                    .collect(),
                target_assignments: Vec::new(),
            },
            false,
            false,
        )
    }

    fn place(layout: &Layout, path: &str) -> (String, String) {
        let (cell, rest) = layout.find(&parse_target_path(path).unwrap()).unwrap();
        let root = match layout.cells[cell] {
            Root::Field(field) => field.path().to_owned(),
            other => format!("{other:?}"),
        };
        (root, rest.to_string())
    }

    #[test]
    fn paths_above_and_below_one_another_share_a_cell() {
        let layout = layout(&[
            ".host.name",
            ".a.b.c",
            ".a.b",
            ".list[0].x",
            ".list",
            ".@timestamp.x",
            ".event.id",
            "%m",
        ]);
        assert_eq!(layout.cells.len(), 5);
        assert_eq!(place(&layout, ".a.b.c"), ("a.b".to_owned(), "c".to_owned()));
        assert_eq!(
            place(&layout, ".host.name"),
            ("host.name".to_owned(), String::new())
        );
        assert_eq!(
            place(&layout, ".list[0].x"),
            ("list".to_owned(), "[0].x".to_owned())
        );
        assert_eq!(
            place(&layout, ".@timestamp.x"),
            ("Time".to_owned(), "x".to_owned())
        );
        assert_eq!(
            place(&layout, ".event.id"),
            ("Id".to_owned(), String::new())
        );
        assert!(
            layout
                .find(&parse_target_path(".host.ip").unwrap())
                .is_none()
        );
    }

    #[test]
    fn a_name_with_dots_is_the_field_of_that_path() {
        let layout = layout(&[".\"a.b\"", ".a.b.\"c.d\".e", ".x.\"y.z\""]);
        assert_eq!(
            place(&layout, ".\"a.b\""),
            ("a.b".to_owned(), String::new())
        );
        assert_eq!(
            place(&layout, ".a.b.\"c.d\".e"),
            ("a.b".to_owned(), "\"c.d\".e".to_owned())
        );
        assert_eq!(
            place(&layout, ".\"a.b.c\".d"),
            ("a.b".to_owned(), "c.d".to_owned())
        );
        assert_eq!(
            place(&layout, ".x.y.z"),
            ("x.y.z".to_owned(), String::new())
        );
    }

    #[test]
    fn whoever_touches_the_root_has_one_cell() {
        let layout = layout(&[".", ".a.b", ".@timestamp"]);
        assert_eq!(layout.cells, [Root::Whole]);
        assert_eq!(
            place(&layout, ".a.b"),
            ("Whole".to_owned(), "a.b".to_owned())
        );
    }
}
