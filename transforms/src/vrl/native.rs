//! Conditions that need no interpreter: comparisons of fields with what is written, `exists`, beginnings, ends and parts of
//! texts, and what joins them.
//!
//! A test answers only where VRL is known to give the same answer, which a property test holds it to; for the rest (a
//! type that is another, a value in a map) the interpreter is asked, which also knows the words for what is wrong.

use memchr::memmem;
use pipeline::{Event, Field, ValueRef};
use vrl::parser::Program;
use vrl::parser::ast::{
    Container, Expr, FunctionCall, Group, Literal, Node, Op, Opcode, Query, QueryTarget, RootExpr,
    Unary,
};
use vrl::path::{OwnedTargetPath, PathPrefix};

use super::layout::{Layout, Root};
use super::load::{Shapes, Source};

/// A condition, or a part of one.
#[derive(Debug)]
pub(super) enum Test {
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Not(Box<Test>),
    /// `.field == literal`.
    Equals(Place, Known),
    /// `exists(.field)`.
    Exists(Place),
    /// `includes(["a", "b"], .field)`.
    Includes(Place, Vec<Known>),
    /// `starts_with(string!(.field), "text")` and its kind.
    Text(Place, Part),
    /// `int!(.field) > number`.
    Compares(Place, Opcode, i64),
}

/// A field, and the cell that it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    cell: usize,
    field: Field,
}

/// A written value.
#[derive(Debug)]
pub(super) enum Known {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

#[derive(Debug)]
pub(super) enum Part {
    Start(String),
    End(String),
    Anywhere(Box<memmem::Finder<'static>>),
}

/// What stands at a place.
enum Found<'e> {
    Value(ValueRef<'e>),
    /// Fields below it: an object.
    Object,
    Nothing,
}

impl Test {
    /// The test of a program that is nothing but one; none for others.
    pub(super) fn of(program: &Program, layout: &Layout) -> Option<Test> {
        match &program.0[..] {
            [only] => match only.inner() {
                RootExpr::Expr(expr) => test(expr, layout),
                RootExpr::Error(_) => None,
            },
            _ => None,
        }
    }

    /// Whether it holds for the event, whose fields `shapes` has met; `None` where only the interpreter can tell.
    pub(super) fn holds(&self, event: &Event, shapes: &Shapes) -> Option<bool> {
        match self {
            Test::And(left, right) => match left.holds(event, shapes)? {
                false => Some(false),
                true => right.holds(event, shapes),
            },
            Test::Or(left, right) => match left.holds(event, shapes)? {
                true => Some(true),
                false => right.holds(event, shapes),
            },
            Test::Not(inner) => inner.holds(event, shapes).map(|holds| !holds),
            Test::Equals(place, known) => Some(known.equals(&place.find(event, shapes)?)),
            Test::Exists(place) => Some(!matches!(place.find(event, shapes)?, Found::Nothing)),
            Test::Includes(place, list) => {
                let found = place.find(event, shapes)?;
                Some(list.iter().any(|known| known.is(&found)))
            }
            Test::Text(place, part) => match place.find(event, shapes)? {
                Found::Value(ValueRef::Str(text)) => Some(part.is_in(text)),
                _ => None,
            },
            Test::Compares(place, code, number) => match place.find(event, shapes)? {
                Found::Value(ValueRef::Int(value)) => Some(match code {
                    Opcode::Gt => value > *number,
                    Opcode::Ge => value >= *number,
                    Opcode::Lt => value < *number,
                    Opcode::Le => value <= *number,
                    _ => return None,
                }),
                _ => None,
            },
        }
    }
}

impl Place {
    #[inline]
    fn find<'e>(self, event: &'e Event, shapes: &Shapes) -> Option<Found<'e>> {
        match shapes.source(self.cell) {
            Source::Here => Some(match event.get(self.field) {
                Some(ValueRef::Float(number)) if number.is_nan() => Found::Value(ValueRef::Null),
                Some(value) => Found::Value(value),
                None => Found::Nothing,
            }),
            Source::Below { .. } => Some(Found::Object),
            Source::Absent => Some(Found::Nothing),
            Source::Above(_) => None,
        }
    }
}

impl Known {
    /// VRL's `==`, for which whole numbers and fractions are numbers alike.
    fn equals(&self, found: &Found<'_>) -> bool {
        match (self, found) {
            (Known::Int(a), Found::Value(ValueRef::Int(b))) => *a as f64 == *b as f64,
            (Known::Int(a), Found::Value(ValueRef::Float(b))) => *a as f64 == *b,
            (Known::Float(a), Found::Value(ValueRef::Int(b))) => *a == *b as f64,
            _ => self.is(found),
        }
    }

