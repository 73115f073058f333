//! Where the programs, links and maps outlive the daemon: `prog/`, `link/` and `map/` in a folder on a BPF file system.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::statfs::{FsType, statfs};

/// `BPF_FS_MAGIC` (linux/magic.h).
const BPF_FS: FsType = FsType(0xcafe_4a11);

/// Why the folder cannot hold pins.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// It is on another file system.
    #[error(
        "{} is not on a BPF file system, so nothing could outlive this process; run `mount -t bpf bpf /sys/fs/bpf` or let `bpffs` name a folder on one", .0.display()
    )]
    NotBpffs(PathBuf),
    /// Another daemon has it.
    #[error(
        "{} is in use by another Tollgate daemon; stop that one, or give this one a folder of its own by `bpffs` (and a network namespace of its own)", .0.display()
    )]
    Locked(PathBuf),
    /// The system refuses.
    #[error("{}: {what}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

impl PinsError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// The right to change what is pinned in a folder: one daemon has it at a time. It ends with the process, however that
/// ends.
#[derive(Debug)]
pub(crate) struct Lock {
    folder: File,
    path: PathBuf,
}

impl Lock {
    /// Makes the folder and takes its lock. A predecessor that was just killed is given a moment to be gone.
    pub(crate) async fn take(root: &Path) -> Result<Self, PinsError> {
        const PATIENCE: Duration = Duration::from_secs(2);
        const STEP: Duration = Duration::from_millis(20);
        let nearest = root.ancestors().find(|path| path.exists()).unwrap_or(root);
        if !is_bpffs(nearest) {
            return Err(PinsError::NotBpffs(nearest.to_owned()));
        }
        let mut left = PATIENCE;
        loop {
            fs::create_dir_all(root).map_err(PinsError::io("the folder was not made", root))?;
            let folder =
                File::open(root).map_err(PinsError::io("the folder was not opened", root))?;
            match folder.try_lock() {
                Ok(()) => {
                    let path = root.to_owned();
                    let lock = Self { folder, path };
                    // Else `down` removed the folder between opening and locking.
                    if lock.stands() {
                        return Ok(lock);
                    }
                }
                Err(TryLockError::WouldBlock) if left.is_zero() => {
                    return Err(PinsError::Locked(root.to_owned()));
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(PinsError::io("the folder was not locked", root)(error));
                }
            }
            tokio::time::sleep(STEP).await;
            left = left.saturating_sub(STEP);
        }
    }

    /// Whether the folder that is locked is still the one of this name.
    pub(crate) fn stands(&self) -> bool {
        let same = || {
            let (mine, now) = (self.folder.metadata().ok()?, fs::metadata(&self.path).ok()?);
            Some((mine.dev(), mine.ino()) == (now.dev(), now.ino()))
        };
        same().unwrap_or(false)
    }
}

/// The folder of the pins.
#[derive(Clone, Debug)]
pub struct Pins(PathBuf);

impl Pins {
    /// Makes the folders inside it, if they are not there. To be called with the [`Lock`] held.
    ///
    /// # Errors
    /// [`PinsError`].
    pub(crate) fn prepare(root: &Path) -> Result<Self, PinsError> {
        let pins = Self(root.to_owned());
        // A set that was never put to use: its maker died on the way.
        pins.discard_next()?;
        for folder in [pins.maps(), pins.programs(), pins.links()] {
            fs::create_dir_all(&folder)
                .map_err(PinsError::io("the folder was not made", &folder))?;
        }
        Ok(pins)
    }

    /// The folder of a datapath that is there.
    pub(crate) fn of(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// Whether somebody watches packets: another program stands in for ours then, and does what it does.
    pub(crate) fn are_watched(&self) -> bool {
        let folder = File::open(self.programs());
        folder.is_ok_and(|folder| matches!(folder.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The folder of the maps.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.0.join("map")
    }

    /// The folder of maps that are filled before they replace those of another layout.
    #[must_use]
    pub fn next_maps(&self) -> PathBuf {
        self.0.join("next")
    }

    /// The folder of the programs.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.0.join("prog")
    }

    /// The folder of the links.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.0.join("link")
    }

    /// The pin of an interface's link. bpffs takes no dots in names, interfaces do (`eth0.100`).
    #[must_use]
    pub fn xdp_link(&self, interface: &str) -> PathBuf {
        self.links()
            .join(format!("xdp_{}", interface.replace('.', ":")))
    }

    /// The pin of the sk_lookup link.
    #[must_use]
    pub fn sk_lookup_link(&self) -> PathBuf {
        self.links().join("sk_lookup")
    }

    /// The pins of links on interfaces.
    ///
    /// # Errors
    /// [`PinsError::Io`].
    pub fn xdp_links(&self) -> Result<Vec<PathBuf>, PinsError> {
        let is_xdp = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("xdp_"))
        };
        Ok(entries(&self.links())?.into_iter().filter(is_xdp).collect())
    }

    /// The interfaces that have pinned links.
    pub(crate) fn xdp_interfaces(root: &Path) -> Result<Vec<String>, PinsError> {
        let links = Self(root.to_owned()).xdp_links()?;
        let names = links
            .iter()
            .filter_map(|pin| pin.file_name()?.to_str()?.strip_prefix("xdp_"));
        Ok(names.map(|name| name.replace(':', ".")).collect())
    }

    /// Makes room for maps that replace those of another layout.
    pub(crate) fn make_next(&self) -> Result<PathBuf, PinsError> {
        let next = self.next_maps();
        fs::create_dir_all(&next).map_err(PinsError::io("the folder was not made", &next))?;
        Ok(next)
    }

    /// Puts the next maps where the maps stand.
    pub(crate) fn promote_next(&self) -> Result<(), PinsError> {
        for from in entries(&self.next_maps())? {
            let Some(name) = from.file_name() else {
                continue;
            };
            replace(&from, &self.maps().join(name))?;
        }
        self.discard_next()
    }

    fn discard_next(&self) -> Result<(), PinsError> {
        let next = self.next_maps();
        for pin in entries(&next)? {
            remove(&pin)?;
        }
        match fs::remove_dir(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(PinsError::io("the folder was not removed", &next)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes all pins, and by that detaches what they kept: links first, so that no program runs without maps.
    ///
    /// # Errors
    /// [`PinsError::Io`].
    pub fn remove_all(root: &Path) -> Result<usize, PinsError> {
        let pins = Self(root.to_owned());
        let mut removed = 0;
        for folder in [pins.links(), pins.programs(), pins.maps(), pins.next_maps()] {
            for pin in entries(&folder)? {
                remove(&pin)?;
                removed += 1;
            }
            if folder.exists() {
                fs::remove_dir(&folder)
                    .map_err(PinsError::io("the folder was not removed", &folder))?;
            }
        }
        // What else stands there is not ours; then the folder stays.
        let _left_to_others = fs::remove_dir(root);
        Ok(removed)
    }
}

/// Puts a pin in another's place at once; what that one kept is let go.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<(), PinsError> {
    fs::rename(from, to).map_err(PinsError::io("the pin was not replaced", to))
}

/// Removes a pin.
pub(crate) fn remove(pin: &Path) -> Result<(), PinsError> {
    fs::remove_file(pin).map_err(PinsError::io("the pin was not removed", pin))
}

pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, PinsError> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(PinsError::io("the folder was not read", folder))?,
    };
    let mut paths = Vec::new();
    for entry in listing {
        paths.push(
            entry
                .map_err(PinsError::io("the folder was not read", folder))?
                .path(),
        );
    }
    paths.sort();
    Ok(paths)
}

pub(crate) fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS)
}
