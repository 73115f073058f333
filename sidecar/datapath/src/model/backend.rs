//! Where packets of a service go.

use std::net::IpAddr;

/// One backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Backend {
    /// Where it is. With [`Deliver::Ipip`](super::Deliver::Ipip) of either family, whatever the service's is.
    pub address: IpAddr,
    /// Its share, relative to the others', 1 to 1000.
    pub weight: u32,
    /// Takes no new flows, and keeps those that it has.
    pub drain: bool,
}
