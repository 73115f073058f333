//! The program to its interface, in one of three ways; what is there already is kept, and given the new program.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, TcAttachType, XdpMode as Flags,
    links::{FdLink, PinnedLink},
    tc::SchedClassifierLink,
    xdp::XdpLink,
};
use nix::{errno::Errno, libc};

use super::{
    config::Mode,
    error::DecapError,
    object::{self, Object},
};
use crate::{
    attach::fdinfo,
    netlink::Device,
    object::{ObjectError, errno},
    pins, tc,
};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// In the driver.
    Xdp,
    /// In the stack, by a link.
    Tcx,
    /// In the stack, by a classic filter.
    Clsact,
}

impl How {
    const ALL: [Self; 3] = [Self::Xdp, Self::Tcx, Self::Clsact];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    fn pin(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Self::Xdp => "link_xdp",
            Self::Tcx => "link_tcx",
            Self::Clsact => "prog_clsact",
        })
    }
}

/// What [`up`](super::up) did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How the program is attached.
    pub how: How,
    /// Why so.
    pub why: String,
    /// Whether another configuration was replaced.
    pub replaced: bool,
}

/// What is attached already.
#[derive(Debug, Default)]
pub(super) struct Standing(Vec<How>);

impl Standing {
    /// Looks, and removes pins of links whose device is gone.
    pub(super) fn find(folder: &Path, device: &Device) -> Result<Self, DecapError> {
        let mut standing = Vec::new();
        for how in How::ALL {
            let pin = how.pin(folder);
            if !pin.exists() {
                continue;
            }
            match state(how, &pin, device)? {
                State::Attached => standing.push(how),
                State::Gone => pins::remove(&pin)?,
                State::Elsewhere(theirs) => {
                    return Err(DecapError::OtherDevice {
                        folder: folder.display().to_string(),
                        interface: device.name.clone(),
                        ours: device.index,
                        theirs,
                    });
                }
            }
        }
        Ok(Self(standing))
    }

    /// Looks only: how it is attached, and why it is not.
    pub(super) fn look(
        folder: &Path,
        device: &Device,
    ) -> Result<(Option<How>, Option<String>), DecapError> {
        for how in How::ALL {
            let pin = how.pin(folder);
            if !pin.exists() {
                continue;
            }
            return Ok(match state(how, &pin, device)? {
                State::Attached => (Some(how), None),
                State::Gone => (Some(how), Some("the interface was made anew".to_owned())),
                State::Elsewhere(index) => (
                    Some(how),
                    Some(format!("it is on the interface number {index}")),
                ),
            });
        }
        Ok((None, Some("nothing is pinned".to_owned())))
    }
}

enum State {
    Attached,
    Gone,
    Elsewhere(u64),
}

fn state(how: How, pin: &Path, device: &Device) -> Result<State, DecapError> {
    if how == How::Clsact {
        // A filter belongs to its device by name, and went with it; attaching tells.
        return Ok(State::Attached);
    }
    let index = fdinfo(pin, "ifindex")?.unwrap_or(0);
    if index == 0 {
        return Ok(State::Gone);
    }
    let number = program_of(pin)?;
    let is_there = match how {
        How::Xdp => device.program == Some(number),
        // A link that is detached is of no device any more.
        _ => true,
    };
    Ok(if index == u64::from(device.index) && is_there {
        State::Attached
    } else {
        State::Elsewhere(index)
    })
}

/// Attaches, in the wanted way; what was attached otherwise goes only then.
pub(super) fn attach(
    object: &mut Object,
    standing: &Standing,
    folder: &Path,
    device: &Device,
    mode: Mode,
) -> Result<Report, DecapError> {
    let (how, why) = choose(object, standing, folder, device, mode)?;
    for other in How::ALL {
        let pin = other.pin(folder);
        if other != how && pin.exists() {
            detach(other, &pin, &device.name)?;
        }
    }
    Ok(Report {
        how,
        why,
        replaced: !standing.0.is_empty(),
    })
}

fn choose(
    object: &mut Object,
    Standing(standing): &Standing,
    folder: &Path,
    device: &Device,
    mode: Mode,
) -> Result<(How, String), DecapError> {
    let said = || "as it was asked for".to_owned();
    match (mode, standing.first()) {
        (Mode::Auto, Some(&how)) => {
            put(how, object, standing, folder, device)?;
            Ok((how, "as it was before".to_owned()))
        }
        (Mode::Auto, None) => match put(How::Xdp, object, standing, folder, device) {
            Ok(()) => Ok((How::Xdp, "the driver takes XDP".to_owned())),
            Err(why @ (DecapError::Busy(_) | DecapError::NoNative { .. })) => {
                let (how, _) = tc(object, standing, folder, device)?;
                let why = match why {
                    DecapError::Busy(_) => "the interface has another XDP program".to_owned(),
                    DecapError::NoNative { source, .. } => {
                        format!("the driver refuses native XDP: {source}")
                    }
                    other => other.to_string(),
                };
                Ok((how, why))
            }
            Err(error) => Err(error),
        },
        (Mode::Xdp, _) => {
            put(How::Xdp, object, standing, folder, device)?;
            Ok((How::Xdp, said()))
        }
        (Mode::Tc, _) => tc(object, standing, folder, device),
        (Mode::Clsact, _) => {
            put(How::Clsact, object, standing, folder, device)?;
            Ok((How::Clsact, said()))
        }
    }
}

