//! The secret of a cluster, and what is signed for an upstream.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::node::{At, StrOr};

type Field<T> = Option<At<T>>;
type List<T> = Option<At<Vec<At<T>>>>;

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawCluster {
    pub(crate) secret: Field<RawSecret>,
}

/// Where a secret is; never the secret itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawSecret {
    File(String),
    Env(String),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawAssertion {
    pub(crate) audience: Field<String>,
    pub(crate) lifetime: Field<String>,
    pub(crate) claims: List<StrOr<Vec<String>>>,
    pub(crate) bind: Field<RawBind>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawBind {
    None,
    Request,
}
