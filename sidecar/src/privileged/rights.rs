//! Capabilities (capabilities(7)): what each process keeps, what for, and how it lets go of the others.
//!
//! The calls are about the calling thread: to be made before there is another one.

use std::io;

use nix::unistd::{setgid, setgroups, setuid};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    capability_is_in_bounding_set, clear_ambient_capability_set, no_new_privs,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
    set_no_new_privs,
};
use serde::{Deserialize, Serialize};

use super::user::User;

/// What a privileged process keeps for a datapath, and what for.
const OF_DATAPATH: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "programs and maps"),
    (
        CapabilitySet::PERFMON,
        "programs whose verifier is told that they may compute with pointers",
    ),
    (
        CapabilitySet::NET_ADMIN,
        "interfaces, routes, neighbours and the marks of checks",
    ),
];

/// What it keeps in any case.
const OF_DAEMON: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::NET_BIND_SERVICE, "ports below 1024"),
    (
        CapabilitySet::CHOWN,
        "a folder that the next version makes for `user`",
    ),
    (
        CapabilitySet::SETPCAP,
        "the next version lets go of its bounding set",
    ),
    (CapabilitySet::SETUID, "the next version serves as `user`"),
    (CapabilitySet::SETGID, "the next version serves as `user`"),
    (
        CapabilitySet::KILL,
        "a next version that serves as `user` and comes to nothing",
    ),
];

/// Where the kernel has given one of these no name of their own, or the host does not give them.
const IN_PLACE: (CapabilitySet, &str) = (
    CapabilitySet::SYS_ADMIN,
    "in place of CAP_BPF and CAP_PERFMON, which this process was not given",
);

/// A capability that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Its name.
    pub name: String,
    /// What for.
    pub purpose: String,
}

/// What a process may do beyond its user's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// The process.
    pub pid: u32,
    /// Whose files it may read and write.
    pub uid: u32,
    /// Its capabilities.
    pub capabilities: Vec<Capability>,
    /// Whether no program that it starts can get more.
    pub no_new_privileges: bool,
}

impl Rights {
    /// This thread's.
    ///
    /// # Errors
    ///
    /// The kernel does not tell.
    pub fn now() -> io::Result<Self> {
        let permitted = capabilities(None)?.permitted;
        let capabilities = permitted.iter_names().map(|(name, one)| Capability {
            name: format!("CAP_{name}"),
            purpose: purpose(one).to_owned(),
        });
        Ok(Self {
            pid: std::process::id(),
            uid: rustix::process::geteuid().as_raw(),
            capabilities: capabilities.collect(),
            no_new_privileges: no_new_privs()?,
        })
    }

    /// The names of the capabilities, for a log.
    #[must_use]
    pub fn names(&self) -> String {
        if self.capabilities.is_empty() {
            return "none".to_owned();
        }
        let names = self.capabilities.iter().map(|one| &*one.name);
        names.collect::<Vec<_>>().join(" ")
    }
}

fn purpose(one: CapabilitySet) -> &'static str {
    let mut all = OF_DATAPATH.iter().chain(&OF_DAEMON).chain([&IN_PLACE]);
    all.find(|(kept, _)| *kept == one)
        .map_or("nothing", |(_, purpose)| purpose)
}

/// Why rights were not given up.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// One step was refused.
    #[error("{what}: {source}; {cure}")]
    Refused {
        /// Which.
        what: &'static str,
        /// What to do.
        cure: &'static str,
        /// The kernel's words.
        source: io::Error,
    },
    /// All steps were taken, and something is left.
    #[error(
        "this process still has {0} after it gave up all rights; is another security module at work?"
    )]
    Left(String),
}

fn refused<E: Into<io::Error>>(
    what: &'static str,
    cure: &'static str,
) -> impl FnOnce(E) -> StepError {
    move |error| StepError::Refused {
        what,
        cure,
        source: error.into(),
    }
}

/// Gives up all that is not needed, for a datapath among other things if there is one. What it starts may have everything again that the bounding set
/// allows: the next version is started here.
///
/// # Errors
///
/// The kernel refuses.
pub(super) fn keep_what_is_needed(has_datapath: bool) -> Result<(), StepError> {
    let cure = "this is a kernel without capabilities";
    let held = capabilities(None).map_err(refused("capabilities were not read", cure))?;
    let wanted = wanted(held.permitted, has_datapath);
    let sets = CapabilitySets {
        effective: wanted,
        permitted: wanted,
        // What a process that is no root's gives to those that it starts.
        inheritable: held.inheritable & wanted,
    };
    set_capabilities(None, sets).map_err(refused("capabilities were not given up", cure))
}

