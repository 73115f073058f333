//! `health:` of services and upstreams.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::node::At;

type Field<T> = Option<At<T>>;
type List<T> = Option<At<Vec<At<T>>>>;

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["tcp"] },
    { "required": ["path"] },
    { "required": ["grpc"] },
]))]
pub(crate) struct RawHealth {
    pub(crate) tcp: Field<u16>,
    pub(crate) path: Field<String>,
    pub(crate) grpc: Field<String>,
    pub(crate) port: Field<u16>,
    pub(crate) host: Field<String>,
    pub(crate) expect: List<RawStatuses>,
    pub(crate) tls: Field<RawHealthTls>,
    pub(crate) via: Field<RawVia>,
    pub(crate) interval: Field<String>,
    pub(crate) timeout: Field<String>,
    pub(crate) unhealthy: Field<u32>,
    pub(crate) healthy: Field<u32>,
    pub(crate) slow_start: Field<String>,
    pub(crate) panic: Field<String>,
}

/// `204`, or `200-299`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum RawStatuses {
    One(u16),
    Range(String),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawHealthTls {
    pub(crate) name: Field<String>,
    pub(crate) ca: Field<String>,
    pub(crate) insecure: Field<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawVia {
    Direct,
    Vip,
}
