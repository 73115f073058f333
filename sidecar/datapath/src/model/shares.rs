//! How much of its share each backend has: all of it, unless its checks say otherwise.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::{Model, Service, Vip};

/// The quarters of a whole share. Each change of a share moves slots, so there are few steps.
pub const WHOLE: u8 = 4;

/// The quarters of their share that backends have, by their service and address; who is not there has all four.
pub type Shares = HashMap<Vip, BTreeMap<IpAddr, u8>>;

impl Service {
    /// The quarters of its share that a backend has.
    #[must_use]
    pub fn quarters(&self, backend: IpAddr) -> u8 {
        self.reduced.get(&backend).copied().unwrap_or(WHOLE)
    }
}

impl Model {
    /// The same services, with these shares.
    #[must_use]
    pub fn with_shares(&self, shares: &Shares) -> Self {
        let mut model = self.clone();
        for service in &mut model.services {
            let its = shares.get(&service.vip);
            let is_reduced = |(address, quarters): &(&IpAddr, &u8)| {
                let mut backends = service.deliver.backends().iter();
                **quarters < WHOLE && backends.any(|one| one.address == **address)
            };
            let reduced = its.into_iter().flatten().filter(is_reduced);
            service.reduced = reduced
                .map(|(address, quarters)| (*address, *quarters))
                .collect();
        }
        model
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Backend, Deliver};

    #[test]
    fn shares_reduce_backends_that_are_there_and_no_others() {
        let backends = [1, 2, 3].map(|last| Backend {
            address: [10, 0, 0, last].into(),
            weight: 1,
            drain: false,
        });
        let vip: Vip = "203.0.113.1:80/tcp".parse().unwrap();
        let service = Service::new("a".to_owned(), vip, Deliver::Ipip(backends.to_vec()));
        let model = Model {
            services: vec![service],
            ..Model::default()
        };
        let shares = [(1, 0), (2, WHOLE), (3, 3), (9, 0)];
        let shares = shares.map(|(last, quarters)| (IpAddr::from([10, 0, 0, last]), quarters));
        let reduced = model.with_shares(&HashMap::from([(vip, shares.into())]));
        let each = [1, 2, 3].map(|last| reduced.services[0].quarters([10, 0, 0, last].into()));
        assert_eq!(
            (each, reduced.services[0].reduced.len()),
            ([0, WHOLE, 3], 2)
        );
        // They are what the shares say and nothing that was before.
        assert_eq!(reduced.with_shares(&Shares::new()), model);
    }
}
