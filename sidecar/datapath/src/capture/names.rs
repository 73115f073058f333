//! How services are called, and which number they have in the tables.

use std::collections::HashMap;

use tollgate_common::service::{About, Action, Key, TCP, UDP};

use super::filter::Names;
use crate::{
    maps::Mapping,
    model::{Proto, Vip},
    tables,
};

/// The services' names, as the daemon or a configuration has them.
pub type ServiceNames = HashMap<Vip, String>;

/// What names of a filter are looked up in.
pub(super) struct Known<'a> {
    pub(super) tables: &'a Mapping,
    pub(super) names: &'a ServiceNames,
    pub(super) interface: &'a dyn Fn(&str) -> Option<u32>,
}

impl Names for Known<'_> {
    fn service(&self, name: &str) -> Option<(u16, Vip)> {
        services(self.tables).find(|(_, vip)| match self.names.get(vip) {
            Some(known) => known == name,
            None => vip.to_string() == name,
        })
    }

    fn interface(&self, name: &str) -> Option<u32> {
        (self.interface)(name)
    }
}

/// The services in the tables: their numbers, and what clients send to.
pub(super) fn services(tables: &Mapping) -> impl Iterator<Item = (u16, Vip)> + '_ {
    tables.cells.iter().filter_map(|cell| {
        let tag = cell.tag.load();
        match Action::from_number((tag >> 32) as u32)? {
            Action::Steer | Action::Forward | Action::Translate => {}
            Action::Fragments => return None,
        }
        let key = Key {
            hi: cell.hi.load(),
            lo: cell.lo.load(),
            tag: tag as u32,
        };
        let scope = key.scope();
        let ip = tables::address(key.hi, key.lo, if scope.is_v4() { 4 } else { 6 })?;
        let proto = match key.proto() {
            TCP => Proto::Tcp,
            UDP => Proto::Udp,
            _ => return None,
        };
        let port = u16::from_be(key.tag as u16);
        let number = About::unpack(cell.about.load()).number;
        let bits = scope.bits();
        (number != 0).then_some((
            number,
            Vip {
                ip,
                bits,
                port,
                proto,
            },
        ))
    })
}
