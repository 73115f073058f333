//! What Tollgate itself answers, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::node::{At, Named};

type Field<T> = Option<At<T>>;

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawResource {
    pub(crate) identifier: Field<String>,
    pub(crate) documentation: Field<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawRefusal {
    pub(crate) text: Field<Named<String>>,
}
