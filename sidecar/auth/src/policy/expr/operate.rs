//! Operators.

use std::cmp::Ordering;

use super::fault::Fault;
use super::meter::Meter;
use super::node::Operator;
use super::value::{List, Map, Text, Value};

pub(super) fn negate(value: Value<'_>) -> Result<Value<'_>, Fault<'static>> {
    match value {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or(Fault::Overflow),
        Value::Double(value) => Ok(Value::Double(-value)),
        _ => Err(Fault::Types("-")),
    }
}

pub(super) fn binary<'v>(
    operator: Operator,
    left: &Value<'v>,
    right: &Value<'v>,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault<'v>> {
    let ordered = |meter: &mut Meter| order(operator, left, right, meter);
    Ok(Value::Bool(match operator {
        Operator::Equal => equal(left, right, meter)?,
        Operator::NotEqual => !equal(left, right, meter)?,
        Operator::Less => ordered(meter)?.is_some_and(Ordering::is_lt),
        Operator::LessEqual => ordered(meter)?.is_some_and(Ordering::is_le),
        Operator::Greater => ordered(meter)?.is_some_and(Ordering::is_gt),
        Operator::GreaterEqual => ordered(meter)?.is_some_and(Ordering::is_ge),
        Operator::In => contains(left, right, meter)?,
        Operator::Index => return index(left, right, meter),
        Operator::Add => return add(left, right, meter),
        Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
            return arithmetic(operator, left, right);
        }
    }))
}

/// Equality of any two values; those of different types differ, but for numbers.
pub(super) fn equal(
    left: &Value<'_>,
    right: &Value<'_>,
    meter: &mut Meter,
) -> Result<bool, Fault<'static>> {
    meter.charge(1)?;
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            meter.bulk(a.len())?;
            **a == **b
        }
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(&a, &b, meter)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => maps_equal(a, b, meter)?,
        _ => numbers(left, right).flatten() == Some(Ordering::Equal),
    })
}

fn maps_equal(a: &Map<'_>, b: &Map<'_>, meter: &mut Meter) -> Result<bool, Fault<'static>> {
    if a.len() != b.len() {
        return Ok(false);
    }
    meter.allocation(a.len())?;
    for key in a.keys() {
        let (Some(one), Some(other)) = (entry(a, &key, "==", meter)?, entry(b, &key, "==", meter)?)
        else {
            return Ok(false);
        };
        if !equal(&one, &other, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How two numbers stand to each other, exactly, whatever their types; inside, `None` for a NaN. Outside, `None` where
/// one is no number.
fn numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Option<Ordering>> {
    Some(match (left, right) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => whole_and_double(whole(b)?, *a).map(Ordering::reverse),
        (a, Value::Double(b)) => whole_and_double(whole(a)?, *b),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    })
}

fn whole(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(value) => Some((*value).into()),
        Value::Uint(value) => Some((*value).into()),
        _ => None,
    }
}

/// An integer of 64 bits beside a double, without rounding the integer.
fn whole_and_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // The cast saturates, far beyond any integer of 64 bits.
    let floor = double.floor() as i128;
    Some(whole.cmp(&floor).then(if double > double.floor() {
        Ordering::Less
    } else {
        Ordering::Equal
    }))
}

fn order(
    operator: Operator,
    left: &Value<'_>,
    right: &Value<'_>,
    meter: &mut Meter,
) -> Result<Option<Ordering>, Fault<'static>> {
    match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        (Value::Text(a), Value::Text(b)) => {
            meter.bulk(a.len().min(b.len()))?;
            Ok(Some((**a).cmp(&**b)))
        }
        _ => numbers(left, right).ok_or_else(|| Fault::Types(operator.sign())),
    }
}

