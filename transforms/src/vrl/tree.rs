//! Walks through the text of a program as its parser sees it: what it must not change, and whether it can go on for long.

use vrl::diagnostic::Span;
use vrl::parser::Program;
use vrl::parser::ast::{
    Array, Assignment, AssignmentTarget, Block, Container, Expr, FunctionArgument, FunctionCall,
    FunctionClosure, Group, Ident, IfStatement, Literal, Node, Not, Object, Op, Opcode, Predicate,
    Query, QueryTarget, RootExpr, Unary,
};
use vrl::parser::template_string::{StringSegment, TemplateString};
use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};

use super::functions::PRODUCT;
use super::guard;

/// What there is to know about a program beyond its own compiler.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Where it sets or deletes `event.id`.
    pub(super) sets_id: Vec<Span>,
    /// It runs a block once for each element of something.
    pub(super) loops: bool,
    /// It calls a function that looks at the event as a whole.
    pub(super) whole: bool,
    /// It multiplies what is not written as numbers.
    pub(super) multiplies: bool,
    /// Paths that the keys of its objects can become in an event.
    pub(super) names: Vec<String>,
    /// The variables that it sets again and again, and that may grow.
    variables: Vec<String>,
}

/// Looks at a program, and gives it back with a look at its memory at the beginning of every block that is run for each
/// element of something.
pub(super) fn prepare(program: Program) -> (Program, Facts) {
    let mut facts = Facts::default();
    // First the variables: a block also meets those that are set behind it, the next time round.
    let program = Walk {
        facts: &mut facts,
        guard: None,
        products: false,
        turns: 0,
    }
    .program(program);
    if !facts.loops {
        return (program, facts);
    }
    let names = facts.variables.join("\n");
    let program = Walk {
        facts: &mut Facts::default(),
        guard: Some(names),
        products: false,
        turns: 0,
    }
    .program(program);
    (program, facts)
}

/// The program with a bound for every text that is multiplied by a number of the event.
pub(super) fn bound_products(program: Program) -> Program {
    let walk = Walk {
        facts: &mut Facts::default(),
        guard: None,
        products: true,
        turns: 0,
    };
    { walk }.program(program)
}

struct Walk<'a> {
    facts: &'a mut Facts,
    /// The names of all variables, where the blocks are to be guarded.
    guard: Option<String>,
    /// Whether multiplications become calls of the function that bounds them.
    products: bool,
    /// How many repeated blocks stand around what is looked at.
    turns: usize,
}

