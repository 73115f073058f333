//! Evaluation, step by counted step.

use std::net::IpAddr;

use serde_json::{Map as JsonMap, Value as Json};

use super::fault::Fault;
use super::meter::{MAX_NESTED, Meter};
use super::node::{Each, Given, Node, Operator, What};
use super::value::{List, Map, Value};
use super::{call, operate};
use crate::header::scrub::reads_alike;
use crate::policy::facts::{Facts, TlsClient};

/// One evaluation.
pub(super) struct Evaluation<'v> {
    claims: Option<&'v JsonMap<String, Json>>,
    facts: &'v Facts<'v>,
    pub(super) meter: Meter,
    variables: [Value<'v>; MAX_NESTED],
}

impl<'v> Evaluation<'v> {
    pub(super) fn new(claims: Option<&'v JsonMap<String, Json>>, facts: &'v Facts<'v>) -> Self {
        Self {
            claims,
            facts,
            meter: Meter::new(),
            variables: [Value::Null, Value::Null],
        }
    }

    /// The value of a condition.
    pub(super) fn condition(&mut self, node: &'v Node) -> Result<bool, Fault<'v>> {
        match self.value(node)? {
            Value::Bool(value) => Ok(value),
            _ => Err(Fault::NotBoolean),
        }
    }

    fn value(&mut self, node: &'v Node) -> Result<Value<'v>, Fault<'v>> {
        self.meter.charge(1)?;
        Ok(match node {
            Node::Literal(json) => Value::of(json),
            Node::Uint(value) => Value::Uint(*value),
            Node::Claims => Value::Map(Map::Json(self.claims.ok_or(Fault::Absent("claims"))?)),
            Node::Given(given) => self.given(*given)?,
            Node::HasHost => Value::Bool(self.facts.head.authority.is_some()),
            Node::Header(name) => self.header(name)?,
            Node::HasHeader(name) => {
                self.fields()?;
                Value::Bool(self.alike(name).next().is_some())
            }
            Node::HeaderValues(name) => self.header_values(name)?,
            Node::Variable(place) => self.variables[*place].clone(),
            Node::Field(operand, name) => {
                let found = self.member(operand, name)?;
                found.ok_or(Fault::Absent(name))?
            }
            Node::HasField(operand, name) => Value::Bool(self.member(operand, name)?.is_some()),
            Node::Not(operand) => Value::Bool(!self.condition(operand)?),
            Node::Negate(operand) => operate::negate(self.value(operand)?)?,
            Node::And(sides) => Value::Bool(self.both(sides)?),
            Node::Or(sides) => Value::Bool(self.either(sides)?),
            Node::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                match self.condition(condition)? {
                    true => self.value(then)?,
                    false => self.value(otherwise)?,
                }
            }
            Node::Binary(operator, sides) => self.binary(*operator, sides)?,
            Node::List(items) => {
                self.meter.allocation(items.len())?;
                let items: Result<_, _> = items.iter().map(|item| self.value(item)).collect();
                Value::list(items?)
            }
            Node::Map(entries) => self.map(entries)?,
            Node::Call(function, arguments) => match &arguments[..] {
                [one] => {
                    let one = self.value(one)?;
                    call::unary(*function, one, &mut self.meter)?
                }
                [one, other] => {
                    let (one, other) = (self.value(one)?, self.value(other)?);
                    call::binary(*function, &one, &other, &mut self.meter)?
                }
                _ => return Err(Fault::Types("call")),
            },
            Node::Matches(text, regex) => {
                let Value::Text(text) = self.value(text)? else {
                    return Err(Fault::Types("matches"));
                };
                // Each byte may be a look at another part of a large table.
                self.meter.bytewise(2 * text.len())?;
                Value::Bool(regex.is_match(&text).ok_or(Fault::Types("matches"))?)
            }
            Node::InNetwork(network, address) => {
                Value::Bool(network.contains(&self.address(address)?.to_canonical()))
            }
            Node::Each(each) => self.each(each)?,
        })
    }

