//! Programs to interfaces and to the network namespace; adopted where a predecessor left links.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};

use aya::programs::{
    ProgramError, SkLookup, Xdp, XdpMode as Flags,
    links::{FdLink, LinkError, PinnedLink},
    xdp::XdpLink,
};
use nix::errno::Errno;

use crate::{
    config::XdpMode,
    netlink::{Device, NetlinkError},
    object::{Object, ObjectError, errno},
    pins::{self, Pins, PinsError},
};

/// This thread's network namespace.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// How an interface is attached, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attached {
    /// Its name.
    pub interface: String,
    /// Whether its packets came to our program when that was last looked at.
    pub attached: bool,
    /// Native or generic: how it is attached, or was last. Of one that never was what the configuration says.
    pub mode: XdpMode,
    /// Whether the link is a predecessor's.
    pub adopted: bool,
    /// Why this mode, or why the program is not there.
    pub why: String,
    /// The device's index.
    #[serde(skip)]
    pub index: u32,
    /// The kernel's number of our program.
    #[serde(skip)]
    pub program: Option<u32>,
}

/// Why a program was not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No such device.
    #[error(
        "there is no interface `{0}` in this network namespace; `interfaces` names those that packets arrive on"
    )]
    NoInterface(String),
    /// Another program is there.
    #[error(
        "{0} has another XDP program already, and a device takes one; `ip link show dev {0}` shows its id, `ip link set dev {0} xdp off` removes it if nobody needs it"
    )]
    Busy(String),
    /// The driver cannot.
    #[error("{interface} does not take native XDP ({source}); say `xdp: auto` or `xdp: generic`")]
    NoNative {
        /// The device.
        interface: String,
        /// The kernel's words.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("{interface}: the XDP program was not attached")]
    Xdp {
        /// The device.
        interface: String,
        /// The kernel's words.
        #[source]
        source: Box<ProgramError>,
    },
    /// The link is of the old netlink kind, which cannot be pinned.
    #[error(
        "{0}: the kernel attaches XDP only without a link here, which no restart would survive; Tollgate needs Linux 6.1 or newer"
    )]
    NoLink(String),
    /// The kernel refuses.
    #[error("sk_lookup was not attached to this network namespace")]
    SkLookup(#[source] Box<ProgramError>),
    /// A link was not adopted.
    #[error("the pinned link {0} was not opened; `tollgate down` removes it")]
    Link(String, #[source] Box<LinkError>),
    /// A link or program was not pinned.
    #[error("{0} was not pinned")]
    Pin(String, #[source] aya::pin::PinError),
    /// A pin.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The devices were not listed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The pins are about other devices.
    #[error(
        "{folder} belongs to the datapath of the network namespace {theirs}, and this is {ours}; give this one a folder of its own by `bpffs`, or run `tollgate down` there"
    )]
    OtherNamespace {
        /// The folder of the pins.
        folder: String,
        /// The inode of the namespace that the pinned programs are attached to.
        theirs: u64,
        /// The inode of the namespace of this thread.
        ours: u64,
    },
    /// This thread's network namespace.
    #[error("the network namespace of this thread was not opened")]
    Namespace(#[source] io::Error),
    /// What the kernel tells of a link.
    #[error(
        "/proc/thread-self/fdinfo was not read, where the kernel tells what a link is attached to"
    )]
    FdInfo(#[source] io::Error),
}

impl Attached {
    /// An interface that the program was never attached to.
    pub(crate) fn failed(interface: &str, mode: XdpMode, error: &AttachError) -> Self {
        Self {
            interface: interface.to_owned(),
            attached: false,
            mode,
            adopted: false,
            why: error.to_string(),
            index: 0,
            program: None,
        }
    }

    pub(crate) fn log(&self) {
        let Self {
            interface,
            mode,
            adopted,
            why,
            ..
        } = self;
        tracing::info!(interface, ?mode, adopted, why, "XDP is attached");
    }
}

