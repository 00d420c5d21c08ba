//! Which components share a task.

use super::*;

#[test]
fn only_a_sole_taker_of_an_unnamed_output_is_fused() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "
[sources.a]
type = 'numbers'
count = 1
[transforms.fused]
type = 'fragile'
inputs = ['a']
test = 't'
[transforms.also]
type = 'fragile'
inputs = ['fused']
test = 't'
[transforms.left]
type = 'fragile'
inputs = ['also']
test = 't'
[transforms.right]
type = 'fragile'
inputs = ['also']
test = 't'
workers = 2
[transforms.joined]
type = 'fragile'
inputs = ['left', 'right']
test = 't'
[transforms.end]
type = 'fragile'
inputs = ['joined']
test = 't'
[sinks.out]
type = 'memory'
inputs = ['end', 'joined.errors']
test = 't'
";
    let units: Vec<_> = crate::topology::plan::plan(&graph(folder.path(), toml))
        .into_iter()
        .map(|unit| unit.nodes.join(" "))
        .collect();
    assert_eq!(
        units,
        ["a fused also", "left", "right", "joined end", "out"]
    );
}