impl Walk<'_> {
    fn program(&mut self, program: Program) -> Program {
        let roots = program.0.into_iter().map(|node| {
            node.map(|root| match root {
                RootExpr::Expr(expr) => RootExpr::Expr(self.node(expr)),
                error @ RootExpr::Error(_) => error,
            })
        });
        Program(roots.collect())
    }

    fn node(&mut self, node: Node<Expr>) -> Node<Expr> {
        node.map(|expr| self.expr(expr))
    }

    fn boxed(&mut self, node: Box<Node<Expr>>) -> Box<Node<Expr>> {
        Box::new(self.node(*node))
    }

    fn nodes(&mut self, nodes: Vec<Node<Expr>>) -> Vec<Node<Expr>> {
        nodes.into_iter().map(|node| self.node(node)).collect()
    }

    fn expr(&mut self, expr: Expr) -> Expr {
        match expr {
            Expr::Container(node) => Expr::Container(node.map(|inner| self.container(inner))),
            Expr::IfStatement(node) => Expr::IfStatement(node.map(|inner| self.branches(inner))),
            Expr::Op(node) => self.op(node),
            Expr::Assignment(node) => Expr::Assignment(node.map(|inner| self.assignment(inner))),
            Expr::Query(node) => Expr::Query(node.map(|inner| self.query(inner))),
            Expr::FunctionCall(node) => Expr::FunctionCall(node.map(|inner| self.call(inner))),
            Expr::Unary(node) => Expr::Unary(node.map(|Unary::Not(not)| {
                Unary::Not(not.map(|not| {
                    let (at, inner) = not.take();
                    Not::new(at.span(), self.node(*inner))
                }))
            })),
            Expr::Abort(node) => Expr::Abort(node.map(|mut abort| {
                abort.message = abort.message.map(|message| self.boxed(message));
                abort
            })),
            Expr::Return(node) => Expr::Return(node.map(|mut inner| {
                inner.expr = self.boxed(inner.expr);
                inner
            })),
            leaf @ (Expr::Literal(_) | Expr::Variable(_) | Expr::Break(_)) => leaf,
        }
    }

    fn op(&mut self, node: Node<Op>) -> Expr {
        let (span, Op(left, code, right)) = node.take();
        let (left, right) = (self.boxed(left), self.boxed(right));
        let written = |node: &Node<Expr>| matches!(node.inner(), Expr::Literal(_));
        if *code.inner() != Opcode::Mul || written(&left) || written(&right) {
            return Expr::Op(Node::new(span, Op(left, code, right)));
        }
        self.facts.multiplies = true;
        if !self.products {
            return Expr::Op(Node::new(span, Op(left, code, right)));
        }
        call(PRODUCT, vec![*left, *right], span).into_inner()
    }

    fn container(&mut self, container: Container) -> Container {
        match container {
            Container::Group(node) => Container::Group(Box::new(
                (*node).map(|Group(inner)| Group(self.node(inner))),
            )),
            Container::Block(node) => Container::Block(node.map(|inner| self.block(inner))),
            Container::Array(node) => Container::Array(
                node.map(|array: Array| array.into_iter().map(|node| self.node(node)).collect()),
            ),
            Container::Object(node) => Container::Object(node.map(|object: Object| {
                // Any object may become the event, or be merged into it.
                let top = object.clone().into_iter().map(|(key, _)| key.into_inner());
                self.facts.names.extend(top);
                object
                    .into_iter()
                    .map(|(key, node)| (key, self.node(node)))
                    .collect()
            })),
        }
    }

    fn block(&mut self, Block(nodes): Block) -> Block {
        Block(self.nodes(nodes))
    }

    fn branches(&mut self, inner: IfStatement) -> IfStatement {
        IfStatement {
            predicate: inner.predicate.map(|predicate| match predicate {
                Predicate::One(node) => Predicate::One(self.boxed(node)),
                Predicate::Many(nodes) => Predicate::Many(self.nodes(nodes)),
            }),
            if_node: inner.if_node.map(|block| self.block(block)),
            else_node: inner
                .else_node
                .map(|node| node.map(|block| self.block(block))),
        }
    }

    fn assignment(&mut self, assignment: Assignment) -> Assignment {
        match assignment {
            Assignment::Single { target, op, expr } => {
                self.target(&target);
                self.keys_below(&target, &expr);
                Assignment::Single {
                    target,
                    op,
                    expr: self.boxed(expr),
                }
            }
            Assignment::Infallible { ok, err, op, expr } => {
                self.target(&ok);
                self.target(&err);
                Assignment::Infallible {
                    ok,
                    err,
                    op,
                    expr: self.boxed(expr),
                }
            }
        }
    }

    fn target(&mut self, target: &Node<AssignmentTarget>) {
        match target.inner() {
            AssignmentTarget::Noop => {}
            AssignmentTarget::Internal(ident, _) => self.variable(ident),
            AssignmentTarget::External(Some(OwnedTargetPath {
                prefix: PathPrefix::Event,
                path,
            })) => {
                self.path_set(path, target.span());
            }
            AssignmentTarget::External(_) => {}
            AssignmentTarget::Query(query) => match query.target.inner() {
                QueryTarget::Internal(ident) => self.variable(ident),
                QueryTarget::External(PathPrefix::Event) => {
                    self.path_set(query.path.inner(), target.span());
                }
                _ => {}
            },
        }
    }

    /// The keys of an object that is written right behind a path.
    fn keys_below(&mut self, target: &Node<AssignmentTarget>, value: &Node<Expr>) {
        let path = match target.inner() {
            AssignmentTarget::External(Some(path)) => &path.path,
            AssignmentTarget::Query(query) => query.path.inner(),
            _ => return,
        };
        let names: Option<Vec<&str>> = path
            .segments
            .iter()
            .map(|segment| match segment {
                OwnedSegment::Field(name) => Some(&**name),
                OwnedSegment::Index(_) => None,
            })
            .collect();
        if let Some(names) = names {
            keys(value, &names.join("."), &mut self.facts.names);
        }
    }

    fn variable(&mut self, ident: &Ident) {
        let name = ident.clone().into_inner();
        if self.turns > 0 && !self.facts.variables.contains(&name) {
            self.facts.variables.push(name);
        }
    }

    fn path_set(&mut self, path: &OwnedValuePath, at: Span) {
        if is_id(path) {
            self.facts.sets_id.push(at);
        }
    }

    fn query(&mut self, query: Query) -> Query {
        Query {
            target: query.target.map(|target| match target {
                QueryTarget::FunctionCall(call) => QueryTarget::FunctionCall(self.call(call)),
                QueryTarget::Container(inner) => QueryTarget::Container(self.container(inner)),
                other => other,
            }),
            path: query.path,
        }
    }

    fn call(&mut self, call: FunctionCall) -> FunctionCall {
        // Its argument names a path in the event, but it makes copies of all the event.
        self.facts.whole |= call.ident.inner().as_ref() == "unnest";
        if call.ident.inner().as_ref() == "del"
            && let Some(argument) = call.arguments.first()
            && let Expr::Query(query) = argument.inner().expr.inner()
            && matches!(
                query.inner().target.inner(),
                QueryTarget::External(PathPrefix::Event)
            )
        {
            self.path_set(query.inner().path.inner(), argument.span());
        }
        let arguments = call.arguments.into_iter().map(|node| {
            node.map(|argument| FunctionArgument {
                ident: argument.ident,
                expr: self.node(argument.expr),
            })
        });
        FunctionCall {
            ident: call.ident,
            abort_on_error: call.abort_on_error,
            arguments: arguments.collect(),
            closure: call.closure.map(|node| {
                self.facts.loops = true;
                let span = node.span();
                node.map(|closure| self.closure(closure, span))
            }),
        }
    }

    fn closure(&mut self, closure: FunctionClosure, span: Span) -> FunctionClosure {
        self.turns += 1;
        let mut block = closure.block.map(|block| self.block(block));
        self.turns -= 1;
        if let Some(names) = &self.guard {
            block = block.map(|Block(mut nodes)| {
                nodes.insert(0, guard_call(names, span));
                Block(nodes)
            });
        }
        FunctionClosure {
            variables: closure.variables,
            block,
        }
    }
}

