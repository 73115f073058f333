//! Decapsulation on a backend host: a program on one interface, which outlives the process that attached it.
//!
//! What is taken stands in maps that are written before the program runs and never again: another configuration is
//! another program with maps of its own, put behind the same link at once. Only the counters are kept.
//!
//! In the folder of an interface (a dot in its name reads as `:`):
//!
//! | pin | is |
//! |---|---|
//! | `link_xdp` or `link_tcx` | what keeps the program attached |
//! | `prog_clsact` | the program, where a classic filter keeps it attached |
//! | `vips`, `addresses`, `sources`, `settings` | what is taken, for `--status` |
//! | `outcomes` | per-CPU counts |

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use aya::maps::{Map, MapData, MapError};
use tollgate_common::decap::Outcome;

mod attach;
mod config;
mod error;
pub mod object;

pub use attach::{How, Report};
pub use config::{Config, DEFAULT_GUE_PORT, Mode, default_sources};
pub use error::DecapError;

use crate::{
    model::Unfit,
    netlink::{Device, Netlink, address_of},
    pins::{self, Lock, PinsError},
    prefix::Prefix,
};
use attach::Standing;
use object::Object;

/// The folder of the pins, unless another one is named.
pub const BPFFS: &str = "/sys/fs/bpf/tollgate-decap";

/// One interface that packets are decapsulated on.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    /// Its name.
    pub interface: String,
    /// How the program is attached; `None`: by nothing, a call was interrupted.
    pub attached: Option<How>,
    /// Why no packet reaches the program, if none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detached: Option<String>,
    /// The addresses inside that packets are taken out for.
    pub vips: Vec<Prefix>,
    /// The addresses of this host that tunnels are taken at.
    pub addresses: Vec<IpAddr>,
    /// Where tunnels may come from.
    pub sources: Vec<Prefix>,
    /// The UDP port of GUE.
    pub gue_port: u16,
    /// Packets by what became of them, since the interface was first named.
    pub packets: BTreeMap<&'static str, u64>,
}

/// Attaches the program to the interface; where it is attached already, another configuration takes the place of the
/// old one at once.
///
/// Must be called, as all that follows, on a thread in the network namespace of the interface, inside a tokio runtime
/// with I/O and time enabled.
///
/// # Errors
/// [`DecapError`]; what is attached already goes on as it did.
pub async fn up(config: &Config) -> Result<Report, DecapError> {
    config.check()?;
    let _lock = Lock::take(&config.bpffs).await?;
    let device = device(&config.interface).await?;
    let folder = folder(&config.bpffs, &config.interface);
    let is_new = !folder.exists();
    fs::create_dir_all(&folder).map_err(PinsError::io("the folder was not made", &folder))?;
    let report = put(config, &folder, &device);
    if report.is_err() && is_new {
        // A call that failed leaves nothing for the next one to find.
        clear(&folder)?;
        let _left_to_others = fs::remove_dir(&config.bpffs);
    }
    report
}

fn put(config: &Config, folder: &Path, device: &Device) -> Result<Report, DecapError> {
    let mut object = Object::load(config, Some(&folder.join(OUTCOMES)))?;
    let standing = Standing::find(folder, device)?;
    let report = attach::attach(&mut object, &standing, folder, device, config.mode)?;
    for (map, pin) in object::RULES.into_iter().zip(RULES) {
        let next = folder.join(format!("{pin}_next"));
        if next.exists() {
            pins::remove(&next)?;
        }
        object.pin(map, &next)?;
        pins::replace(&next, &folder.join(pin))?;
    }
    Ok(report)
}

/// The addresses of this host that balancers can send tunnels to: all of this network namespace but loopback and
/// link-local ones. VIPs are left out, so that it does not matter whether they stand on `lo` yet.
///
/// # Errors
/// [`DecapError::Netlink`].
pub async fn own_addresses(vips: &[Prefix]) -> Result<Vec<IpAddr>, DecapError> {
    let messages = Netlink::open()?.addresses().await?;
    let is_own = |address: &IpAddr| {
        Unfit::check(*address).is_ok() && !vips.iter().any(|vip| vip.covers(*address))
    };
    let addresses = messages.iter().filter_map(address_of).filter(is_own);
    // One address may stand on several interfaces.
    Ok(addresses.collect::<BTreeSet<_>>().into_iter().collect())
}