    fn given(&mut self, given: Given) -> Result<Value<'v>, Fault<'v>> {
        let head = self.facts.head;
        Ok(match given {
            Given::Method => Value::text(head.method.as_str()),
            Given::Path => Value::text(head.path.as_str()),
            Given::Host => {
                let authority = head.authority.as_ref().ok_or(Fault::Absent("host"))?;
                Value::text(authority.host())
            }
            Given::Address => {
                self.meter.allocation(2)?;
                Value::built(&self.facts.source.to_canonical().to_string())
            }
            Given::Client => self
                .facts
                .client
                .map(TlsClient::json)
                .map_or(Value::Null, |client| Value::Map(Map::Json(client))),
        })
    }

    /// Charges a walk through the names of the fields. They are compared letter by letter, and a client may send one of
    /// many kilobytes.
    fn fields(&mut self) -> Result<(), Fault<'v>> {
        let fields = &self.facts.head.fields;
        self.meter.charge(fields.len())?;
        self.meter
            .bytewise(fields.iter().map(|field| field.name.len()).sum())
    }

    /// The fields that servers behind may take for the one of this name, with whether they are spelled as it is.
    fn alike(&self, name: &'v str) -> impl Iterator<Item = (bool, &'v [u8])> + use<'v> {
        let alike = |(field, _): &(&[u8], _)| reads_alike(field, name.as_bytes());
        self.facts
            .head
            .fields
            .iter()
            .map(|field| (field.name.as_ref(), field.value.as_ref()))
            .filter(alike)
            .map(|(field, value)| (field.eq_ignore_ascii_case(name.as_bytes()), value))
    }

    fn header(&mut self, name: &'v str) -> Result<Value<'v>, Fault<'v>> {
        self.fields()?;
        let mut alike = self.alike(name);
        match (alike.next(), alike.next()) {
            (None, _) => Err(Fault::Absent(name)),
            (Some((true, value)), None) => self.field_text(name, value),
            _ => Err(Fault::Repeated(name)),
        }
    }

    fn header_values(&mut self, name: &'v str) -> Result<Value<'v>, Fault<'v>> {
        self.fields()?;
        self.meter.allocation(self.alike(name).count())?;
        let values: Result<_, _> = self
            .alike(name)
            .map(|(_, value)| self.field_text(name, value))
            .collect();
        Ok(Value::list(values?))
    }

    fn field_text(&mut self, name: &'v str, value: &'v [u8]) -> Result<Value<'v>, Fault<'v>> {
        self.meter.bulk(value.len())?;
        let text = std::str::from_utf8(value).map_err(|_| Fault::NotText(name))?;
        Ok(Value::text(text))
    }

    fn member(&mut self, operand: &'v Node, name: &'v str) -> Result<Option<Value<'v>>, Fault<'v>> {
        match self.value(operand)? {
            Value::Map(map) => operate::member(&map, name, &mut self.meter),
            _ => Err(Fault::Types(".")),
        }
    }

    /// True or false as soon as one side decides, whatever the other one is; an error only where it would decide.
    fn both(&mut self, sides: &'v [Node; 2]) -> Result<bool, Fault<'v>> {
        let left = self.condition(&sides[0]);
        match left {
            Ok(false) | Err(Fault::TooManySteps) => return left,
            Ok(true) | Err(_) => {}
        }
        match self.condition(&sides[1])? {
            false => Ok(false),
            true => left,
        }
    }

    /// As [`Self::both`].
    fn either(&mut self, sides: &'v [Node; 2]) -> Result<bool, Fault<'v>> {
        let left = self.condition(&sides[0]);
        match left {
            Ok(true) | Err(Fault::TooManySteps) => return left,
            Ok(false) | Err(_) => {}
        }
        match self.condition(&sides[1])? {
            true => Ok(true),
            false => left,
        }
    }

    fn binary(&mut self, operator: Operator, sides: &'v [Node; 2]) -> Result<Value<'v>, Fault<'v>> {
        let (left, right) = (self.value(&sides[0])?, self.value(&sides[1])?);
        operate::binary(operator, &left, &right, &mut self.meter)
    }

    fn map(&mut self, entries: &'v [(Node, Node)]) -> Result<Value<'v>, Fault<'v>> {
        self.meter.allocation(2 * entries.len())?;
        let mut built: Vec<(Value<'v>, Value<'v>)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = self.value(key)?;
            if !matches!(
                key,
                Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Text(_)
            ) {
                return Err(Fault::Types("{}"));
            }
            for (other, _) in &built {
                if operate::equal(other, &key, &mut self.meter)? {
                    return Err(Fault::KeyTwice);
                }
            }
            built.push((key, self.value(value)?));
        }
        Ok(Value::Map(Map::Built(built.into())))
    }

    fn address(&mut self, node: &'v Node) -> Result<IpAddr, Fault<'v>> {
        if let Node::Given(Given::Address) = node {
            return Ok(self.facts.source);
        }
        match self.value(node)? {
            Value::Text(text) => {
                self.meter.bytewise(text.len())?;
                text.parse().map_err(|_| Fault::NotAddress)
            }
            _ => Err(Fault::NotAddress),
        }
    }

    fn each(&mut self, each: &'v Each) -> Result<Value<'v>, Fault<'v>> {
        let range = match self.value(&each.range)? {
            Value::List(list) => list,
            Value::Map(map) => {
                self.meter.allocation(map.len())?;
                List::Built(map.keys().into())
            }
            _ => return Err(Fault::Types("a macro")),
        };
        let mut fold = Fold::new(each.what);
        for item in range.iter() {
            self.meter.charge(1)?;
            self.variables[each.variable] = item;
            let test = match &each.test {
                Some(test) => self.condition(test),
                None => Ok(true),
            };
            if test == Err(Fault::TooManySteps) {
                return Err(Fault::TooManySteps);
            }
            match (&each.item, test) {
                (Some(item), Ok(true)) => {
                    // Amortised: a vector that grows is copied as a whole.
                    self.meter.charge(4)?;
                    fold.items.push(self.value(item)?);
                }
                (Some(_), Ok(false)) => {}
                (Some(_), Err(fault)) => return Err(fault),
                (None, test) => {
                    if fold.decided(test)? {
                        break;
                    }
                }
            }
        }
        fold.result()
    }
}

/// What a macro has seen so far.
struct Fold<'v> {
    what: What,
    /// The first error that no element has overruled yet.
    fault: Option<Fault<'v>>,
    decided: bool,
    count: usize,
    items: Vec<Value<'v>>,
}

