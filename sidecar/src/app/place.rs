//! The listeners of a configuration, as clients reach them.

use std::net::SocketAddr;

use tollgate_http::Scheme;

use crate::config::model::{Config, ListenerConfig};
use crate::downstream::tls;
use crate::explain::Place;

/// `address` says where a listener is bound: another port than the file's, where that is 0.
pub fn places(config: &Config, address: impl Fn(&ListenerConfig) -> SocketAddr) -> Vec<Place> {
    let listeners = config.listeners.iter();
    listeners
        .map(|listener| Place {
            name: listener.name.clone(),
            address: address(listener),
            scheme: match listener.tls {
                Some(_) => Scheme::Https,
                None => Scheme::Http,
            },
            // A chain that cannot be read has kept the configuration from being taken.
            certificates: listener
                .tls
                .iter()
                .flat_map(|tls| &tls.certificates)
                .filter_map(|one| tls::names_of(&one.chain).ok())
                .collect(),
        })
        .collect()
}
