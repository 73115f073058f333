//! From the parser's tree to a rule: names resolved, types held together, patterns compiled. What can never be
//! evaluated is refused here, when the configuration is read.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, MapExpr, SelectExpr,
    SourceInfo, operators,
};
use serde_json::{Number, Value as Json};

use super::error::ExprError;
use super::kind::Kind;
use super::names::{Names, is_headers};
use super::node::{Each, Node, Operator, What};
use super::regex::Regex;
use super::{shape, signature};
use crate::header::forwarded::{NetError, parse_net};

/// How deep an expression may be, whatever makes it so.
const MAX_DEPTH: usize = 96;

/// Compiles an expression that must be a condition, with what it reads.
pub(super) fn compile(expr: &IdedExpr, info: &SourceInfo) -> Result<(Node, Names), ExprError> {
    let mut compiler = Compiler {
        info,
        depth: 0,
        names: Names::default(),
    };
    let (node, kind) = compiler.node(expr)?;
    if !kind.may_be(Kind::Bool) {
        return Err(ExprError::new(
            1,
            format!(
                "the expression is a {kind}, and a rule must be a bool; compare it with something"
            ),
        ));
    }
    Ok((node, compiler.names))
}

type Typed = (Node, Kind);

struct Compiler<'s> {
    info: &'s SourceInfo,
    depth: usize,
    names: Names,
}