/// Attaches both programs, and pins links and programs. Each interface by itself, whatever the others do: how that went
/// is told in the order of `interfaces`.
///
/// # Errors
/// [`AttachError`], of what is common to all interfaces. What was attached before the error stays attached; a second
/// try or `down` follows.
pub async fn all(
    object: &mut Object,
    pins: &Pins,
    interfaces: &[String],
    mode: XdpMode,
    devices: &[Device],
) -> Result<Vec<Result<Attached, AttachError>>, AttachError> {
    follow_renames(pins, devices)?;
    let program = object.xdp()?;
    let mut outcomes = Vec::with_capacity(interfaces.len());
    for name in interfaces {
        outcomes.push(match find(name, devices) {
            Ok(device) => xdp(program, pins, device, mode).await,
            Err(error) => Err(error),
        });
    }
    // An interface that is not named any more is let go.
    let wanted: Vec<_> = interfaces
        .iter()
        .map(|interface| pins.xdp_link(interface))
        .collect();
    for pin in pins.xdp_links()? {
        if !wanted.contains(&pin) {
            pins::remove(&pin)?;
        }
    }
    pin_program(&pins.programs().join("xdp"), |pin| program.pin(pin))?;
    let program = object.sk_lookup()?;
    sk_lookup(program, pins)?;
    pin_program(&pins.programs().join("sk_lookup"), |pin| program.pin(pin))?;
    Ok(outcomes)
}

/// Attaches one interface again that lost its program.
///
/// # Errors
/// [`AttachError`].
pub(crate) async fn again(
    object: &mut Object,
    pins: &Pins,
    interface: &str,
    mode: XdpMode,
    devices: &[Device],
) -> Result<Attached, AttachError> {
    follow_renames(pins, devices)?;
    xdp(object.xdp()?, pins, find(interface, devices)?, mode).await
}

/// Refuses interfaces that are not there, before anything is touched.
///
/// # Errors
/// [`AttachError::NoInterface`] of the first.
pub(crate) fn exist(interfaces: &[String], devices: &[Device]) -> Result<(), AttachError> {
    interfaces
        .iter()
        .try_for_each(|name| find(name, devices).map(drop))
}

fn find<'a>(name: &str, devices: &'a [Device]) -> Result<&'a Device, AttachError> {
    let device = devices.iter().find(|device| device.name == name);
    device.ok_or_else(|| AttachError::NoInterface(name.to_owned()))
}

/// Refuses pins of another network namespace. Those of one that is gone may be taken over.
pub(crate) fn same_namespace(pins: &Pins) -> Result<(), AttachError> {
    let pin = pins.sk_lookup_link();
    if !pin.exists() {
        return Ok(());
    }
    let theirs = fdinfo(&pin, "netns_ino")?.unwrap_or(0);
    let ours = fs::metadata(NAMESPACE)
        .map_err(AttachError::Namespace)?
        .ino();
    if theirs == 0 || theirs == ours {
        return Ok(());
    }
    Err(AttachError::OtherNamespace {
        folder: pins.links().display().to_string(),
        theirs,
        ours,
    })
}

/// An interface that was renamed keeps its link: the pin gets its name.
fn follow_renames(pins: &Pins, devices: &[Device]) -> Result<(), AttachError> {
    let mut moved = Vec::new();
    for pin in pins.xdp_links()? {
        let Some(index) = fdinfo(&pin, "ifindex")? else {
            continue;
        };
        let device = devices.iter().find(|one| u64::from(one.index) == index);
        let Some(device) = device.filter(|device| pins.xdp_link(&device.name) != pin) else {
            continue;
        };
        // Two may have swapped their names: none is put in another's place. No interface has a colon in its name.
        let between = pins.xdp_link(&format!(":moved:{index}"));
        pins::replace(&pin, &between)?;
        moved.push((between, pins.xdp_link(&device.name)));
    }
    for (from, to) in moved {
        pins::replace(&from, &to)?;
    }
    Ok(())
}

/// A number that the kernel tells of a pinned link, by a name: `ifindex`, 0 of a device that is gone; `netns_ino`, 0
/// of a namespace that is gone. It stands in `/proc/PID/fdinfo` beside the link's own number.
pub(crate) fn fdinfo(pin: &Path, name: &str) -> Result<Option<u64>, AttachError> {
    let failed = |error| AttachError::Link(pin.display().to_string(), Box::new(error));
    let link: FdLink = PinnedLink::from_pin(pin).map_err(failed)?.into();
    told(&link, name).map_err(|error| match error {
        LinkTold::Link(error) => failed(error),
        LinkTold::FdInfo(error) => AttachError::FdInfo(error),
    })
}

