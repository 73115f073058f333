//! Programs at TC: by a link, which Linux has from 6.6 on (tcx), else by a filter of a clsact qdisc.

use std::io;

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    links::{FdLink, LinkOrder},
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};
use nix::errno::Errno;

use crate::{attach, object::errno};

/// Priority and handle of a filter: before those that tc(8) numbers by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u16);

/// What comes to a backend host is taken out of its tunnel first.
pub(crate) const DECAP: Place = Place(137);
/// Addresses are translated behind that.
pub(crate) const TRANSLATE: Place = Place(138);
/// Checks are told apart last.
pub(crate) const CHECK: Place = Place(139);

impl Place {
    const fn handle(self) -> TcHandle {
        TcHandle::new(0, self.0)
    }
}

/// Attaches a program before all others; it goes with the link.
///
/// # Errors
/// The kernel's; where it has no tcx, one that [`is_missing`] knows.
pub(crate) fn link(
    program: &mut SchedClassifier,
    interface: &str,
    at: TcAttachType,
) -> Result<FdLink, ProgramError> {
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(interface, at, order)?;
    let link = program.take_link(id)?;
    // One by netlink goes again when it is dropped.
    FdLink::try_from(link)
        .map_err(|_| io::Error::from_raw_os_error(Errno::EINVAL as i32))
        .map_err(ProgramError::IOError)
}

/// Whether that is the answer of a kernel without tcx.
pub(crate) fn is_missing(error: &ProgramError) -> bool {
    errno(error) == Some(Errno::EINVAL as i32)
}

/// Whether a link is at the device of this index, by its own word, which wants no further rights: a list of a device's programs is
/// one of numbers, and programs are shown by number to CAP_SYS_ADMIN alone. One that is detached is of device 0.
pub(crate) fn is_at(link: &FdLink, index: u32) -> bool {
    attach::told(link, "ifindex").ok().flatten() == Some(index.into())
}

/// Attaches a program by a filter, in the place of one that is there, at once. It stays by itself, also when this process ends.
///
/// # Errors
/// The kernel's.
pub(crate) fn filter(
    program: &mut SchedClassifier,
    interface: &str,
    at: TcAttachType,
    place: Place,
) -> Result<(), ProgramError> {
    match tc::qdisc_add_clsact(interface) {
        // Somebody has made it before.
        Err(error) if errno(&error) == Some(Errno::EEXIST as i32) => {}
        made => made?,
    }
    let link = SchedClassifierLink::attached(interface, at, place.0, place.handle(), None)
        .map_err(TcError::from)?;
    let id = match program.attach_to_link(link) {
        Ok(id) => id,
        Err(_) => {
            let options = TcAttachOptions::Netlink(NlOptions {
                priority: place.0,
                handle: place.handle(),
                classid: None,
            });
            program.attach_with_options(interface, at, options)?
        }
    };
    // Dropped, it would take the filter with it, which may be a successor's by then.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Detaches the filters of programs of this name; none may be there, nor the qdisc or the device.
///
/// # Errors
/// The kernel's.
pub(crate) fn detach(interface: &str, at: TcAttachType, name: &str) -> Result<(), TcError> {
    match tc::qdisc_detach_program(interface, at, name) {
        Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error)
            if matches!(
                errno(&error).map(Errno::from_raw),
                Some(Errno::ENOENT | Errno::EINVAL | Errno::ENODEV)
            ) =>
        {
            Ok(())
        }
        detached => detached,
    }
}
