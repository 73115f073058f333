//! `require.expr`: a condition in CEL, the Common Expression Language (<https://cel.dev>), over claims and request.
//!
//! The `cel` crate parses; what it parses is compiled here once, into nodes whose names are resolved, and is evaluated
//! over the claims and the request as they are, without a copy. Every step is counted ([`BUDGET`]), so no rule
//! holds a worker, whatever a token or a request brings. What is not certainly true refuses: an error, a value that is no
//! boolean, too many steps.

mod call;
mod compile;
mod error;
mod eval;
mod fault;
mod kind;
mod meter;
mod names;
mod nesting;
mod node;
mod operate;
mod regex;
mod shape;
mod signature;
mod value;

use std::fmt;
use std::sync::Arc;

use cel::parser::Parser;

pub use self::error::ExprError;
use self::eval::Evaluation;
pub use self::fault::Fault;
pub use self::meter::BUDGET;
use self::node::Node;
use super::facts::Facts;
use crate::token::claims::Claims;

/// A condition that was found fit to be evaluated. Cheap to clone.
#[derive(Clone)]
pub struct Expression(Arc<Rule>);

struct Rule {
    text: Box<str>,
    node: Node,
    reads_claims: bool,
    reads_request: bool,
    reads_connection: bool,
    headers: Vec<Box<str>>,
}

/// What an evaluation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluated<'e> {
    /// Whether the condition holds, or why that cannot be said.
    pub outcome: Result<bool, Fault<'e>>,
    /// What it took, at most [`BUDGET`].
    pub steps: u32,
}

impl Expression {
    /// Parses and compiles a condition.
    ///
    /// # Errors
    /// [`ExprError`], with its place, for what is no CEL, is too long (4096 characters) or too deep, has more than two
    /// macros inside each other, reads what there is not, calls what is not offered, has a pattern that is not written out
    /// or too large, or can never be a boolean.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        nesting::check(text)?;
        let (tree, info) = Parser::new()
            .parse_with_source_info(text)
            .map_err(|errors| unparsed(text, &errors))?;
        let (node, names) = compile::compile(&tree, &info)?;
        Ok(Self(Arc::new(Rule {
            text: text.into(),
            node,
            reads_claims: names.claims,
            reads_request: names.request,
            reads_connection: names.connection,
            headers: names.headers,
        })))
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether it reads `claims`, so that nobody without a token can meet it.
    pub fn reads_claims(&self) -> bool {
        self.0.reads_claims
    }

    /// Whether it reads `request`, `source` or `tls`.
    pub fn reads_request(&self) -> bool {
        self.0.reads_request || self.0.reads_connection
    }

    /// Whether it reads `source` or `tls`, which stand in no message.
    pub fn reads_connection(&self) -> bool {
        self.0.reads_connection
    }

    /// The headers that it reads, in lower case, each once.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.0.headers.iter().map(|name| &**name)
    }

    /// Evaluates the condition for a request. `claims` is `None` where there is no token.
    pub fn evaluate<'v>(
        &'v self,
        claims: Option<&'v Claims>,
        facts: &'v Facts<'v>,
    ) -> Evaluated<'v> {
        let mut evaluation = Evaluation::new(claims.map(Claims::json), facts);
        let outcome = evaluation.condition(&self.0.node);
        Evaluated {
            outcome,
            steps: evaluation.meter.taken(),
        }
    }
}

/// Two are one if they are written alike.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0.text).finish()
    }
}

/// The first of the parser's errors, shortened: it lists every token that could have stood there.
fn unparsed(text: &str, errors: &cel::ParseErrors) -> ExprError {
    let Some(first) = errors.errors.first() else {
        return ExprError::new(1, "it is no CEL");
    };
    let (line, column) = (usize::try_from(first.pos.0), usize::try_from(first.pos.1));
    let before: usize = text
        .split_inclusive('\n')
        .take(line.unwrap_or(1).saturating_sub(1))
        .map(|line| line.chars().count())
        .sum();
    let said = first.msg.split(" expecting ").next().unwrap_or_default();
    let said = said.strip_prefix("Syntax error: ").unwrap_or(said);
    ExprError::new(before + column.unwrap_or(1).max(1), said)
}

#[cfg(test)]
mod tests;
