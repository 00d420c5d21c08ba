//! `. |= {…}`, the usual end of a parser, without making one object of the whole event.
//!
//! VRL reads all of the event, merges, and sets all of it again. The same comes of setting each member of the object at
//! the top of the event, so a program is compiled a second time with these statements as calls of a function that does so.

use std::sync::LazyLock;

use vrl::compiler::state::ExternalEnv;
use vrl::parser::Program;
use vrl::parser::ast::{
    Assignment, AssignmentOp, AssignmentTarget, Block, Expr, IfStatement, Node, RootExpr,
};
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};
use vrl::prelude::*;

use super::tree;

/// The function's name; no program can write it.
const NAME: &str = "|merge|";

/// What the function sets with the members to merge. No program can write such a path.
pub(super) static MERGED: LazyLock<OwnedTargetPath> = LazyLock::new(|| {
    let path = vec![OwnedSegment::field("\0merged")].into();
    OwnedTargetPath::metadata(path)
});

/// The program with its merges as calls; nothing if it has none where their value is not used.
pub(super) fn rewrite(program: Program) -> Option<Program> {
    let mut found = false;
    let roots = program.0.into_iter().map(|node| {
        node.map(|root| match root {
            RootExpr::Expr(node) => RootExpr::Expr(statement(node, &mut found)),
            error @ RootExpr::Error(_) => error,
        })
    });
    let program = Program(roots.collect());
    found.then_some(program)
}

/// An expression whose value nobody uses.
fn statement(node: Node<Expr>, found: &mut bool) -> Node<Expr> {
    let span = node.span();
    node.map(|expr| match expr {
        Expr::Assignment(node) if is_merge(node.inner()) => {
            *found = true;
            let (_, assignment) = node.take();
            let (Assignment::Single { expr, .. } | Assignment::Infallible { expr, .. }) =
                assignment;
            tree::call(NAME, vec![*expr], span).into_inner()
        }
        Expr::IfStatement(node) => Expr::IfStatement(node.map(|inner| {
            IfStatement {
                predicate: inner.predicate,
                if_node: inner.if_node.map(|inner| block(inner, found)),
                else_node: inner
                    .else_node
                    .map(|node| node.map(|inner| block(inner, found))),
            }
        })),
        other => other,
    })
}

fn block(Block(nodes): Block, found: &mut bool) -> Block {
    Block(
        nodes
            .into_iter()
            .map(|node| statement(node, found))
            .collect(),
    )
}

fn is_merge(assignment: &Assignment) -> bool {
    let Assignment::Single {
        target,
        op: AssignmentOp::Merge,
        ..
    } = assignment
    else {
        return false;
    };
    match target.inner() {
        AssignmentTarget::External(None) => true,
        AssignmentTarget::External(Some(path)) => *path == OwnedTargetPath::event_root(),
        AssignmentTarget::Query(query) => {
            let event = vrl::parser::ast::QueryTarget::External(PathPrefix::Event);
            *query.target.inner() == event && query.path.inner().is_root()
        }
        _ => false,
    }
}

/// Sets the members of an object at the top of the event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merge;

impl Function for Merge {
    fn identifier(&self) -> &'static str {
        NAME
    }
    fn usage(&self) -> &'static str {
        "Sets the members of an object at the top of the event."
    }
    fn category(&self) -> &'static str {
        Category::Object.as_ref()
    }
    fn return_kind(&self) -> u16 {
        kind::NULL
    }
    fn pure(&self) -> bool {
        false
    }
    fn examples(&self) -> &'static [Example] {
        &[]
    }
    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] =
            &[Parameter::required("value", kind::OBJECT, "The members.")];
        PARAMETERS
    }
    fn compile(
        &self,
        _: &TypeState,
        _: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        let value = arguments.required("value");
        Ok(Box::new(MergeFn { value }))
    }
}

#[derive(Clone, Debug)]
struct MergeFn {
    value: Box<dyn Expression>,
}

impl Expression for MergeFn {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let members = self.value.resolve(ctx)?;
        ctx.target_mut().target_insert(&MERGED, members)?;
        Ok(Value::Null)
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        let mut state = state.clone();
        let members = self.value.apply_type_info(&mut state);
        let event = TypeDef::from(state.external.target_kind().clone());
        let merged = event.merge_overwrite(members);
        let metadata = state.external.metadata_kind().clone();
        state.external = ExternalEnv::new_with_kind(merged.kind().clone(), metadata);
        TypeInfo::new(state, TypeDef::null().infallible())
    }
}
