//! Functions.

use super::fault::Fault;
use super::meter::Meter;
use super::node::Function;
use super::value::{Text, Value};

/// A function of one value.
pub(super) fn unary<'v>(
    function: Function,
    value: Value<'v>,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault<'v>> {
    match function {
        Function::Size => size(&value, meter),
        Function::LowerAscii => changed(&value, "lowerAscii", str::to_ascii_lowercase, meter),
        Function::UpperAscii => changed(&value, "upperAscii", str::to_ascii_uppercase, meter),
        Function::EmailDomain => email_domain(value, meter),
        Function::Int => int(value, meter),
        Function::Uint => uint(value, meter),
        Function::Double => double(value, meter),
        Function::Text => text(value, meter),
        Function::Bool => match &value {
            Value::Bool(_) => Ok(value),
            Value::Text(text) => match &**text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(Fault::Conversion("bool")),
            },
            _ => Err(Fault::Conversion("bool")),
        },
        Function::Contains | Function::StartsWith | Function::EndsWith | Function::Split => {
            Err(Fault::Types("call"))
        }
    }
}

/// A function of a text and another.
pub(super) fn binary<'v>(
    function: Function,
    value: &Value<'v>,
    argument: &Value<'v>,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault<'v>> {
    let (Value::Text(text), Value::Text(part)) = (value, argument) else {
        return Err(Fault::Types(match function {
            Function::Contains => "contains",
            Function::StartsWith => "startsWith",
            Function::EndsWith => "endsWith",
            _ => "split",
        }));
    };
    Ok(Value::Bool(match function {
        Function::Contains => {
            // A search sets a table up, then goes through the text, in the worst case byte by byte.
            meter.bytewise(text.len() + part.len())?;
            text.contains(&**part)
        }
        Function::StartsWith => {
            meter.bulk(part.len())?;
            text.starts_with(&**part)
        }
        Function::EndsWith => {
            meter.bulk(part.len())?;
            text.ends_with(&**part)
        }
        _ => return split(text, part, meter),
    }))
}

/// Code points of a text, elements of a list, members of a map.
fn size<'v>(value: &Value<'_>, meter: &mut Meter) -> Result<Value<'v>, Fault<'v>> {
    let size = match value {
        Value::Text(text) => {
            meter.bytewise(text.len())?;
            text.chars().count()
        }
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return Err(Fault::Types("size")),
    };
    i64::try_from(size)
        .map(Value::Int)
        .map_err(|_| Fault::Overflow)
}

fn changed<'v>(
    value: &Value<'_>,
    name: &'static str,
    change: impl FnOnce(&str) -> String,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault<'v>> {
    let Value::Text(text) = value else {
        return Err(Fault::Types(name));
    };
    meter.bytewise(2 * text.len())?;
    meter.allocation(0)?;
    Ok(Value::Text(Text::Built(change(text).into())))
}

/// The parts between separators; an empty separator is an error.
fn split<'v>(text: &Text<'v>, separator: &str, meter: &mut Meter) -> Result<Value<'v>, Fault<'v>> {
    if separator.is_empty() {
        return Err(Fault::Types("split"));
    }
    meter.bytewise(2 * (text.len() + separator.len()))?;
    let parts = text.matches(separator).count() + 1;
    meter.allocation(2 * parts)?;
    Ok(Value::list(match text {
        Text::Borrowed(text) => text.split(separator).map(Value::text).collect(),
        Text::Built(text) => {
            // Each part is an allocation of its own here.
            meter.allocation(4 * parts + text.len() / 32)?;
            text.split(separator).map(Value::built).collect()
        }
    }))
}

