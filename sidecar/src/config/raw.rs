//! The configuration file as it is written: names and shapes only. Nothing is looked up, resolved or defaulted here.
//!
//! Every field is optional and carries its place, so that [`super::lower`] can name all mistakes at once. Keys of the
//! format that this version does not act on are read as [`Later`] and refused by name, never ignored.

pub(crate) mod answers;
pub(crate) mod assertion;
pub(crate) mod health;

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use self::answers::{RawCors, RawRefusal, RawResource};
use self::assertion::{RawAssertion, RawCluster};
use self::health::RawHealth;
use super::node::{At, Named, StrOr};

type Field<T> = Option<At<T>>;
type List<T> = Option<At<Vec<At<T>>>>;

/// A key of the format that a later version will act on.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(with = "Value")]
pub(crate) struct Later;

impl<'de> Deserialize<'de> for Later {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// The whole file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Tollgate")]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawConfig {
    pub(crate) version: Field<u64>,
    pub(crate) workers: Field<usize>,
    pub(crate) user: Field<String>,
    pub(crate) admin: Field<RawAdmin>,
    pub(crate) cluster: Field<RawCluster>,
    pub(crate) telemetry: Field<RawTelemetry>,
    pub(crate) issuers: Field<Named<RawIssuer>>,
    pub(crate) listeners: Field<Named<RawListener>>,
    pub(crate) upstreams: Field<Named<RawUpstream>>,
    pub(crate) shutdown: Field<RawShutdown>,
    pub(crate) datapath: Field<RawDatapath>,
    /// A key that a later version may have; means nothing.
    #[cfg(feature = "next")]
    #[expect(dead_code, reason = "it is there to be accepted")]
    pub(crate) next: Field<bool>,
    pub(crate) include: Field<Later>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawAdmin {
    pub(crate) socket: Field<String>,
    pub(crate) listen: Field<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawTelemetry {
    pub(crate) access_log: Field<RawAccessLog>,
    pub(crate) audit_log: Field<Later>,
    pub(crate) otlp: Field<Later>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawAccessLog {
    pub(crate) to: Field<RawLogTarget>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawLogTarget {
    None,
    Stdout,
    File(String),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawIssuer {
    pub(crate) issuer: Field<String>,
    pub(crate) jwks: Field<RawJwks>,
    pub(crate) keys: Field<RawKeys>,
    pub(crate) audiences: List<String>,
    pub(crate) algorithms: List<String>,
    pub(crate) clock_skew: Field<String>,
    pub(crate) token_type: Field<RawTokenType>,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawJwks {
    Discover,
    Url(String),
    File(String),
    Inline(Value),
}

/// In words: a key set that was written here may hold secrets.
impl fmt::Debug for RawJwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discover => f.write_str("Discover"),
            Self::Url(url) => f.debug_tuple("Url").field(url).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.write_str("Inline(..)"),
        }
    }
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawKeys {
    pub(crate) refresh: Field<String>,
    pub(crate) unknown_kid_cooldown: Field<String>,
    pub(crate) max_stale: Field<String>,
    pub(crate) timeout: Field<String>,
    pub(crate) allow_http: Field<bool>,
    pub(crate) allow_private: Field<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum RawTokenType {
    #[serde(rename = "any")]
    Any,
    #[serde(rename = "at+jwt")]
    AccessToken,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawListener {
    pub(crate) listen: Field<String>,
    pub(crate) trusted_forwarders: List<String>,
    pub(crate) trust_client_cert: Field<bool>,
    pub(crate) tls: Field<RawTls>,
    pub(crate) plaintext: Field<bool>,
    pub(crate) publish_jwks: Field<bool>,
    pub(crate) timeouts: Field<RawListenerTimeouts>,
    pub(crate) resource: Field<RawResource>,
    pub(crate) defaults: Field<RawDefaults>,
    pub(crate) routes: List<RawRoute>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawListenerTimeouts {
    pub(crate) handshake: Field<String>,
    pub(crate) head: Field<String>,
    pub(crate) idle: Field<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawTls {
    pub(crate) certificates: List<RawCertificate>,
    pub(crate) min_version: Field<RawTlsVersion>,
    pub(crate) client_auth: Field<RawClientAuth>,
    pub(crate) client_ca: Field<String>,
    pub(crate) forward_client_cert: Field<RawForwardClientCert>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum RawTlsVersion {
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawClientAuth {
    None,
    Optional,
    Required,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawForwardClientCert {
    None,
    Leaf,
    Chain,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawCertificate {
    pub(crate) cert: Field<String>,
    pub(crate) key: Field<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawDefaults {
    pub(crate) token: Field<StrOr<RawTokenRule>>,
    pub(crate) require: Field<RawRequire>,
    pub(crate) inject: Field<Named<RawInjection>>,
    pub(crate) refusal: Field<RawRefusal>,
    pub(crate) cors: Field<StrOr<RawCors>>,
    pub(crate) path_normalization: Field<RawNormalization>,
    pub(crate) response: Field<RawResponse>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawResponse {
    pub(crate) set: Field<Named<String>>,
    pub(crate) remove: List<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawNormalization {
    pub(crate) encoded_slash: Field<RawEncodedSlash>,
    pub(crate) merge_slashes: Field<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawEncodedSlash {
    Refuse,
    Keep,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawTokenRule {
    pub(crate) issuers: List<String>,
    pub(crate) sources: List<StrOr<RawSource>>,
    pub(crate) required: Field<bool>,
    pub(crate) forward: Field<bool>,
    pub(crate) on_expiry: Field<RawOnExpiry>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["header"] },
    { "required": ["cookie"] },
    { "required": ["query"] },
]))]
pub(crate) struct RawSource {
    pub(crate) header: Field<String>,
    pub(crate) scheme: Field<String>,
    pub(crate) cookie: Field<String>,
    pub(crate) query: Field<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawOnExpiry {
    Close,
    Keep,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawRoute {
    pub(crate) name: Field<String>,
    pub(crate) r#match: Field<RawMatch>,
    pub(crate) token: Field<StrOr<RawTokenRule>>,
    pub(crate) require: Field<RawRequire>,
    pub(crate) inject: Field<Named<RawInjection>>,
    pub(crate) refusal: Field<RawRefusal>,
    pub(crate) cors: Field<StrOr<RawCors>>,
    pub(crate) path_normalization: Field<RawNormalization>,
    pub(crate) response: Field<RawResponse>,
    pub(crate) upstream: Field<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawMatch {
    pub(crate) hosts: List<String>,
    pub(crate) path: Field<StrOr<RawPath>>,
    pub(crate) methods: List<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawPath {
    Exact(String),
    Prefix(String),
    Template(String),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawRequire {
    pub(crate) scopes: List<String>,
    pub(crate) claims: Field<Named<Vec<Value>>>,
    pub(crate) expr: Field<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["claim"] },
    { "required": ["value"] },
    { "required": ["template"] },
]))]
pub(crate) struct RawInjection {
    pub(crate) claim: Field<StrOr<Vec<String>>>,
    pub(crate) value: Field<String>,
    pub(crate) template: Field<String>,
    pub(crate) encode: Field<RawEncoding>,
    pub(crate) only: Field<RawFilter>,
    pub(crate) except: Field<RawFilter>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawEncoding {
    String,
    List,
    Json,
    Base64url,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawFilter {
    Prefix(String),
    OneOf(Vec<String>),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawUpstream {
    pub(crate) endpoints: List<String>,
    pub(crate) discovery: Field<Later>,
    pub(crate) protocol: Field<RawProtocol>,
    pub(crate) balance: Field<RawBalance>,
    pub(crate) health: Field<RawHealth>,
    pub(crate) timeouts: Field<RawUpstreamTimeouts>,
    pub(crate) forwarded: Field<RawForwarded>,
    pub(crate) assertion: Field<RawAssertion>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawForwarded {
    XForwarded,
    Rfc7239,
    Both,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawProtocol {
    Http1,
    H2c,
    H2,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawBalance {
    P2c,
    RoundRobin,
    Maglev,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawUpstreamTimeouts {
    pub(crate) connect: Field<String>,
    pub(crate) first_byte: Field<String>,
    pub(crate) idle: Field<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawShutdown {
    pub(crate) drain: Field<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawDatapath {
    pub(crate) interfaces: List<String>,
    pub(crate) xdp: Field<RawXdp>,
    pub(crate) bpffs: Field<String>,
    pub(crate) announce: Field<RawAnnounce>,
    pub(crate) tunnel: Field<RawTunnel>,
    pub(crate) health_mark: Field<u16>,
    pub(crate) services: List<RawService>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawXdp {
    Auto,
    Native,
    Generic,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawAnnounce {
    None,
    Neighbour,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawTunnel {
    pub(crate) source_v4: Field<String>,
    pub(crate) source_v6: Field<String>,
    pub(crate) gue_port: Field<u16>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawService {
    pub(crate) name: Field<String>,
    pub(crate) vip: Field<String>,
    pub(crate) deliver: Field<RawDeliver>,
    pub(crate) backends: List<RawBackend>,
    pub(crate) connection_idle: Field<String>,
    pub(crate) drain_limit: Field<String>,
    pub(crate) affinity: Field<RawAffinity>,
    pub(crate) snat: Field<String>,
    pub(crate) nat: Field<RawNat>,
    pub(crate) health: Field<RawHealth>,
    pub(crate) allow_host_address: Field<bool>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawDeliver {
    Listener(String),
    L2,
    Ipip,
    Gue,
    Nat,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawNat {
    pub(crate) tcp_established: Field<String>,
    pub(crate) tcp_transitory: Field<String>,
    pub(crate) tcp_closed: Field<String>,
    pub(crate) udp: Field<String>,
    pub(crate) udp_stream: Field<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawAffinity {
    Flow,
    Client,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RawBackend {
    pub(crate) address: Field<String>,
    pub(crate) weight: Field<u32>,
    pub(crate) drain: Field<bool>,
    pub(crate) port: Field<u16>,
}