fn wanted(held: CapabilitySet, has_datapath: bool) -> CapabilitySet {
    let (in_place, _) = IN_PLACE;
    let of_datapath = OF_DATAPATH.iter().filter(|_| has_datapath);
    let all = OF_DAEMON
        .iter()
        .chain(of_datapath)
        .fold(CapabilitySet::empty(), |all, (one, _)| all | *one);
    if !has_datapath || held.contains(CapabilitySet::BPF | CapabilitySet::PERFMON) {
        held & all
    } else {
        held & (all | in_place)
    }
}

/// Gives up everything: all capabilities, all ways to new ones, and the user, if another is named. There is no way back.
///
/// # Errors
///
/// A step was refused, or something is left.
pub fn give_up_all(user: Option<&User>) -> Result<(), StepError> {
    let cure = "this is a kernel without capabilities";
    let held = capabilities(None).map_err(refused("capabilities were not read", cure))?;
    // Who may not change these has nothing there that counts: no program that is started gets more (below).
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for one in CapabilitySet::all().iter() {
            // One that this kernel does not know is in nobody's set.
            if capability_is_in_bounding_set(one).unwrap_or(false) {
                remove_capability_from_bounding_set(one)
                    .map_err(refused("the bounding set was not emptied", cure))?;
            }
        }
        let bits = capabilities_secure_bits()
            .map_err(refused("the secure bits were not read", cure))?
            | CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
        set_capabilities_secure_bits(bits)
            .map_err(refused("the secure bits were not set", cure))?;
    }
    if let Some(user) = user.filter(|user| !user.is_current()) {
        let cure = "start as root or with CAP_SETUID and CAP_SETGID, or take `user` out of the configuration";
        setgroups(&user.groups).map_err(refused("the groups were not set", cure))?;
        setgid(user.gid).map_err(refused("the group was not set", cure))?;
        setuid(user.uid).map_err(refused("the user was not set", cure))?;
    }
    clear_ambient_capability_set().map_err(refused("the ambient set was not emptied", cure))?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).map_err(refused("capabilities were not given up", cure))?;
    set_no_new_privs(true).map_err(refused("no_new_privs was not set", cure))?;
    let left = Rights::now().map_err(refused("capabilities were not read", cure))?;
    if left.capabilities.is_empty() {
        Ok(())
    } else {
        Err(StepError::Left(left.names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_kept_and_each_says_what_for() {
        let all = CapabilitySet::all();
        let kept = wanted(all, true);
        assert!(kept.contains(CapabilitySet::BPF | CapabilitySet::NET_ADMIN));
        assert!(!kept.intersects(
            CapabilitySet::SYS_ADMIN
                | CapabilitySet::DAC_OVERRIDE
                | CapabilitySet::SYS_PTRACE
                | CapabilitySet::NET_RAW
        ));
        // Hosts that know one right for all of it.
        let old = all - CapabilitySet::BPF - CapabilitySet::PERFMON;
        assert!(wanted(old, true).contains(CapabilitySet::SYS_ADMIN));
        let none = CapabilitySet::empty();
        assert_eq!(wanted(none, true), none);
        // Who has no datapath loads none.
        assert!(!wanted(all, false).intersects(
            CapabilitySet::BPF
                | CapabilitySet::PERFMON
                | CapabilitySet::NET_ADMIN
                | CapabilitySet::SYS_ADMIN
        ));
        for one in wanted(old, true).iter().chain(kept.iter()) {
            assert_ne!(purpose(one), "nothing", "{one:?}");
        }
    }

    #[test]
    fn who_gives_up_everything_has_nothing_and_gets_nothing_again() {
        // Of this thread alone; the others go on as they are.
        std::thread::spawn(|| {
            give_up_all(None).unwrap();
            let rights = Rights::now().unwrap();
            assert_eq!(rights.names(), "none");
            assert!(rights.no_new_privileges);
            let want = CapabilitySets {
                effective: CapabilitySet::NET_ADMIN,
                permitted: CapabilitySet::NET_ADMIN,
                inheritable: CapabilitySet::empty(),
            };
            assert!(set_capabilities(None, want).is_err());
        })
        .join()
        .unwrap();
    }
}