/// Why the kernel does not tell of a link.
#[derive(Debug)]
pub(crate) enum LinkTold {
    Link(LinkError),
    FdInfo(io::Error),
}

/// As [`fdinfo`], of a link that is open.
pub(crate) fn told(link: &FdLink, name: &str) -> Result<Option<u64>, LinkTold> {
    const FDINFO: &str = "/proc/thread-self/fdinfo";
    let id = u64::from(link.info().map_err(LinkTold::Link)?.id());
    for entry in fs::read_dir(FDINFO).map_err(LinkTold::FdInfo)? {
        // A descriptor that another thread has closed meanwhile is none of ours.
        let text = entry.and_then(|entry| fs::read_to_string(entry.path()));
        let Ok(text) = text else { continue };
        if number_of(&text, "link_id") == Some(id) {
            return Ok(number_of(&text, name));
        }
    }
    Ok(None)
}

fn number_of(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| (key == name).then(|| value.trim().parse().ok())?)
}

/// The kernel's number of the program.
fn number(program: &Xdp) -> Result<Option<u32>, AttachError> {
    let info = program.info().map_err(|source| AttachError::Xdp {
        interface: "tollgate_xdp".to_owned(),
        source: Box::new(source),
    })?;
    Ok(Some(info.id()))
}

async fn xdp(
    program: &mut Xdp,
    pins: &Pins,
    device: &Device,
    mode: XdpMode,
) -> Result<Attached, AttachError> {
    let pin = pins.xdp_link(&device.name);
    if pin.exists() {
        if let Some(now) = adopt(program, &pin, device, mode)? {
            return Ok(Attached {
                interface: device.name.clone(),
                attached: true,
                mode: now,
                adopted: true,
                why: "adopted with the link of the previous daemon".to_owned(),
                index: device.index,
                program: number(program)?,
            });
        }
        let ours = fdinfo(&pin, "ifindex")? == Some(device.index.into());
        pins::remove(&pin)?;
        // A link of another device, or of none, is in nobody's way: only our own is worth waiting for.
        if ours {
            let fresh_one = after_detach(program, device, mode).await;
            if let (Err(_), Some(before)) = (&fresh_one, device.xdp) {
                // A mode that the device does not take: it goes on as it did.
                let (link, mode, why) = after_detach(program, device, before).await?;
                attached(program, device, link, &pin, mode, why)?;
            }
            let (link, mode, why) = fresh_one?;
            return attached(program, device, link, &pin, mode, why);
        }
    }
    let (link, mode, why) = fresh(program, device, mode)?;
    attached(program, device, link, &pin, mode, why)
}

fn attached(
    program: &Xdp,
    device: &Device,
    link: FdLink,
    pin: &Path,
    mode: XdpMode,
    why: String,
) -> Result<Attached, AttachError> {
    link.pin(pin)
        .map_err(|error| AttachError::Pin(pin.display().to_string(), error))?;
    Ok(Attached {
        interface: device.name.clone(),
        attached: true,
        mode,
        adopted: false,
        why,
        index: device.index,
        program: number(program)?,
    })
}

/// Attaches where our own link was a moment ago: the kernel detaches it some time after its last pin went, and so long
/// the device is busy.
async fn after_detach(
    program: &mut Xdp,
    device: &Device,
    mode: XdpMode,
) -> Result<Fresh, AttachError> {
    const TRIES: u32 = 100;
    const STEP: Duration = Duration::from_millis(10);
    for _ in 0..TRIES {
        match fresh(program, device, mode) {
            Err(AttachError::Busy(_)) => tokio::time::sleep(STEP).await,
            other => return other,
        }
    }
    fresh(program, device, mode)
}