fn keys(value: &Node<Expr>, path: &str, names: &mut Vec<String>) {
    let Expr::Container(container) = value.inner() else {
        return;
    };
    if let Container::Object(object) = container.inner() {
        for (key, value) in object.inner().clone() {
            let path = if path.is_empty() {
                key.into_inner()
            } else {
                format!("{path}.{}", key.into_inner())
            };
            keys(&value, &path, names);
            names.push(path);
        }
    }
}

/// A call of the guard with the names of the variables it is to look at.
fn guard_call(names: &str, span: Span) -> Node<Expr> {
    let text = TemplateString(vec![StringSegment::Literal(names.to_owned(), span)]);
    let text = Expr::Literal(Node::new(span, Literal::String(text)));
    call(guard::NAME, vec![Node::new(span, text)], span)
}

/// A call of one of our own functions that no program can name.
pub(super) fn call(name: &str, arguments: Vec<Node<Expr>>, span: Span) -> Node<Expr> {
    let arguments = arguments
        .into_iter()
        .map(|expr| Node::new(expr.span(), FunctionArgument { ident: None, expr }));
    let call = FunctionCall {
        ident: Node::new(span, Ident::new(name)),
        abort_on_error: false,
        arguments: arguments.collect(),
        closure: None,
    };
    Node::new(span, Expr::FunctionCall(Node::new(span, call)))
}

fn is_id(path: &OwnedValuePath) -> bool {
    match &path.segments[..] {
        [OwnedSegment::Field(first), ..] if &**first == "event.id" => true,
        [OwnedSegment::Field(first), OwnedSegment::Field(second), ..] => {
            &**first == "event" && &**second == "id"
        }
        _ => false,
    }
}
