//! Where the tests of links, programs and maps take place.

use std::{
    future::Future,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tollgate::demo::lab::{Lab, Netns, UPLINK};
use tollgate_datapath::{
    Announce, Config, Datapath, XdpMode,
    model::{Backend, Deliver, Model, Service},
    netlink::{self, Device},
};

/// A namespace with a bpffs of its own, which vanishes with it.
pub(crate) struct Room {
    pub(crate) lab: Lab,
    pub(crate) host: tollgate::demo::lab::Host,
    pub(crate) folder: TempDir,
}

impl Room {
    pub(crate) fn new() -> Self {
        if let Some(missing) = tollgate::demo::lab::missing_rights() {
            panic!("this test attaches eBPF programs in network namespaces: {missing}");
        }
        let folder = TempDir::with_prefix("tollgate-life-").unwrap();
        let mut lab = Lab::new().unwrap();
        let host = lab.node("node", folder.path()).unwrap();
        Self { lab, host, folder }
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.folder.path().join("tollgate")
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            interfaces: vec![UPLINK.to_owned()],
            xdp: XdpMode::Auto,
            bpffs: self.pins(),
            announce: Announce::None,
        }
    }

    pub(crate) fn run<F: Future>(&self, f: impl FnOnce() -> F + Send) -> F::Output
    where
        F::Output: Send,
    {
        inside(&self.host.ns, f)
    }
}

/// Runs a future in a namespace.
pub(crate) fn inside<F: Future>(ns: &Netns, f: impl FnOnce() -> F + Send) -> F::Output
where
    F::Output: Send,
{
    ns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { f().await })
    })
    .unwrap()
}

pub(crate) fn model() -> Model {
    let backends = (21..=24)
        .map(|last| Backend {
            address: Ipv4Addr::new(10, 77, 0, last).into(),
            weight: 1,
            drain: false,
        })
        .collect();
    Model {
        services: vec![
            Service::new(
                "api".into(),
                "203.0.113.10:443/tcp".parse().unwrap(),
                Deliver::Listener("edge".into()),
            ),
            Service::new(
                "database".into(),
                "203.0.113.20:5432/tcp".parse().unwrap(),
                Deliver::Ipip(backends),
            ),
        ],
        ..Model::default()
    }
}

pub(crate) fn ids(datapath: &Datapath) -> Vec<u16> {
    let status = datapath.status();
    status
        .services
        .iter()
        .flat_map(|service| &service.backends)
        .map(|backend| backend.id)
        .collect()
}

pub(crate) async fn device(name: &str) -> Device {
    let devices = netlink::devices().await.unwrap();
    devices
        .into_iter()
        .find(|device| device.name == name)
        .expect("the device")
}

pub(crate) fn program_id(pins: &Path) -> u32 {
    aya::programs::ProgramInfo::from_pin(pins.join("prog/xdp"))
        .expect("the pinned program")
        .id()
}

pub(crate) fn ip(arguments: &[&str]) {
    let ran = std::process::Command::new("ip").args(arguments).status();
    assert!(ran.unwrap().success(), "ip {arguments:?}");
}
