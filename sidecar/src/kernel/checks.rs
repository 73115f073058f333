//! The way of checks that go to a service's address: which mark brings a connection to which backend.

use std::collections::HashMap;
use std::net::IpAddr;

use tollgate_datapath::Datapath;
use tollgate_datapath::checks::{Checked, Checks, ChecksError};
use tollgate_datapath::model::{Service, Tunnel, Vip};

/// Whose checks take the way of their clients' packets.
#[derive(Debug)]
pub struct ByVip {
    /// Services of the model that stands.
    pub services: Vec<Service>,
    /// What tunnels say of this side.
    pub tunnel: Tunnel,
    /// The lower half of the marks.
    pub base: u16,
    /// The interfaces that backends are reached by, beside those that the tables name.
    pub interfaces: Vec<String>,
}

/// The marks of connections, by service and backend.
pub type Marks = HashMap<(Vip, IpAddr), u32>;

/// What has to be kept for it.
#[derive(Debug, Default)]
pub(super) struct Ways {
    checks: Option<Checks>,
    interfaces: Vec<String>,
}

impl Ways {
    /// Makes the ways, and says by which marks. With no service everything is given back.
    pub(super) async fn make(
        &mut self,
        datapath: &Datapath,
        asked: ByVip,
    ) -> Result<Marks, ChecksError> {
        if asked.services.is_empty() {
            *self = Self::default();
            return Ok(Marks::new());
        }
        let status = datapath.status();
        let (mut marks, mut checked) = (Marks::new(), Vec::new());
        for service in &asked.services {
            let found = status.services.iter().find(|one| one.name == service.name);
            for backend in found.iter().flat_map(|found| &found.backends) {
                let address = backend.address;
                let one = Checked::of(&service.deliver, service.vip.ip, address, backend.id);
                if let Some(one) = one {
                    marks.insert((service.vip, address), one.mark(asked.base));
                    checked.push(one);
                }
            }
        }
        let checks = match &mut self.checks {
            Some(checks) => checks,
            None => self.checks.insert(Checks::load()?),
        };
        checks.know(&checked, asked.base, asked.tunnel)?;
        self.interfaces = asked.interfaces;
        checks.attach(&self.interfaces, datapath.tables()).await?;
        Ok(marks)
    }

    /// Attaches again where an interface was made anew, or another one leads to a backend now.
    pub(super) async fn refresh(&mut self, datapath: &Datapath) -> Result<(), ChecksError> {
        match &mut self.checks {
            Some(checks) => checks.attach(&self.interfaces, datapath.tables()).await,
            None => Ok(()),
        }
    }
}