impl Compiler<'_> {
    fn error(&self, expr: &IdedExpr, message: impl Into<String>) -> ExprError {
        let start = self.info.offset_for(expr.id).map_or(0, |(start, _)| start);
        ExprError::new(start as usize + 1, message)
    }

    fn node(&mut self, expr: &IdedExpr) -> Result<Typed, ExprError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(
                expr,
                format!(
                    "the expression is more than {MAX_DEPTH} levels deep here; write it flatter"
                ),
            ));
        }
        self.depth += 1;
        let typed = self.typed(expr);
        self.depth -= 1;
        typed
    }

    fn typed(&mut self, expr: &IdedExpr) -> Result<Typed, ExprError> {
        match &expr.expr {
            Expr::Literal(literal) => self.literal(expr, literal),
            Expr::Ident(name) => self.names.alone(name).map_err(|why| self.error(expr, why)),
            Expr::Select(select) => self.select(expr, select),
            Expr::Call(call) => self.operation(expr, call),
            Expr::List(list) => {
                let items: Result<Vec<_>, _> = list
                    .elements
                    .iter()
                    .map(|item| Ok(self.node(item)?.0))
                    .collect();
                Ok((folded_list(items?), Kind::List))
            }
            Expr::Map(map) => self.map(expr, map),
            Expr::Comprehension(each) => self.each(expr, each),
            Expr::Struct(message) => Err(self.error(
                expr,
                format!(
                    "messages such as `{}{{…}}` are not offered; a map is `{{\"key\": value}}`",
                    message.type_name
                ),
            )),
            Expr::Unspecified => Err(self.error(expr, "an expression is missing here")),
        }
    }

    fn literal(&self, expr: &IdedExpr, literal: &LiteralValue) -> Result<Typed, ExprError> {
        Ok(match literal {
            LiteralValue::Null => (Node::Literal(Json::Null), Kind::Null),
            LiteralValue::Boolean(value) => (Node::Literal((*value.inner()).into()), Kind::Bool),
            LiteralValue::Int(value) => (Node::Literal((*value.inner()).into()), Kind::Int),
            LiteralValue::UInt(value) => (Node::Uint(*value.inner()), Kind::Uint),
            LiteralValue::Double(value) => {
                let number = Number::from_f64(*value.inner())
                    .ok_or_else(|| self.error(expr, "the number is out of range"))?;
                (Node::Literal(number.into()), Kind::Double)
            }
            LiteralValue::String(text) => (Node::Literal(text.inner().into()), Kind::Text),
            LiteralValue::Bytes(_) => {
                return Err(self.error(
                    expr,
                    "bytes are not offered; nothing that a rule reads has them",
                ));
            }
        })
    }

    fn map(&mut self, expr: &IdedExpr, map: &MapExpr) -> Result<Typed, ExprError> {
        let mut entries = Vec::with_capacity(map.entries.len());
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                return Err(self.error(
                    expr,
                    "messages are not offered; a map is `{\"key\": value}`",
                ));
            };
            let (key, kind) = self.node(&entry.key)?;
            if !matches!(
                kind,
                Kind::Any | Kind::Bool | Kind::Int | Kind::Uint | Kind::Text
            ) {
                return Err(self.error(
                    &entry.key,
                    format!("a {kind} cannot be a key; strings, integers and booleans can"),
                ));
            }
            entries.push((key, self.node(&entry.value)?.0));
        }
        match folded_map(entries) {
            Some(node) => Ok((node, Kind::Map)),
            None => Err(self.error(expr, "a key stands twice in this map")),
        }
    }

    fn operation(&mut self, expr: &IdedExpr, call: &CallExpr) -> Result<Typed, ExprError> {
        if call.target.is_some() {
            return self.call(expr, call);
        }
        let arguments = &call.args[..];
        match (call.func_name.as_str(), arguments) {
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                let condition = self.condition(condition)?;
                let (then, one) = self.node(then)?;
                let (otherwise, other) = self.node(otherwise)?;
                let kind = if one == other { one } else { Kind::Any };
                Ok((Node::If(Box::new([condition, then, otherwise])), kind))
            }
            (operators::LOGICAL_AND, [left, right]) => {
                let sides = Box::new([self.condition(left)?, self.condition(right)?]);
                Ok((Node::And(sides), Kind::Bool))
            }
            (operators::LOGICAL_OR, [left, right]) => {
                let sides = Box::new([self.condition(left)?, self.condition(right)?]);
                Ok((Node::Or(sides), Kind::Bool))
            }
            (operators::LOGICAL_NOT, [operand]) => {
                Ok((Node::Not(Box::new(self.condition(operand)?)), Kind::Bool))
            }
            (operators::NEGATE, [operand]) => {
                let (node, kind) = self.node(operand)?;
                if !matches!(kind, Kind::Any | Kind::Int | Kind::Double) {
                    return Err(self.error(expr, format!("`-` does not take a {kind}")));
                }
                Ok((Node::Negate(Box::new(node)), kind))
            }
            (operators::INDEX, [of, at]) => self.index(expr, of, at),
            (operators::IN, [item, range]) => self.membership(expr, item, range),
            (name, [left, right]) => match binary(name) {
                Some(operator) => self.binary(expr, operator, left, right),
                None => self.call(expr, call),
            },
            _ => self.call(expr, call),
        }
    }

    /// An operand that must be a boolean.
    fn condition(&mut self, expr: &IdedExpr) -> Result<Node, ExprError> {
        let (node, kind) = self.node(expr)?;
        if !kind.may_be(Kind::Bool) {
            return Err(self.error(expr, format!("a bool is wanted here, and this is a {kind}")));
        }
        Ok(node)
    }

    fn binary(
        &mut self,
        expr: &IdedExpr,
        operator: Operator,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Typed, ExprError> {
        let (one, a) = self.node(left)?;
        let (other, b) = self.node(right)?;
        let known = if a == Kind::Any { b } else { a };
        let kind = match operator {
            Operator::Equal | Operator::NotEqual => a.may_equal(b).then_some(Kind::Bool),
            Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
                a.may_order(b).then_some(Kind::Bool)
            }
            Operator::Add => {
                let takes =
                    known.is_number() || matches!(known, Kind::Any | Kind::Text | Kind::List);
                (takes && a.may_be(b)).then_some(known)
            }
            Operator::Remainder if known == Kind::Double => None,
            _ => ((known.is_number() || known == Kind::Any) && a.may_be(b)).then_some(known),
        };
        let sign = operator.sign();
        let kind = kind.ok_or_else(|| {
            let cure = if a.is_number() && b.is_number() {
                "; say `int()` or `double()` of one of them"
            } else {
                ""
            };
            self.error(
                expr,
                format!("`{sign}` cannot stand between a {a} and a {b}{cure}"),
            )
        })?;
        Ok((Node::Binary(operator, Box::new([one, other])), kind))
    }

    fn select(&mut self, expr: &IdedExpr, select: &SelectExpr) -> Result<Typed, ExprError> {
        if is_headers(&select.operand) {
            let name = self.header(expr, &select.field)?;
            return Ok(if select.test {
                (Node::HasHeader(name), Kind::Bool)
            } else {
                (Node::Header(name), Kind::Text)
            });
        }
        if let Some(given) = self.names.given(select) {
            return given.map_err(|why| self.error(expr, why));
        }
        let (operand, kind) = self.node(&select.operand)?;
        let name = select.field.as_str().into();
        if !kind.may_be(Kind::Map) {
            return Err(self.error(
                expr,
                format!("`.{name}` is asked of a {kind}, which has no members"),
            ));
        }
        Ok(if select.test {
            (Node::HasField(Box::new(operand), name), Kind::Bool)
        } else {
            (Node::Field(Box::new(operand), name), Kind::Any)
        })
    }

    fn index(&mut self, expr: &IdedExpr, of: &IdedExpr, at: &IdedExpr) -> Result<Typed, ExprError> {
        if is_headers(of) {
            let name = self.header_name(at)?;
            return Ok((Node::Header(name), Kind::Text));
        }
        let (of, kind) = self.node(of)?;
        let (at, key) = self.node(at)?;
        let fits = match kind {
            Kind::Any => !matches!(key, Kind::Null | Kind::List | Kind::Map),
            Kind::List => key == Kind::Any || key.is_number(),
            Kind::Map => matches!(
                key,
                Kind::Any | Kind::Bool | Kind::Int | Kind::Uint | Kind::Text
            ),
            _ => false,
        };
        if !fits {
            return Err(self.error(
                expr,
                format!("a {kind} cannot be asked for the element of a {key}"),
            ));
        }
        // A member by its name, which is what an error then says.
        if let (Kind::Any | Kind::Map, Node::Literal(Json::String(name))) = (kind, &at) {
            let name = name.as_str().into();
            return Ok((Node::Field(Box::new(of), name), Kind::Any));
        }
        Ok((Node::Binary(Operator::Index, Box::new([of, at])), Kind::Any))
    }

    fn membership(
        &mut self,
        expr: &IdedExpr,
        item: &IdedExpr,
        range: &IdedExpr,
    ) -> Result<Typed, ExprError> {
        if is_headers(range) {
            let name = self.header_name(item)?;
            return Ok((Node::HasHeader(name), Kind::Bool));
        }
        let item = self.node(item)?.0;
        let (range, kind) = self.node(range)?;
        if !matches!(kind, Kind::Any | Kind::List | Kind::Map) {
            return Err(self.error(expr, format!("`in` wants a list or a map, not a {kind}; a part of a text is found by `contains`")));
        }
        Ok((
            Node::Binary(Operator::In, Box::new([item, range])),
            Kind::Bool,
        ))
    }

    fn each(&mut self, expr: &IdedExpr, each: &ComprehensionExpr) -> Result<Typed, ExprError> {
        let (range, kind) = self.node(&each.iter_range)?;
        if !matches!(kind, Kind::Any | Kind::List | Kind::Map) {
            return Err(self.error(
                expr,
                format!("a macro goes through a list or a map, not a {kind}"),
            ));
        }
        let (None, Some(shape)) = (&each.iter_var2, shape::of(each)) else {
            return Err(self.error(expr, "this macro is not offered"));
        };
        let variable = self
            .names
            .enter(&each.iter_var)
            .map_err(|why| self.error(expr, why))?;
        let test = shape.test.map(|test| self.condition(test)).transpose()?;
        let item = shape.item.map(|item| self.node(item)).transpose()?;
        self.names.leave();
        let kind = match shape.what {
            What::Collect => Kind::List,
            What::All | What::Exists | What::ExistsOne => Kind::Bool,
        };
        let each = Each {
            what: shape.what,
            range,
            variable,
            test,
            item: item.map(|(node, _)| node),
        };
        Ok((Node::Each(Box::new(each)), kind))
    }

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Result<Typed, ExprError> {
        let name = call.func_name.as_str();
        match (name, call.target.as_deref(), &call.args[..]) {
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
                return self.matches(expr, text, pattern);
            }
            ("containsIP", Some(network), [address]) => return self.network(network, address),
            ("values", Some(headers), [header]) if is_headers(headers) => {
                let header = self.header_name(header)?;
                return Ok((Node::HeaderValues(header), Kind::List));
            }
            ("dyn", None, [value]) => return Ok((self.node(value)?.0, Kind::Any)),
            _ => {}
        }
        let Some(signature) = signature::find(name, call.target.is_some()) else {
            return Err(self.error(
                expr,
                format!(
                    "`{name}` is no function of rules, or is called in another way; {}",
                    signature::OFFERED
                ),
            ));
        };
        let given: Vec<&IdedExpr> = call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect();
        if given.len() != signature.takes.len() {
            return Err(self.error(
                expr,
                format!(
                    "`{name}` takes {} values and was given {}",
                    signature.takes.len(),
                    given.len()
                ),
            ));
        }
        let mut arguments = Vec::with_capacity(given.len());
        for (argument, takes) in given.into_iter().zip(signature.takes) {
            let (node, kind) = self.node(argument)?;
            if !takes.admits(kind) {
                return Err(self.error(
                    argument,
                    format!("`{name}` takes {}, and this is a {kind}", takes.word()),
                ));
            }
            arguments.push(node);
        }
        Ok((Node::Call(signature.function, arguments), signature.gives))
    }

    fn matches(
        &mut self,
        expr: &IdedExpr,
        text: &IdedExpr,
        pattern: &IdedExpr,
    ) -> Result<Typed, ExprError> {
        let (text, kind) = self.node(text)?;
        if !kind.may_be(Kind::Text) {
            return Err(self.error(
                expr,
                format!("`matches` takes a string, and this is a {kind}"),
            ));
        }
        let Some(literal) = literal_text(pattern) else {
            return Err(self.error(pattern, "a pattern must be written here as a string, so that it is compiled once and its cost is known"));
        };
        let regex = Regex::new(literal)
            .map_err(|why| self.error(pattern, format!("this pattern cannot be used: {why}")))?;
        Ok((Node::Matches(Box::new(text), Box::new(regex)), Kind::Bool))
    }

    fn network(&mut self, network: &IdedExpr, address: &IdedExpr) -> Result<Typed, ExprError> {
        let literal = match &network.expr {
            Expr::Call(call) if call.func_name == "cidr" && call.target.is_none() => {
                match &call.args[..] {
                    [network] => literal_text(network),
                    _ => None,
                }
            }
            _ => None,
        };
        let Some(literal) = literal else {
            return Err(self.error(network, "`containsIP` is asked of a network that is written out, such as `cidr(\"10.0.0.0/8\")`"));
        };
        let parsed = parse_net(literal).map_err(|error| {
            let why = match error {
                NetError::Everybody(_) => format!("{literal:?} is everybody, which needs no rule"),
                NetError::Syntax(_) | NetError::Bits { .. } => error.to_string(),
            };
            self.error(network, why)
        })?;
        let (address, kind) = self.node(address)?;
        if !kind.may_be(Kind::Text) {
            return Err(self.error(
                network,
                format!("`containsIP` takes a string, and this is a {kind}"),
            ));
        }
        Ok((Node::InNetwork(parsed, Box::new(address)), Kind::Bool))
    }

    /// The name of a header, which must be written out: it must be known before a request comes whether a client could
    /// have forged it.
    fn header_name(&mut self, name: &IdedExpr) -> Result<Box<str>, ExprError> {
        match literal_text(name) {
            Some(literal) => self.header(name, literal),
            None => Err(self.error(
                name,
                "the name of a header must be written here as a string",
            )),
        }
    }

    fn header(&mut self, expr: &IdedExpr, name: &str) -> Result<Box<str>, ExprError> {
        self.names.header(name).map_err(|why| self.error(expr, why))
    }
}