/// Replaces the program behind a pinned link, in place. `None`: the link is of no use any more: it is not this
/// device's (one of the same name, in another namespace or gone), or another mode is wanted.
fn adopt(
    program: &mut Xdp,
    pin: &Path,
    device: &Device,
    wanted: XdpMode,
) -> Result<Option<XdpMode>, AttachError> {
    let failed = |error| AttachError::Link(pin.display().to_string(), Box::new(error));
    let Some(now) = device.xdp else {
        return Ok(None);
    };
    if wanted != XdpMode::Auto && wanted != now {
        return Ok(None);
    }
    let link: FdLink = PinnedLink::from_pin(pin).map_err(failed)?.into();
    let program_id = link.info().map_err(failed)?.program_id();
    if device.program != Some(program_id) {
        return Ok(None);
    }
    let link = XdpLink::try_from(link).map_err(failed)?;
    match program.attach_to_link(link) {
        // The pin alone keeps the link: with a handle here it would outlive `tollgate down`.
        Ok(id) => {
            drop(program.take_link(id));
            Ok(Some(now))
        }
        // The device of the link went, and another has its name.
        Err(error) if errno(&error) == Some(nix::libc::ENOLINK) => Ok(None),
        Err(source) => Err(AttachError::Xdp {
            interface: pin.display().to_string(),
            source: Box::new(source),
        }),
    }
}

/// A new link, its mode, and why this one.
type Fresh = (FdLink, XdpMode, String);

fn fresh(program: &mut Xdp, device: &Device, mode: XdpMode) -> Result<Fresh, AttachError> {
    let native = match mode {
        XdpMode::Generic => {
            let link = attach(program, device, Flags::Skb)?;
            return Ok((
                link,
                XdpMode::Generic,
                "the configuration says so".to_owned(),
            ));
        }
        XdpMode::Native | XdpMode::Auto => attach(program, device, Flags::Driver),
    };
    let error = match native {
        Ok(link) => {
            let why = match mode {
                XdpMode::Auto => "the driver takes it",
                _ => "the configuration says so",
            };
            return Ok((link, XdpMode::Native, why.to_owned()));
        }
        Err(AttachError::Xdp { source, .. }) => source,
        Err(other) => return Err(other),
    };
    let refusal = errno(&*error).map_or_else(
        || io::Error::other(error.to_string()),
        io::Error::from_raw_os_error,
    );
    if mode == XdpMode::Native {
        return Err(AttachError::NoNative {
            interface: device.name.clone(),
            source: refusal,
        });
    }
    let link = attach(program, device, Flags::Skb)?;
    Ok((
        link,
        XdpMode::Generic,
        format!("the driver refuses native XDP: {refusal}"),
    ))
}

fn attach(program: &mut Xdp, device: &Device, flags: Flags) -> Result<FdLink, AttachError> {
    let interface = &device.name;
    let refused = |source: ProgramError| match errno(&source).map(Errno::from_raw) {
        // EEXIST: one in the other mode.
        Some(Errno::EBUSY | Errno::EEXIST) => AttachError::Busy(interface.clone()),
        Some(Errno::EPERM) => AttachError::Object(ObjectError::Rights(Box::new(source))),
        _ => AttachError::Xdp {
            interface: interface.clone(),
            source: Box::new(source),
        },
    };
    let id = program
        .attach_to_if_index(device.index, flags)
        .map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    FdLink::try_from(link).map_err(|_| AttachError::NoLink(interface.clone()))
}

/// The new program is attached beside the old one, then takes the old one's pin: aya cannot replace a program behind a
/// link of this kind. While both run they read the same maps, and a socket that one of them picks wins.
fn sk_lookup(program: &mut SkLookup, pins: &Pins) -> Result<(), AttachError> {
    let namespace = File::open(NAMESPACE).map_err(AttachError::Namespace)?;
    let refused = |error| AttachError::SkLookup(Box::new(error));
    let id = program.attach(namespace).map_err(refused)?;
    let link: FdLink = program.take_link(id).map_err(refused)?.into();
    let pin = pins.sk_lookup_link();
    let next = pin.with_file_name("sk_lookup_next");
    if next.exists() {
        pins::remove(&next)?;
    }
    link.pin(&next)
        .map_err(|error| AttachError::Pin(next.display().to_string(), error))?;
    pins::replace(&next, &pin)?;
    Ok(())
}

fn pin_program(
    pin: &Path,
    program: impl FnOnce(&Path) -> Result<(), aya::pin::PinError>,
) -> Result<(), AttachError> {
    let mut next = pin.as_os_str().to_owned();
    next.push("_next");
    let next = Path::new(&next);
    if next.exists() {
        pins::remove(next)?;
    }
    program(next).map_err(|error| AttachError::Pin(pin.display().to_string(), error))?;
    pins::replace(next, pin)?;
    Ok(())
}
