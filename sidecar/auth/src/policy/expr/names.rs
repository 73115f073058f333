//! What names mean in a rule.

use cel::common::ast::{Expr, IdedExpr, SelectExpr};

use super::kind::Kind;
use super::meter::MAX_NESTED;
use super::node::{Given, Node};
use crate::header::scrub::is_hop_by_hop;

/// The names of a rule, and what it has used of them.
#[derive(Default)]
pub(super) struct Names {
    /// What the macros around the present place go through, from the outside in.
    variables: Vec<String>,
    /// It reads `claims`.
    pub(super) claims: bool,
    /// It reads `request`.
    pub(super) request: bool,
    /// It reads `source` or `tls`.
    pub(super) connection: bool,
    /// The headers that it reads, in lower case, each once.
    pub(super) headers: Vec<Box<str>>,
}

const ROOTS: [&str; 4] = ["claims", "request", "source", "tls"];

/// What stands behind a root that is no value itself.
fn members(root: &str) -> Option<&'static str> {
    Some(match root {
        "request" => "`request.method`, `request.host`, `request.path` and `request.headers`",
        "source" => "`source.address`",
        "tls" => "`tls.client`",
        _ => return None,
    })
}

impl Names {
    /// A name that stands alone.
    pub(super) fn alone(&mut self, name: &str) -> Result<(Node, Kind), String> {
        if let Some(place) = self.variables.iter().rposition(|known| known == name) {
            return Ok((Node::Variable(place), Kind::Any));
        }
        if name == "claims" {
            self.claims = true;
            return Ok((Node::Claims, Kind::Map));
        }
        Err(match members(name) {
            Some(members) => format!("`{name}` is no value; a rule may read {members}"),
            None => format!(
                "there is no `{name}`; a rule may read `claims`, `request`, `source` and `tls`"
            ),
        })
    }

    /// What the request brings under this name; `None` if it is another selection.
    pub(super) fn given(&mut self, select: &SelectExpr) -> Option<Result<(Node, Kind), String>> {
        let Expr::Ident(root) = &select.operand.expr else {
            return None;
        };
        let members = members(root)?;
        match root.as_str() {
            "request" => self.request = true,
            _ => self.connection = true,
        }
        let given = match (root.as_str(), select.field.as_str()) {
            ("request", "method") => (Given::Method, Kind::Text),
            ("request", "path") => (Given::Path, Kind::Text),
            ("request", "host") => (Given::Host, Kind::Text),
            ("source", "address") => (Given::Address, Kind::Text),
            ("tls", "client") => (Given::Client, Kind::Any),
            ("request", "headers") => {
                let ways = "`request.headers[\"name\"]`, `\"name\" in request.headers` or `request.headers.values(\"name\")`";
                return Some(Err(format!("`request.headers` is no value; say {ways}")));
            }
            (_, name) => {
                return Some(Err(format!(
                    "there is no `{root}.{name}`; there is {members}"
                )));
            }
        };
        Some(match (given, select.test) {
            ((Given::Host, _), true) => Ok((Node::HasHost, Kind::Bool)),
            (_, true) => Err(format!(
                "`{root}.{}` is always there; leave `has()` out",
                select.field
            )),
            ((given, kind), false) => Ok((Node::Given(given), kind)),
        })
    }

    /// The name of a header that the rule reads.
    pub(super) fn header(&mut self, name: &str) -> Result<Box<str>, String> {
        let name = name.to_ascii_lowercase();
        if !tollgate_http::fields::valid_name(name.as_bytes()) {
            return Err(format!("{name:?} is no name of a header"));
        }
        if name == "host" {
            return Err(
                "`host` is read as `request.host`, in the form that routes are matched by"
                    .to_owned(),
            );
        }
        if is_hop_by_hop(name.as_bytes()) {
            return Err(format!(
                "the header `{name}` belongs to the connection, and no rule sees it"
            ));
        }
        self.request = true;
        let name = name.into_boxed_str();
        if !self.headers.contains(&name) {
            self.headers.push(name.clone());
        }
        Ok(name)
    }

    /// Takes a macro's variable up, until [`Self::leave`].
    pub(super) fn enter(&mut self, name: &str) -> Result<usize, String> {
        if ROOTS.contains(&name) {
            return Err(format!(
                "`{name}` has a meaning already; call the macro's variable otherwise"
            ));
        }
        let place = self.variables.len();
        if place == MAX_NESTED {
            return Err(format!(
                "more than {MAX_NESTED} macros stand inside each other here; each multiplies what the rule costs"
            ));
        }
        self.variables.push(name.to_owned());
        Ok(place)
    }

    pub(super) fn leave(&mut self) {
        self.variables.pop();
    }
}

/// Whether it is `request.headers`.
pub(super) fn is_headers(expr: &IdedExpr) -> bool {
    match &expr.expr {
        Expr::Select(select) => {
            !select.test
                && select.field == "headers"
                && matches!(&select.operand.expr, Expr::Ident(root) if root == "request")
        }
        _ => false,
    }
}
