//! The way of checks that go to a service's address: which mark brings a connection to which backend.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tollgate_datapath::Datapath;
use tollgate_datapath::checks::{Checked, Checks, ChecksError, Turned};
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

/// How many packets with a mark have gone by the VIP; `None`: the mark is not known.
pub type Count = Arc<dyn Fn(u32) -> Option<u64> + Send + Sync>;

/// By which marks checks go by the VIP.
#[derive(Clone)]
pub struct Marks {
    /// The marks of connections, by service and backend.
    pub by: HashMap<(Vip, IpAddr), u32>,
    /// Whether they do. The same one for as long as the daemon runs.
    pub count: Count,
}

/// What has to be kept for it.
pub(super) struct Ways {
    checks: Option<Checks>,
    asked: Option<ByVip>,
    /// Backends whose ways are still to be told to the programs.
    untold: Option<Vec<Checked>>,
    /// What was in the way last, which is told once.
    trouble: Option<String>,
    turned: Arc<Mutex<Option<Turned>>>,
    count: Count,
}

impl Default for Ways {
    fn default() -> Self {
        let turned: Arc<Mutex<Option<Turned>>> = Arc::default();
        let of = Arc::clone(&turned);
        Self {
            checks: None,
            asked: None,
            untold: None,
            trouble: None,
            turned,
            count: Arc::new(move |mark| {
                let turned = of.lock().unwrap_or_else(PoisonError::into_inner);
                turned.as_ref()?.count(mark)
            }),
        }
    }
}

impl Ways {
    /// Says by which marks checks go, and makes the ways. What is in the way is told in the log and tried again by
    /// [`refresh`](Self::refresh); until then no check counts. With no service everything is given back.
    pub(super) async fn make(&mut self, datapath: &Datapath, asked: ByVip) -> Marks {
        let mut marks = Marks {
            by: HashMap::new(),
            count: Arc::clone(&self.count),
        };
        if asked.services.is_empty() {
            (self.asked, self.untold, self.trouble) = (None, None, None);
            self.show(None);
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
                    let mark = one.mark(asked.base);
                    marks.by.insert((service.vip, address), mark);
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

    async fn go_on(&mut self, datapath: &Datapath) -> Result<(), ChecksError> {
        let Some(asked) = &self.asked else {
            return Ok(());
        };
        if self.checks.is_none() {
            let checks = Checks::load()?;
            self.show(Some(checks.turned()));
            self.checks = Some(checks);
        }
        let Some(checks) = &mut self.checks else {
            return Ok(());
        };
        if let Some(untold) = &self.untold {
            checks.know(untold, asked.base, asked.tunnel)?;
            self.untold = None;
        }
        checks.attach(&asked.interfaces, datapath.tables()).await
    }

    fn show(&self, turned: Option<Turned>) {
        *self.turned.lock().unwrap_or_else(PoisonError::into_inner) = turned;
    }
}

/// An error and its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