/// Removes the program of an interface, or of all; how many interfaces had one.
///
/// # Errors
/// [`DecapError`].
pub async fn down(bpffs: &Path, interface: Option<&str>) -> Result<Vec<String>, DecapError> {
    if !bpffs.exists() {
        return Ok(Vec::new());
    }
    let _lock = Lock::take(bpffs).await?;
    let mut removed = Vec::new();
    for name in interfaces(bpffs)? {
        if interface.is_some_and(|one| one != name) {
            continue;
        }
        let folder = folder(bpffs, &name);
        attach::remove(&folder, &name)?;
        clear(&folder)?;
        removed.push(name);
    }
    // What else stands there is not ours; then the folder stays.
    let _left_to_others = fs::remove_dir(bpffs);
    Ok(removed)
}

/// What is attached, and what it did.
///
/// # Errors
/// [`DecapError`].
pub async fn status(bpffs: &Path, interface: Option<&str>) -> Result<Vec<Status>, DecapError> {
    let mut found = Vec::new();
    for name in interfaces(bpffs)? {
        if interface.is_some_and(|one| one != name) {
            continue;
        }
        let folder = folder(bpffs, &name);
        let (attached, detached) = match device(&name).await {
            Err(DecapError::NoInterface(_)) => (None, Some("the interface is gone".to_owned())),
            Err(error) => return Err(error),
            Ok(device) => Standing::look(&folder, &device)?,
        };
        let [vips, addresses, sources, settings] = RULES.map(|pin| folder.join(pin));
        let counts = object::outcomes(opened(&folder.join(OUTCOMES))?)
            .map_err(|error| DecapError::map(&folder.join(OUTCOMES), error))?;
        found.push(Status {
            interface: name,
            attached,
            detached,
            vips: prefixes(&vips)?,
            addresses: object::addresses(opened(&addresses)?)
                .map_err(|error| DecapError::map(&addresses, error))?,
            sources: prefixes(&sources)?,
            gue_port: object::gue_port(opened(&settings)?)
                .map_err(|error| DecapError::map(&settings, error))?,
            packets: counts
                .into_iter()
                .map(|(one, n)| (Outcome::label(one), n))
                .collect(),
        });
    }
    Ok(found)
}

/// The pins of what is taken.
const RULES: [&str; 4] = ["vips", "addresses", "sources", "settings"];
const OUTCOMES: &str = "outcomes";

fn folder(bpffs: &Path, interface: &str) -> PathBuf {
    bpffs.join(interface.replace('.', ":"))
}

/// The interfaces that have folders, sorted.
fn interfaces(bpffs: &Path) -> Result<Vec<String>, DecapError> {
    let names = pins::entries(bpffs)?;
    let names = names.iter().filter(|path| path.is_dir());
    let names = names.filter_map(|path| Some(path.file_name()?.to_str()?.replace(':', ".")));
    Ok(names.collect())
}

/// Removes the pins of an interface and their folder.
fn clear(folder: &Path) -> Result<(), DecapError> {
    for pin in pins::entries(folder)? {
        pins::remove(&pin)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PinsError::io("the folder was not removed", folder)(error).into())
        }
        _ => Ok(()),
    }
}

async fn device(name: &str) -> Result<Device, DecapError> {
    let devices = Netlink::open()?.devices().await?;
    let found = devices.into_iter().find(|device| device.name == name);
    found.ok_or_else(|| DecapError::NoInterface(name.to_owned()))
}

fn prefixes(pin: &Path) -> Result<Vec<Prefix>, DecapError> {
    object::prefixes(opened(pin)?).map_err(|error| DecapError::map(pin, error))
}

fn opened(pin: &Path) -> Result<Map, DecapError> {
    let opened = || Map::from_map_data(MapData::from_pin(pin)?);
    opened().map_err(|error: MapError| DecapError::map(pin, error))
}
