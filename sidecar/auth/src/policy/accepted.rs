//! The values of which a claim must have one.

use std::collections::HashSet;

use serde_json::{Number, Value};

/// Values that are accepted. Asking costs the same however many there are: operators list thousands of tenants, and
/// issuers give a user as many groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accepted {
    values: Vec<Value>,
    strings: HashSet<Box<str>>,
    whole: HashSet<i128>,
    /// What was written with a fraction, and what was not, as a fraction; by their bits.
    fractions: HashSet<u64>,
    rounded: HashSet<u64>,
    booleans: [bool; 2],
}

impl Accepted {
    /// These; what is no string, number or boolean is never met.
    pub fn new(values: Vec<Value>) -> Self {
        let mut accepted = Self::default();
        for value in &values {
            match value {
                Value::String(text) => {
                    accepted.strings.insert(text.as_str().into());
                }
                Value::Number(number) => match whole(number) {
                    Some(whole) => {
                        accepted.whole.insert(whole);
                        accepted.rounded.extend(bits(number));
                    }
                    None => accepted.fractions.extend(bits(number)),
                },
                Value::Bool(flag) => accepted.booleans[usize::from(*flag)] = true,
                Value::Null | Value::Array(_) | Value::Object(_) => {}
            }
        }
        accepted.values = values;
        accepted
    }

    /// The values, in the order of the file.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Whether `found` is one of them, or an array that has one of them as an element. Nothing is joined or split, and
    /// arrays inside arrays are no elements.
    pub fn meets(&self, found: &Value) -> bool {
        match found {
            Value::Array(elements) => elements.iter().any(|element| self.has(element)),
            scalar => self.has(scalar),
        }
    }

    /// Equality, where 2 and 2.0 are one number: configuration and token may spell it differently.
    fn has(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.strings.contains(text.as_str()),
            Value::Number(number) => {
                let among =
                    |set: &HashSet<u64>| bits(number).is_some_and(|bits| set.contains(&bits));
                match whole(number) {
                    Some(whole) => self.whole.contains(&whole) || among(&self.fractions),
                    None => among(&self.fractions) || among(&self.rounded),
                }
            }
            Value::Bool(flag) => self.booleans[usize::from(*flag)],
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

impl From<Vec<Value>> for Accepted {
    fn from(values: Vec<Value>) -> Self {
        Self::new(values)
    }
}

fn whole(number: &Number) -> Option<i128> {
    let positive = number.as_u64().map(i128::from);
    positive.or_else(|| number.as_i64().map(i128::from))
}

/// As a fraction; minus zero is zero.
fn bits(number: &Number) -> Option<u64> {
    number.as_f64().map(|number| (number + 0.0).to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// One by one.
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) if a.is_f64() != b.is_f64() => {
                a.as_f64() == b.as_f64()
            }
            (Value::Null | Value::Array(_) | Value::Object(_), _) => false,
            _ => a == b,
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let big = 1_u64 << 53;
        prop_oneof![
            "[ab]{0,2}".prop_map(|text| json!(text)),
            any::<bool>().prop_map(|flag| json!(flag)),
            (-3_i64..4).prop_map(|number| json!(number)),
            (-3_i64..4).prop_map(|number| json!(number as f64)),
            (big - 2..big + 3).prop_map(|number| json!(number)),
            (big - 2..big + 3).prop_map(|number| json!(number as f64)),
            Just(json!(u64::MAX)),
            Just(json!(i64::MIN)),
            Just(json!(-0.0)),
            Just(json!(0.5)),
            Just(json!(null)),
            Just(json!({})),
            Just(json!(["a"])),
        ]
    }

    #[test]
    fn large_numbers_are_told_apart() {
        let big = 1_u64 << 53;
        let accepted = Accepted::new(vec![json!(big), json!("7")]);
        assert_eq!(accepted.values().len(), 2);
        assert!(accepted.meets(&json!(big)) && accepted.meets(&json!(big as f64)));
        assert!(!accepted.meets(&json!(big + 1)) && !accepted.meets(&json!(7)));
    }

    proptest! {
        #[test]
        fn it_answers_as_one_by_one(
            accepted in prop::collection::vec(value(), 0..6),
            found in prop_oneof![value(), prop::collection::vec(value(), 0..4).prop_map(Value::from)],
        ) {
            let one_by_one = match &found {
                Value::Array(all) => all.iter().any(|e| accepted.iter().any(|a| same(e, a))),
                scalar => accepted.iter().any(|a| same(scalar, a)),
            };
            prop_assert_eq!(Accepted::new(accepted).meets(&found), one_by_one);
        }
    }
}