/// By a link, which Linux has from 6.6 on, else by a filter.
fn tc(
    object: &mut Object,
    standing: &[How],
    folder: &Path,
    device: &Device,
) -> Result<(How, String), DecapError> {
    match put(How::Tcx, object, standing, folder, device) {
        Err(DecapError::Attach { source, .. }) if tc::is_missing(&source) => {
            put(How::Clsact, object, standing, folder, device)?;
            Ok((
                How::Clsact,
                "the kernel has no tcx, it is older than 6.6".to_owned(),
            ))
        }
        Err(error) => Err(error),
        Ok(()) => Ok((How::Tcx, "as it was asked for".to_owned())),
    }
}

fn put(
    how: How,
    object: &mut Object,
    standing: &[How],
    folder: &Path,
    device: &Device,
) -> Result<(), DecapError> {
    let pin = how.pin(folder);
    let is_there = standing.contains(&how);
    match how {
        How::Xdp => xdp(object, &pin, is_there, device),
        How::Tcx => tcx(object, &pin, is_there, device),
        How::Clsact => clsact(object, &pin, device),
    }
}

fn xdp(object: &mut Object, pin: &Path, is_there: bool, device: &Device) -> Result<(), DecapError> {
    let name = &device.name;
    // Not all numbers have names: drivers also answer with ENOTSUPP, 524.
    let refused = |source: ProgramError| match errno(&source) {
        Some(libc::EBUSY | libc::EEXIST) => DecapError::Busy(name.clone()),
        Some(libc::EPERM) => ObjectError::Rights(Box::new(source)).into(),
        Some(number) => DecapError::NoNative {
            interface: name.clone(),
            source: io::Error::from_raw_os_error(number),
        },
        None => attach_error(name, How::Xdp)(source),
    };
    let program = object.xdp()?;
    if is_there {
        let link = XdpLink::try_from(opened(pin)?).map_err(link_error(pin))?;
        let id = program
            .attach_to_link(link)
            .map_err(attach_error(name, How::Xdp))?;
        // The pin alone keeps the link.
        drop(program.take_link(id));
        return Ok(());
    }
    let id = program
        .attach_to_if_index(device.index, Flags::Driver)
        .map_err(refused)?;
    let link = program
        .take_link(id)
        .map_err(attach_error(name, How::Xdp))?;
    let link = FdLink::try_from(link).map_err(|_| DecapError::NoLink(name.clone()))?;
    pinned(link, pin)
}

fn tcx(object: &mut Object, pin: &Path, is_there: bool, device: &Device) -> Result<(), DecapError> {
    let name = &device.name;
    let failed = || attach_error(name, How::Tcx);
    let program = object.tc()?;
    if is_there {
        let link = SchedClassifierLink::try_from(opened(pin)?).map_err(link_error(pin))?;
        let id = program.attach_to_link(link).map_err(failed())?;
        drop(program.take_link(id));
        return Ok(());
    }
    // First, so that the others see what is inside.
    let link = tc::link(program, name, TcAttachType::Ingress).map_err(failed())?;
    pinned(link, pin)
}

/// The filter stays by itself; the pin of its program says that it is ours.
fn clsact(object: &mut Object, pin: &Path, device: &Device) -> Result<(), DecapError> {
    let name = &device.name;
    let program = object.tc()?;
    tc::filter(program, name, TcAttachType::Ingress, tc::DECAP)
        .map_err(attach_error(name, How::Clsact))?;
    let next = pin.with_file_name("prog_clsact_next");
    if next.exists() {
        pins::remove(&next)?;
    }
    program
        .pin(&next)
        .map_err(|error| DecapError::Pin(next.display().to_string(), error))?;
    Ok(pins::replace(&next, pin)?)
}

/// Detaches whatever the pins of an interface keep attached.
pub(super) fn remove(folder: &Path, interface: &str) -> Result<(), DecapError> {
    for how in How::ALL {
        let pin = how.pin(folder);
        if pin.exists() {
            detach(how, &pin, interface)?;
        }
    }
    Ok(())
}

fn detach(how: How, pin: &Path, interface: &str) -> Result<(), DecapError> {
    if how == How::Clsact {
        tc::detach(interface, TcAttachType::Ingress, object::TC)
            .map_err(ProgramError::from)
            .map_err(attach_error(interface, how))?;
    }
    Ok(pins::remove(pin)?)
}

fn program_of(pin: &Path) -> Result<u32, DecapError> {
    let info = opened(pin)?.info().map_err(link_error(pin))?;
    Ok(info.program_id())
}

fn opened(pin: &Path) -> Result<FdLink, DecapError> {
    Ok(PinnedLink::from_pin(pin).map_err(link_error(pin))?.into())
}

fn pinned(link: FdLink, pin: &Path) -> Result<(), DecapError> {
    link.pin(pin)
        .map(drop)
        .map_err(|error| DecapError::Pin(pin.display().to_string(), error))
}

fn link_error(pin: &Path) -> impl FnOnce(aya::programs::links::LinkError) -> DecapError {
    let pin = pin.display().to_string();
    move |error| DecapError::Link(pin, Box::new(error))
}

fn attach_error(interface: &str, how: How) -> impl FnOnce(ProgramError) -> DecapError {
    let interface = interface.to_owned();
    move |source| match errno(&source) {
        Some(number) if number == Errno::EPERM as i32 => {
            ObjectError::Rights(Box::new(source)).into()
        }
        _ => DecapError::Attach {
            interface,
            how: how.word(),
            source: Box::new(source),
        },
    }
}