fn literal_text(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn binary(name: &str) -> Option<Operator> {
    Some(match name {
        operators::EQUALS => Operator::Equal,
        operators::NOT_EQUALS => Operator::NotEqual,
        operators::LESS => Operator::Less,
        operators::LESS_EQUALS => Operator::LessEqual,
        operators::GREATER => Operator::Greater,
        operators::GREATER_EQUALS => Operator::GreaterEqual,
        operators::ADD => Operator::Add,
        operators::SUBSTRACT => Operator::Subtract,
        operators::MULTIPLY => Operator::Multiply,
        operators::DIVIDE => Operator::Divide,
        operators::MODULO => Operator::Remainder,
        _ => return None,
    })
}

/// A list of literals is a literal itself, and costs nothing to make.
fn folded_list(items: Vec<Node>) -> Node {
    if !items.iter().all(|item| matches!(item, Node::Literal(_))) {
        return Node::List(items);
    }
    let literals = items.into_iter().filter_map(|item| match item {
        Node::Literal(json) => Some(json),
        _ => None,
    });
    Node::Literal(literals.collect())
}

/// The same for a map whose keys are strings; `None` if one of them stands twice.
fn folded_map(entries: Vec<(Node, Node)>) -> Option<Node> {
    let literal = |(key, value): &(Node, Node)| {
        matches!(
            (key, value),
            (Node::Literal(Json::String(_)), Node::Literal(_))
        )
    };
    if !entries.iter().all(literal) {
        return Some(Node::Map(entries));
    }
    let mut map = serde_json::Map::new();
    for entry in entries {
        let (Node::Literal(Json::String(key)), Node::Literal(value)) = entry else {
            continue;
        };
        if map.insert(key, value).is_some() {
            return None;
        }
    }
    Some(Node::Literal(Json::Object(map)))
}