/// What stands behind the `@` of a mail address, in lower case; an error unless there is exactly one `@`, and something
/// on both sides of it.
///
/// `endsWith("@corp.com")` is true of `a@evil.com@corp.com`, of which some mail systems read the first half
/// (GHSA-c5c4-8r6x-56w3). Blanks, quotes, angle brackets, commas and controls are refused for the same reason: they make
/// it more than one address to somebody.
fn email_domain<'v>(value: Value<'v>, meter: &mut Meter) -> Result<Value<'v>, Fault<'v>> {
    let Value::Text(text) = &value else {
        return Err(Fault::Types("emailDomain"));
    };
    meter.bytewise(3 * text.len())?;
    let strange = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(
                c,
                '"' | '\'' | '<' | '>' | '(' | ')' | ',' | ';' | ':' | '\\' | '%' | '!'
            )
    };
    let (local, domain) = text.split_once('@').ok_or(Fault::NotMail)?;
    let dots = domain.starts_with('.') || domain.ends_with('.') || domain.contains("..");
    if local.is_empty()
        || domain.is_empty()
        || dots
        || domain.contains('@')
        || text.contains(strange)
    {
        return Err(Fault::NotMail);
    }
    if domain.bytes().any(|b| b.is_ascii_uppercase()) {
        meter.allocation(domain.len() / 32)?;
        return Ok(Value::built(&domain.to_ascii_lowercase()));
    }
    Ok(match text {
        Text::Borrowed(text) => Value::text(&text[text.len() - domain.len()..]),
        Text::Built(_) => {
            meter.allocation(domain.len() / 32)?;
            Value::built(domain)
        }
    })
}

const INT: Fault<'static> = Fault::Conversion("int");
const UINT: Fault<'static> = Fault::Conversion("uint");
const DOUBLE: Fault<'static> = Fault::Conversion("double");

fn int<'v>(value: Value<'v>, meter: &mut Meter) -> Result<Value<'v>, Fault<'v>> {
    Ok(Value::Int(match value {
        Value::Int(value) => value,
        Value::Uint(value) => value.try_into().map_err(|_| Fault::Overflow)?,
        // The bounds themselves are no doubles below 2^63, and CEL leaves them out.
        Value::Double(value) if value > -(2f64.powi(63)) && value < 2f64.powi(63) => value as i64,
        Value::Double(_) => return Err(Fault::Overflow),
        Value::Text(text) => {
            meter.bytewise(text.len())?;
            text.parse().map_err(|_| INT)?
        }
        _ => return Err(INT),
    }))
}

fn uint<'v>(value: Value<'v>, meter: &mut Meter) -> Result<Value<'v>, Fault<'v>> {
    Ok(Value::Uint(match value {
        Value::Uint(value) => value,
        Value::Int(value) => value.try_into().map_err(|_| Fault::Overflow)?,
        Value::Double(value) if value > -1.0 && value < 2f64.powi(64) => value as u64,
        Value::Double(_) => return Err(Fault::Overflow),
        Value::Text(text) => {
            meter.bytewise(text.len())?;
            text.parse().map_err(|_| UINT)?
        }
        _ => return Err(UINT),
    }))
}

fn double<'v>(value: Value<'v>, meter: &mut Meter) -> Result<Value<'v>, Fault<'v>> {
    Ok(Value::Double(match value {
        Value::Double(value) => value,
        Value::Int(value) => value as f64,
        Value::Uint(value) => value as f64,
        Value::Text(text) => {
            // Long digits are read exactly, which takes its time.
            meter.charge(16)?;
            meter.bytewise(4 * text.len())?;
            text.parse().map_err(|_| DOUBLE)?
        }
        _ => return Err(DOUBLE),
    }))
}

fn text<'v>(value: Value<'v>, meter: &mut Meter) -> Result<Value<'v>, Fault<'v>> {
    meter.allocation(1)?;
    Ok(match value {
        Value::Text(_) => value,
        Value::Bool(true) => Value::text("true"),
        Value::Bool(false) => Value::text("false"),
        Value::Int(value) => Value::built(&value.to_string()),
        Value::Uint(value) => Value::built(&value.to_string()),
        _ => return Err(Fault::Conversion("string")),
    })
}
