//! Between the checks and those who go by them: what is watched, and what follows from it.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tollgate_datapath::model::{
    Backend, Deliver, Model, Service, Share as BackendShare, Shares as BackendShares, Vip,
};

use crate::config::model::{Config, DatapathConfig};
use crate::health::group::{self, Address, Group, Kind, Member, Name, Reply, Target, Way};
use crate::health::settings::{Settings, Via};
use crate::health::state::Share;
use crate::health::{Health, Shares};
use crate::kernel::{self, Kernel};
use crate::snapshot::Snapshot;

/// When what could not be written to the kernel is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Who is to be watched. Backends that the kernel knows already begin with the share that they have there, so that a
/// daemon that starts moves no flow.
pub(super) async fn groups(config: &Config, kernel: Option<&Kernel>) -> Vec<Group> {
    let mut groups = Vec::new();
    for (upstream, settings) in config.upstreams.iter().zip(&config.health) {
        let Some(settings) = settings else { continue };
        let member = |&address: &std::net::SocketAddr| Member {
            address: Address {
                ip: address.ip(),
                port: Some(address.port()),
            },
            counts: true,
            target: Target {
                ip: address.ip(),
                port: address.port(),
                way: None,
            },
            adopted: None,
        };
        groups.push(Group {
            name: Name {
                kind: Kind::Upstream,
                name: upstream.name.clone(),
            },
            settings: settings.clone(),
            members: upstream.endpoints.iter().map(member).collect(),
        });
    }
    let Some(datapath) = &config.datapath else {
        return groups;
    };
    let known = match kernel {
        Some(kernel) if !datapath.health.is_empty() => kernel.shares(datapath.model.clone()).await,
        _ => BackendShares::new(),
    };
    for service in &datapath.model.services {
        if let Some(settings) = datapath.health.get(&service.name) {
            groups.push(of_service(service, settings, &known));
        }
    }
    groups
}

/// Gives the checks that go by a VIP their marks, once the model stands. Without a mark no such check is made, and none of its
/// members turns.
pub(super) async fn mark(groups: &mut [Group], config: &Config, kernel: Option<&Kernel>) {
    let (Some(kernel), Some(datapath)) = (kernel, &config.datapath) else {
        return;
    };
    let services = datapath.model.services.iter();
    let goes_by_vip = |service: &&Service| {
        let settings = datapath.health.get(&service.name);
        settings.is_some_and(|settings| settings.via == Via::Vip)
    };
    let services: Vec<Service> = services.filter(goes_by_vip).cloned().collect();
    let vips: HashMap<Name, Vip> = services.iter().map(|one| (name_of(one), one.vip)).collect();
    let asked = kernel::ByVip {
        services,
        tunnel: datapath.model.tunnel,
    };
    let Some(marks) = kernel.marks(asked).await else {
        return;
    };
    let by: Arc<dyn group::ByVip> = Arc::new(ByKernel(kernel.clone()));
    for group in groups {
        let Some(vip) = vips.get(&group.name) else {
            continue;
        };
        for member in &mut group.members {
            let mark = marks.get(&(*vip, member.address.ip));
            member.target.way = mark.map(|mark| Way {
                mark: *mark,
                by: Arc::clone(&by),
            });
        }
    }
}

/// Whoever has the rights for it marks packets.
struct ByKernel(Kernel);

impl group::ByVip for ByKernel {
    fn socket(&self, ipv6: bool, mark: u32) -> Reply<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            let socket = self.0.marked(ipv6, mark).await;
            socket.map_err(io::Error::other)
        })
    }

    fn count(&self, mark: u32) -> Reply<'_, Option<u64>> {
        Box::pin(self.0.count(mark))
    }
}

fn of_service(service: &Service, settings: &Settings, known: &BackendShares) -> Group {
    let port = |backend: &Backend| match &service.deliver {
        Deliver::Nat(nat) => nat.ports.get(&backend.address).copied(),
        _ => None,
    };
    let member = |backend: &Backend| Member {
        address: Address {
            ip: backend.address,
            port: None,
        },
        counts: !backend.drain,
        target: Target {
            ip: backend.address,
            port: port(backend).unwrap_or(service.vip.port),
            way: None,
        },
        adopted: known
            .get(&service.vip)
            .and_then(|its| its.get(&backend.address))
            .map(|noted| Share {
                quarters: noted.quarters,
                down: noted.down,
            }),
    };
    Group {
        name: name_of(service),
        settings: settings.clone(),
        members: service.deliver.backends().iter().map(member).collect(),
    }
}

fn name_of(service: &Service) -> Name {
    Name {
        kind: Kind::Service,
        name: service.name.as_str().into(),
    }
}

/// The services as the file means them, with the shares that their checks leave the backends.
pub(super) fn model(datapath: &DatapathConfig, shares: &Shares) -> Model {
    datapath.model.with_shares(&backends(datapath, shares))
}

fn backends(datapath: &DatapathConfig, shares: &Shares) -> BackendShares {
    let services = datapath.model.services.iter();
    let of = |service: &Service| {
        let members = shares.get(&name_of(service))?;
        let shares = members.iter().map(|(member, share)| {
            let share = BackendShare {
                quarters: share.quarters,
                down: share.down,
            };
            (member.ip, share)
        });
        Some((service.vip, shares.collect()))
    };
    services.filter_map(of).collect()
}

/// Lets requests go by these shares.
pub(super) fn weigh(snapshot: &Snapshot, shares: &Shares) {
    for upstream in &snapshot.upstreams {
        let name = Name {
            kind: Kind::Upstream,
            name: upstream.config().name.clone(),
        };
        let shares = shares.get(&name);
        for endpoint in &upstream.config().endpoints {
            let address = Address {
                ip: endpoint.ip(),
                port: Some(endpoint.port()),
            };
            // One that is not checked any more has all of its share again.
            let share = shares.and_then(|its| its.get(&address));
            let quarters = share.map_or(crate::health::state::WHOLE, |share| share.quarters);
            upstream.set_share(*endpoint, quarters);
        }
    }
}

/// Lets traffic follow the checks until the daemon ends. `grows_at` says when shares change by themselves, `heed` lets what
/// has changed take effect; both say `None` when there is nobody left to do it for.
pub(super) async fn follow(
    mut changes: mpsc::Receiver<()>,
    grows_at: impl Fn() -> Option<Option<Instant>>,
    heed: impl AsyncFn() -> Option<Result<(), String>>,
) {
    let mut again = None;
    loop {
        let Some(grows) = grows_at() else { return };
        let due = [grows, again].into_iter().flatten().min();
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            told = changes.recv() => if told.is_none() {
                return;
            },
            () = due => {}
        }
        again = match heed().await {
            None => return,
            Some(Ok(())) => None,
            Some(Err(error)) => {
                tracing::error!(
                    error,
                    "the kernel does not go by the checks yet; trying again"
                );
                Some(Instant::now() + AGAIN)
            }
        };
    }
}

/// Lets requests and packets go by what the checks say now.
pub(super) async fn heed(
    health: &Health,
    snapshot: &Snapshot,
    kernel: Option<&Kernel>,
    datapath: Option<&DatapathConfig>,
) -> Result<(), String> {
    let shares = health.shares();
    weigh(snapshot, &shares);
    match (kernel, datapath) {
        (Some(kernel), Some(datapath)) if !datapath.health.is_empty() => {
            kernel.weigh(backends(datapath, &shares)).await
        }
        _ => Ok(()),
    }
}