    /// Whether it is the same value of the same kind.
    fn is(&self, found: &Found<'_>) -> bool {
        match (self, found) {
            (Known::Null, Found::Nothing | Found::Value(ValueRef::Null)) => true,
            (Known::Bool(a), Found::Value(ValueRef::Bool(b))) => a == b,
            (Known::Int(a), Found::Value(ValueRef::Int(b))) => a == b,
            (Known::Float(a), Found::Value(ValueRef::Float(b))) => a == b,
            (Known::Text(a), Found::Value(ValueRef::Str(b))) => a == b,
            _ => false,
        }
    }
}

impl Part {
    fn is_in(&self, text: &str) -> bool {
        match self {
            Part::Start(start) => text.starts_with(start.as_str()),
            Part::End(end) => text.ends_with(end.as_str()),
            Part::Anywhere(finder) => finder.find(text.as_bytes()).is_some(),
        }
    }
}

fn test(node: &Node<Expr>, layout: &Layout) -> Option<Test> {
    let both = |op: &Op| {
        Some((
            Box::new(test(&op.0, layout)?),
            Box::new(test(&op.2, layout)?),
        ))
    };
    match node.inner() {
        Expr::Container(container) => match container.inner() {
            Container::Group(group) => {
                let Group(inner) = group.inner();
                test(inner, layout)
            }
            _ => None,
        },
        Expr::Unary(unary) => {
            let Unary::Not(not) = unary.inner();
            let (_, inner) = not.inner().clone().take();
            Some(Test::Not(Box::new(test(&inner, layout)?)))
        }
        Expr::Op(op) => {
            let op = op.inner();
            match op.1.inner() {
                Opcode::And => both(op).map(|(left, right)| Test::And(left, right)),
                Opcode::Or => both(op).map(|(left, right)| Test::Or(left, right)),
                Opcode::Eq => equals(op, layout),
                Opcode::Ne => Some(Test::Not(Box::new(equals(op, layout)?))),
                code @ (Opcode::Gt | Opcode::Ge | Opcode::Lt | Opcode::Le) => {
                    let Known::Int(number) = known(&op.2)? else {
                        return None;
                    };
                    let field = sure(&op.0, &["int"], layout)?;
                    Some(Test::Compares(field, *code, number))
                }
                _ => None,
            }
        }
        Expr::FunctionCall(call) => function(call.inner(), layout),
        _ => None,
    }
}

fn equals(op: &Op, layout: &Layout) -> Option<Test> {
    let (field, known) = match (place(&op.0, layout), place(&op.2, layout)) {
        (Some(field), None) => (field, known(&op.2)?),
        (None, Some(field)) => (field, known(&op.0)?),
        _ => return None,
    };
    Some(Test::Equals(field, known))
}

fn function(call: &FunctionCall, layout: &Layout) -> Option<Test> {
    // A name in front of an argument may put it anywhere.
    if call
        .arguments
        .iter()
        .any(|argument| argument.inner().ident.is_some())
    {
        return None;
    }
    let arguments: Vec<_> = call
        .arguments
        .iter()
        .map(|argument| &argument.inner().expr)
        .collect();
    match (call.ident.inner().as_ref(), &arguments[..]) {
        ("exists", [path]) => Some(Test::Exists(place(path, layout)?)),
        ("includes", [list, item]) => {
            let Expr::Container(container) = list.inner() else {
                return None;
            };
            let Container::Array(array) = container.inner() else {
                return None;
            };
            let list = array.inner().clone().into_iter();
            let list = list.map(|node| known(&node)).collect::<Option<_>>()?;
            Some(Test::Includes(place(item, layout)?, list))
        }
        (name @ ("starts_with" | "ends_with" | "contains"), [text, part]) => {
            let Known::Text(part) = known(part)? else {
                return None;
            };
            // What is no text is an error, and the interpreter says which: `starts_with!(.a, …)`.
            let bare = || place(text, layout).filter(|_| call.abort_on_error);
            let field = bare().or_else(|| sure(text, &["string", "to_string"], layout))?;
            let part = match name {
                "starts_with" => Part::Start(part),
                "ends_with" => Part::End(part),
                _ => Part::Anywhere(Box::new(memmem::Finder::new(part.as_bytes()).into_owned())),
            };
            Some(Test::Text(field, part))
        }
        _ => None,
    }
}

/// The field in `string!(.field)`, where what is no string ends the program.
fn sure(node: &Node<Expr>, names: &[&str], layout: &Layout) -> Option<Place> {
    let Expr::FunctionCall(call) = node.inner() else {
        return None;
    };
    let call = call.inner();
    match &call.arguments[..] {
        [only] if call.abort_on_error && names.contains(&call.ident.inner().as_ref()) => {
            only.inner().ident.is_none().then_some(())?;
            place(&only.inner().expr, layout)
        }
        _ => None,
    }
}