fn contains(
    left: &Value<'_>,
    right: &Value<'_>,
    meter: &mut Meter,
) -> Result<bool, Fault<'static>> {
    match right {
        Value::List(List::Json(list)) => {
            for item in *list {
                if equal(left, &Value::of(item), meter)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::List(List::Built(list)) => {
            for item in &**list {
                if equal(left, item, meter)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => Ok(entry(map, left, "in", meter)?.is_some()),
        _ => Err(Fault::Types("in")),
    }
}

fn index<'v>(of: &Value<'v>, at: &Value<'v>, meter: &mut Meter) -> Result<Value<'v>, Fault<'v>> {
    match of {
        Value::List(list) => {
            let at = match at {
                Value::Double(at) if at.fract() == 0.0 => Some(*at as i128),
                at => whole(at),
            };
            let at = at.ok_or(Fault::Types("[]"))?;
            usize::try_from(at)
                .ok()
                .and_then(|at| list.get(at))
                .ok_or(Fault::NoSuchElement)
        }
        Value::Map(map) => entry(map, at, "[]", meter)?.ok_or(Fault::NoSuchElement),
        _ => Err(Fault::Types("[]")),
    }
}

/// The value of a map's key. What cannot be a key is an error, not absent.
fn entry<'v>(
    map: &Map<'v>,
    key: &Value<'_>,
    what: &'static str,
    meter: &mut Meter,
) -> Result<Option<Value<'v>>, Fault<'static>> {
    match (map, key) {
        (_, Value::Null | Value::List(_) | Value::Map(_)) => Err(Fault::Types(what)),
        (_, Value::Text(key)) => member(map, key, meter),
        (Map::Json(_), _) => Ok(None),
        (Map::Built(map), _) => {
            for (other, value) in &**map {
                if equal(other, key, meter)? {
                    return Ok(Some(value.clone()));
                }
            }
            Ok(None)
        }
    }
}

/// The value of a map's member.
pub(super) fn member<'v, 'f>(
    map: &Map<'v>,
    name: &str,
    meter: &mut Meter,
) -> Result<Option<Value<'v>>, Fault<'f>> {
    match map {
        Map::Json(map) => {
            // A search in a B-tree compares with a few names of each of its few levels.
            meter.bulk(8 * name.len())?;
            Ok(map.get(name).map(Value::of))
        }
        Map::Built(map) => {
            for (key, value) in &**map {
                meter.bulk(name.len())?;
                if matches!(key, Value::Text(key) if **key == *name) {
                    return Ok(Some(value.clone()));
                }
            }
            Ok(None)
        }
    }
}

fn add<'v>(left: &Value<'v>, right: &Value<'v>, meter: &mut Meter) -> Result<Value<'v>, Fault<'v>> {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => {
            meter.allocation((a.len() + b.len()) / 32)?;
            Ok(Value::Text(Text::Built([&**a, &**b].concat().into())))
        }
        (Value::List(a), Value::List(b)) => {
            meter.allocation(a.len() + b.len())?;
            Ok(Value::list(a.iter().chain(b.iter()).collect()))
        }
        _ => arithmetic(Operator::Add, left, right),
    }
}

/// Arithmetic on two numbers of one type, as CEL has it: whoever mixes them says `int()` or `double()`.
fn arithmetic<'v>(
    operator: Operator,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<Value<'v>, Fault<'v>> {
    let result = match (left, right) {
        (Value::Int(a), Value::Int(b)) => match operator {
            Operator::Add => a.checked_add(*b),
            Operator::Subtract => a.checked_sub(*b),
            Operator::Multiply => a.checked_mul(*b),
            Operator::Divide | Operator::Remainder if *b == 0 => return Err(Fault::DivisionByZero),
            Operator::Divide => a.checked_div(*b),
            Operator::Remainder => a.checked_rem(*b),
            _ => None,
        }
        .map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => match operator {
            Operator::Add => a.checked_add(*b),
            Operator::Subtract => a.checked_sub(*b),
            Operator::Multiply => a.checked_mul(*b),
            Operator::Divide | Operator::Remainder if *b == 0 => return Err(Fault::DivisionByZero),
            Operator::Divide => a.checked_div(*b),
            Operator::Remainder => a.checked_rem(*b),
            _ => None,
        }
        .map(Value::Uint),
        (Value::Double(a), Value::Double(b)) => match operator {
            Operator::Add => Some(a + b),
            Operator::Subtract => Some(a - b),
            Operator::Multiply => Some(a * b),
            Operator::Divide => Some(a / b),
            _ => return Err(Fault::Types(operator.sign())),
        }
        .map(Value::Double),
        _ => return Err(Fault::Types(operator.sign())),
    };
    result.ok_or(Fault::Overflow)
}