impl<'v> Fold<'v> {
    const fn new(what: What) -> Self {
        Self {
            what,
            fault: None,
            decided: false,
            count: 0,
            items: Vec::new(),
        }
    }

    /// Takes one element's test; whether no further one matters.
    fn decided(&mut self, test: Result<bool, Fault<'v>>) -> Result<bool, Fault<'v>> {
        match (self.what, test) {
            (What::ExistsOne | What::Collect, Err(fault)) => return Err(fault),
            (What::All | What::Exists, Err(fault)) => {
                self.fault.get_or_insert(fault);
            }
            (What::All, Ok(holds)) => self.decided = !holds,
            (What::Exists, Ok(holds)) => self.decided = holds,
            (What::ExistsOne | What::Collect, Ok(holds)) => self.count += usize::from(holds),
        }
        Ok(self.decided)
    }

    fn result(self) -> Result<Value<'v>, Fault<'v>> {
        match (self.what, self.fault) {
            (What::Collect, _) => Ok(Value::list(self.items)),
            (What::ExistsOne, _) => Ok(Value::Bool(self.count == 1)),
            (_, Some(fault)) if !self.decided => Err(fault),
            (What::All, _) => Ok(Value::Bool(!self.decided)),
            (What::Exists, _) => Ok(Value::Bool(self.decided)),
        }
    }
}