/// The field that is read, if all of it is a cell.
fn place(node: &Node<Expr>, layout: &Layout) -> Option<Place> {
    let Expr::Query(query) = node.inner() else {
        return None;
    };
    let Query { target, path } = query.inner();
    let QueryTarget::External(PathPrefix::Event) = target.inner() else {
        return None;
    };
    let path = OwnedTargetPath::event(path.inner().clone());
    let (cell, rest) = layout.find(&path)?;
    match layout.cells.get(cell)? {
        Root::Field(field) if rest.is_root() => Some(Place {
            cell,
            field: *field,
        }),
        _ => None,
    }
}

fn known(node: &Node<Expr>) -> Option<Known> {
    let Expr::Literal(literal) = node.inner() else {
        return None;
    };
    Some(match literal.inner() {
        Literal::Null => Known::Null,
        Literal::Boolean(truth) => Known::Bool(*truth),
        Literal::Integer(number) => Known::Int(*number),
        Literal::Float(number) => Known::Float(number.into_inner()),
        Literal::RawString(text) => Known::Text(text.clone()),
        Literal::String(text) if text.0.is_empty() => Known::Text(String::new()),
        Literal::String(text) => Known::Text(text.as_literal_string()?.to_owned()),
        Literal::Regex(_) | Literal::Timestamp(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use pipeline::{Context, Kind};
    use proptest::prelude::*;

    use super::super::tests::{any_event, in_vrl};
    use super::super::{Use, Written, compile};
    use super::*;

    fn compiled(text: &str) -> std::sync::Arc<super::super::Compiled> {
        let cx = Context::for_tests(Kind::Transform, "filter");
        let source = text.to_owned().into();
        compile(Written::Here(&source), Use::Condition, &cx)
            .unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn path() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(".message"),
            Just(".host.name"),
            Just(".a.b"),
            Just(".n"),
            Just(".event.code"),
            Just(".user.name"),
            Just(".deep.er"),
            Just(".tags"),
        ]
        .prop_map(str::to_owned)
    }

    fn literal() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|truth| truth.to_string()),
            (-10i64..10).prop_map(|number| number.to_string()),
            (-20i64..20).prop_map(|halves| format!("{:.1}", halves as f64 / 2.0)),
            "(pve1|pve2|root@pam|401|backup|)".prop_map(|text| format!("\"{text}\"")),
        ]
    }

    /// Conditions that are tests.
    fn condition() -> impl Strategy<Value = String> {
        let text = || "(p|ve|root|1|@|)".prop_map(|text| format!("s'{text}'"));
        let leaf = prop_oneof![
            (path(), literal()).prop_map(|(path, literal)| format!("{path} == {literal}")),
            (path(), literal()).prop_map(|(path, literal)| format!("{literal} != {path}")),
            path().prop_map(|path| format!("exists({path})")),
            (path(), "(starts_with|ends_with|contains)", text())
                .prop_map(|(path, name, text)| format!("{name}(string!({path}), {text})")),
            (path(), "(starts_with|contains)", text())
                .prop_map(|(path, name, text)| format!("{name}!({path}, {text})")),
            (path(), "(>|>=|<|<=)", -5i64..5)
                .prop_map(|(path, code, number)| format!("int!({path}) {code} {number}")),
            (path(), literal(), literal())
                .prop_map(|(path, one, two)| format!("includes([{one}, {two}], {path})")),
        ];
        leaf.prop_recursive(3, 8, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
                inner.prop_map(|a| format!("!({a})")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(800))]

        #[test]
        fn a_test_answers_as_vrl_does_or_not_at_all(event in any_event(), text in condition()) {
            let compiled = compiled(&text);
            let test = compiled.native.as_ref();
            prop_assert!(test.is_some(), "{} is a test", text);
            let mut shapes = Shapes::default();
            shapes.meet(&compiled.layout.cells, &event);
            if let Some(answer) = test.unwrap().holds(&event, &shapes) {
                let (theirs, _) = in_vrl(&text, &event);
                prop_assert_eq!(Ok(vrl::value::Value::Boolean(answer)), theirs, "{}", text);
            }
        }
    }

    #[test]
    fn what_is_no_test_is_left_to_the_interpreter() {
        for text in [
            ".a == .b",
            "length(.a) == 1 ?? false",
            ".@timestamp == t'2026-01-01T00:00:00Z'",
            ".event.id == \"x\"",
            "starts_with(string!(.a), \"x\", case_sensitive: false)",
            ".a[0] == 1",
            ".a == 1 && .a.b == 2",
            "x = .a; x == 1",
            "exists(%x)",
            "match(string!(.a), r'x')",
            "(.a ?? 1) == 1",
            "int!(.a) > 1.5",
        ] {
            if let Ok(program) = vrl::compiler::compile(text, &vrl::stdlib::all()) {
                drop(program);
                assert!(compiled(text).native.is_none(), "{text}");
            }
        }
        for text in [
            ".a == 1",
            "exists(.a.b) && .c != null",
            "includes([\"x\"], .a)",
        ] {
            assert!(compiled(text).native.is_some(), "{text}");
        }
    }
}
