//! Which peers are believed.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// The networks of the proxies whose word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarders(Vec<IpNet>);

impl Forwarders {
    /// Those of these networks; [`parse_net`] reads one.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether a peer of this address is believed. An IPv4 address that is written as IPv6 is the IPv4 address.
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The networks.
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }
}

/// Why something is no network of forwarders.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Neither an address nor a network.
    #[error(
        "{0:?} is neither an address nor a network; write for example `10.0.0.7`, `10.0.0.0/8` or `fd00::/8`"
    )]
    Syntax(String),
    /// Bits stand behind the prefix, so that it is not clear which of the two was meant.
    #[error(
        "{text:?} has bits behind its prefix; write `{network}` for the network, or the address alone"
    )]
    Bits {
        /// As written.
        text: String,
        /// The network that it lies in.
        network: IpNet,
    },
    /// A network of everybody.
    #[error(
        "{0:?} is everybody, and any client could then say who it is; name the proxies that stand before this listener"
    )]
    Everybody(String),
}

/// A network in CIDR notation, or an address. IPv4 that is written as IPv6 (`::ffff:10.0.0.0/104`) is read as IPv4, which
/// is how peers are seen.
///
/// # Errors
///
/// [`NetError`] says what to write instead.
pub fn parse_net(text: &str) -> Result<IpNet, NetError> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text
            .parse()
            .map_err(|_| NetError::Syntax(text.to_owned()))?,
    };
    if network.addr() != network.network() {
        return Err(NetError::Bits {
            text: text.to_owned(),
            network: network.trunc(),
        });
    }
    let network = canonical(network);
    if network.prefix_len() == 0 {
        return Err(NetError::Everybody(text.to_owned()));
    }
    Ok(network)
}

fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let IpNet::V6(v6) = network else {
        return network;
    };
    v6.addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(MAPPED))
        .and_then(|(v4, length)| Ipv4Net::new(v4, length).ok())
        .map_or(network, IpNet::V4)
}
