//! Whose rights the process has that serves requests.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, getgrouplist, getresuid};

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: Uid,
    /// Its group.
    pub gid: Gid,
    /// All its groups.
    pub groups: Vec<Gid>,
}

/// Why a user is none.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Nobody has that name.
    #[error(
        "`user: {0}`: this host has no such user; make it (`useradd --system {0}`), or give a number"
    )]
    NoUser(String),
    /// No group has that name.
    #[error(
        "`user: {0}`: this host has no group `{1}`; make it (`groupadd --system {1}`), or give a number"
    )]
    NoGroup(String, String),
    /// The host's database was not read.
    #[error("`user: {0}`: users were not looked up: {1}")]
    Lookup(String, io::Error),
}

impl User {
    /// Looks up what a configuration names: `NAME`, `UID`, and either with `:GROUP` or `:GID`. A number without a group has the one
    /// of the same number, if nobody of that number is known.
    ///
    /// # Errors
    ///
    /// [`UserError`].
    pub fn find(text: &str) -> Result<Self, UserError> {
        let lookup = |error: nix::Error| UserError::Lookup(text.to_owned(), error.into());
        let (name, group) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let number = name.parse().ok().map(Uid::from_raw);
        let known = match number {
            Some(uid) => nix::unistd::User::from_uid(uid).map_err(lookup)?,
            None => nix::unistd::User::from_name(name).map_err(lookup)?,
        };
        let (uid, own) = match (&known, number) {
            (Some(known), _) => (known.uid, known.gid),
            (None, Some(uid)) => (uid, Gid::from_raw(uid.as_raw())),
            (None, None) => return Err(UserError::NoUser(name.to_owned())),
        };
        let gid = match group {
            None => own,
            Some(group) => match group.parse() {
                Ok(gid) => Gid::from_raw(gid),
                Err(_) => {
                    let no_group = || UserError::NoGroup(text.to_owned(), group.to_owned());
                    let known = Group::from_name(group).map_err(lookup)?;
                    known.ok_or_else(no_group)?.gid
                }
            },
        };
        let groups = match known.and_then(|known| CString::new(known.name).ok()) {
            Some(name) => getgrouplist(&name, gid).map_err(lookup)?,
            None => vec![gid],
        };
        Ok(Self { uid, gid, groups })
    }

    /// Whether this process runs as it already; its groups are then those that it was started with.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let is_it = |ids: nix::unistd::ResUid| {
            [ids.real, ids.effective, ids.saved]
                .iter()
                .all(|uid| *uid == self.uid)
        };
        getresuid().is_ok_and(is_it) && self.gid == Gid::effective()
    }

    /// Makes a folder for its sockets, if there is none, in one that is root's alone: in any other somebody could put a link in its place
    /// before it is given away. One that is there stays whose it is.
    ///
    /// # Errors
    ///
    /// It cannot be made; named in the error.
    pub fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let explain = |error: io::Error| {
            let said = format!("the folder {}: {error}", folder.display());
            io::Error::new(error.kind(), said)
        };
        let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
            return Ok(());
        };
        // Where its parent is not there, or another's, who serves makes it, if it may.
        let Ok(parent) = fs::canonicalize(parent) else {
            return Ok(());
        };
        if fs::symlink_metadata(folder).is_ok() || !parent.ancestors().all(is_roots_alone) {
            return Ok(());
        }
        let folder = parent.join(name);
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&folder)
            .map_err(explain)?;
        let (uid, gid) = (self.uid.as_raw(), self.gid.as_raw());
        chown(&folder, Some(uid), Some(gid))
            .or_else(|error| fs::remove_dir(&folder).and(Err(error)))
            .map_err(explain)
    }
}

/// Whether nobody but root can put anything there.
fn is_roots_alone(folder: &Path) -> bool {
    fs::symlink_metadata(folder)
        .is_ok_and(|there| there.is_dir() && there.uid() == 0 && there.mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number_and_with_a_group() {
        let root = User::find("root").unwrap();
        assert_eq!((root.uid, root.gid), (Uid::from_raw(0), Gid::from_raw(0)));
        assert_eq!(User::find("0").unwrap(), root);
        let numbers = User::find("64123:64321").unwrap();
        assert_eq!(
            (numbers.uid, numbers.gid, numbers.groups),
            (
                Uid::from_raw(64123),
                Gid::from_raw(64321),
                vec![Gid::from_raw(64321)]
            )
        );
        assert_eq!(User::find("64123").unwrap().gid, Gid::from_raw(64123));
        assert_eq!(User::find("root:64321").unwrap().gid, Gid::from_raw(64321));
    }

    #[test]
    fn who_is_not_there_is_named_with_the_cure() {
        let error = User::find("nobody-of-this-name").unwrap_err().to_string();
        assert!(
            error.contains("useradd --system nobody-of-this-name"),
            "{error}"
        );
        let error = User::find("root:no-such-group").unwrap_err().to_string();
        assert!(error.contains("groupadd --system no-such-group"), "{error}");
    }
}
