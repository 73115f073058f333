//! What Tollgate itself answers, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::node::{At, Named};

type Field<T> = Option<At<T>>;
type List<T> = Option<At<Vec<At<T>>>>;

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawResource {
    pub(crate) identifier: Field<String>,
    pub(crate) documentation: Field<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawCors {
    pub(crate) origins: List<String>,
    pub(crate) methods: List<String>,
    pub(crate) headers: List<String>,
    pub(crate) expose: List<String>,
    pub(crate) credentials: Field<bool>,
    pub(crate) max_age: Field<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawRefusal {
    pub(crate) text: Field<Named<String>>,
}
