//! The way of checks that go to a service's address: which mark brings a connection to which backend.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tollgate_datapath::Datapath;
use tollgate_datapath::checks::{Checked, Checks, ChecksError, Turned};
use tollgate_datapath::model::Vip;

use super::order::ByVip;

/// What has to be kept for it.
pub(super) struct Ways {
    /// The lower half of the marks.
    base: u16,
    /// The interfaces that backends are reached by, beside those that the tables name.
    interfaces: Vec<String>,
    checks: Option<Checks>,
    asked: Option<ByVip>,
    /// Backends whose ways are still to be told to the programs.
    untold: Option<Vec<Checked>>,
    /// What was in the way last, which is told once.
    trouble: Option<String>,
    turned: Option<Turned>,
}

impl Ways {
    pub(super) const fn new(base: u16, interfaces: Vec<String>) -> Self {
        Self {
            base,
            interfaces,
            checks: None,
            asked: None,
            untold: None,
            trouble: None,
            turned: None,
        }
    }

    /// Says by which marks checks go, and makes the ways. What is in the way is told in the log and tried again by
    /// [`refresh`](Self::refresh); until then no check counts. With no service everything is given back.
    pub(super) async fn make(
        &mut self,
        datapath: &Datapath,
        asked: ByVip,
    ) -> Vec<(Vip, IpAddr, u32)> {
        let mut marks = Vec::new();
        if asked.services.is_empty() {
            (self.asked, self.untold, self.trouble) = (None, None, None);
            self.turned = None;
            if let Some(checks) = self.checks.take() {
                checks.end();
            }
            return marks;
        }
        let status = datapath.status();
        let mut checked = Vec::new();
        for service in &asked.services {
            let found = status.services.iter().find(|one| one.name == service.name);
            for backend in found.iter().flat_map(|found| &found.backends) {
                let address = backend.address;
                let one = Checked::of(&service.deliver, service.vip.ip, address, backend.id);
                if let Some(one) = one {
                    let mark = one.mark(self.base);
                    marks.push((service.vip, address, mark));
                    checked.push(one);
                }
            }
        }
        (self.asked, self.untold) = (Some(asked), Some(checked));
        self.refresh(datapath).await;
        marks
    }

    /// Makes what could not be made yet, and attaches again where an interface was made anew, or another one leads to a
    /// backend now.
    pub(super) async fn refresh(&mut self, datapath: &Datapath) {
        let trouble = match self.go_on(datapath).await {
            Ok(()) => None,
            Err(error) => Some(told(&error)),
        };
        match &trouble {
            Some(error) if self.trouble != trouble => {
                tracing::error!(
                    error,
                    "checks cannot go by the VIP everywhere; those that do not turn nobody, and it is tried again. `via: direct` asks backends at their own addresses"
                );
            }
            None if self.trouble.is_some() => tracing::info!("checks go by the VIP now"),
            _ => {}
        }
        self.trouble = trouble;
    }

    /// How many packets with a mark have gone by the VIP; `None`: the mark is not known.
    pub(super) fn count(&self, mark: u32) -> Option<u64> {
        self.turned.as_ref()?.count(mark)
    }

    /// A socket for a check whose packets go by the VIP; no other mark is given to anybody.
    pub(super) fn socket(&self, ipv6: bool, mark: u32) -> io::Result<OwnedFd> {
        if self.count(mark).is_none() {
            let why = format!("no check goes by the mark {mark:#x}");
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Mark, &mark)?;
        Ok(socket.into())
    }

    async fn go_on(&mut self, datapath: &Datapath) -> Result<(), ChecksError> {
        let Some(asked) = &self.asked else {
            return Ok(());
        };
        if self.checks.is_none() {
            let checks = Checks::load()?;
            self.turned = Some(checks.turned());
            self.checks = Some(checks);
        }
        let Some(checks) = &mut self.checks else {
            return Ok(());
        };
        if let Some(untold) = &self.untold {
            checks.know(untold, self.base, asked.tunnel)?;
            self.untold = None;
        }
        checks.attach(&self.interfaces, datapath.tables()).await
    }
}

/// An error and its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
