//! Tells when a file may have changed.
//!
//! Directories are watched, not the file: what is replaced by a rename is another file each time. And not only its own
//! directory but each one in which a step of the way to it is decided, up to the root: that step may be a directory that
//! is renamed, or a symbolic link that is swapped: Kubernetes mounts `jwks.json -> ..data/jwks.json`, `..data -> ..2026_11_25…`, and renames a new `..data` over
//! the old one. Where a step is missing, its place is watched until it is there again.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Symbolic links on the way to a file, as the kernel allows (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// How often the way is walked anew when it changes while it is being watched.
const ATTEMPTS: usize = 3;

/// A directory and the name in it that decides where the way goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    directory: PathBuf,
    name: OsString,
}

/// Watches one file.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    watcher: Option<RecommendedWatcher>,
    /// Shared with the thread of the watcher, which drops what does not matter.
    places: Arc<ArcSwap<Vec<Place>>>,
    changed: Arc<Notify>,
}

impl Watch {
    /// Wakes `changed` when the file may have changed. Watches nothing before [`Watch::renew`].
    pub(super) fn new(path: PathBuf, changed: Arc<Notify>) -> Self {
        Self {
            path,
            watcher: None,
            places: Arc::default(),
            changed,
        }
    }

    /// Watches every step of the way as it is now; to be called before the file is read, so that no change falls between.
    ///
    /// # Errors
    ///
    /// Why the file is not watched, wholly or in part.
    pub(super) fn renew(&mut self) -> Result<(), String> {
        let mut places = places(&self.path);
        let mut outcome = self.watch(&places);
        for _ in 1..ATTEMPTS {
            let now = self::places(&self.path);
            if now == places {
                break;
            }
            places = now;
            outcome = self.watch(&places);
        }
        outcome
    }

    fn watch(&mut self, places: &[Place]) -> Result<(), String> {
        let told = |error: notify::Error| {
            format!(
                "`{}` is not watched for changes ({error}); it is read again at each refresh",
                self.path.display()
            )
        };
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => none.insert(start(&self.places, &self.changed).map_err(told)?),
        };
        let old = self.places.swap(Arc::new(places.to_vec()));
        // All of them anew: a directory of the same name may be another one.
        for place in old.iter() {
            // Gone with its directory, or twice in the list.
            let _ = watcher.unwatch(&place.directory).is_ok();
        }
        let mut outcome = Ok(());
        // The nearest first, and all that can be: one that may be entered but not read costs only what happens there.
        for place in places.iter().rev() {
            let watched = watcher.watch(&place.directory, RecursiveMode::NonRecursive);
            if let Err(error) = watched
                && outcome.is_ok()
            {
                outcome = Err(told(error));
            }
        }
        outcome
    }
}

fn start(
    places: &Arc<ArcSwap<Vec<Place>>>,
    changed: &Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    let (places, changed) = (Arc::clone(places), Arc::clone(changed));
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error says that events were lost.
        if event.map_or(true, |event| matters(&event, &places.load())) {
            changed.notify_one();
        }
    })
}

fn matters(event: &Event, places: &[Place]) -> bool {
    match event.kind {
        // Reading is no change, or our own would be one.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    event.need_rescan()
        || event.paths.iter().any(|path| {
            places.iter().any(|place| {
                *path == place.directory
                    || path.parent() == Some(&place.directory)
                        && path.file_name() == Some(&place.name)
            })
        })
}

/// Where the way to `path` is decided, step by step, up to the file itself or the first step that is missing.
fn places(path: &Path) -> Vec<Place> {
    let mut places = Vec::new();
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest: VecDeque<OsString> = steps(&path).collect();
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(step) = rest.pop_front() {
        match Path::new(&step).components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                at.pop();
            }
            Some(Component::Normal(name)) => {
                let next = at.join(name);
                places.push(Place {
                    directory: at.clone(),
                    name: name.to_owned(),
                });
                if let Ok(target) = fs::read_link(&next) {
                    links += 1;
                    if links > MAX_LINKS {
                        return places;
                    }
                    for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(step);
                    }
                } else if rest.is_empty() || fs::symlink_metadata(&next).is_err() {
                    return places;
                } else {
                    at = next;
                }
            }
            _ => {}
        }
    }
    places
}

fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    path.components()
        .map(|component| component.as_os_str().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    fn place(directory: &Path, name: &str) -> Place {
        Place {
            directory: directory.to_owned(),
            name: name.into(),
        }
    }

    #[test]
    fn the_way_is_walked_step_by_step() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        // Those of the folder itself come first, from the root on.
        let above = root.components().count() - 1;
        let within = |path: &Path| {
            let all = places(path);
            assert_eq!(all[0].directory, Path::new("/"));
            assert_eq!(all[above - 1].directory, root.parent().unwrap());
            all[above..].to_vec()
        };
        let file = root.join("keys.json");
        assert_eq!(within(&file), [place(&root, "keys.json")], "missing");
        assert_eq!(
            within(&root.join("gone/keys.json")),
            [place(&root, "gone")],
            "a missing directory is waited for"
        );
        fs::create_dir(root.join("..2026")).unwrap();
        fs::write(root.join("..2026/keys.json"), "").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/keys.json", &file).unwrap();
        let way = [
            place(&root, "keys.json"),
            place(&root, "..data"),
            place(&root, "..2026"),
            place(&root.join("..2026"), "keys.json"),
        ];
        assert_eq!(within(&file), way);
        fs::create_dir(root.join("sub")).unwrap();
        symlink("../keys.json", root.join("sub/link")).unwrap();
        let link = within(&root.join("sub/link"));
        assert_eq!(
            link[..2],
            [place(&root, "sub"), place(&root.join("sub"), "link")]
        );
        assert_eq!(link[2..], way);
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(within(&root.join("loop")).len(), MAX_LINKS + 1);
    }

    #[test]
    fn only_changes_of_the_way_matter() {
        let places = [place(Path::new("/etc/keys"), "jwks.json")];
        let event = |kind, path: &str| Event::new(kind).add_path(PathBuf::from(path));
        let write = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        for (event, expected) in [
            (event(write, "/etc/keys/jwks.json"), true),
            (event(write, "/etc/keys/other.json"), false),
            (event(open, "/etc/keys/jwks.json"), false),
            (
                event(
                    EventKind::Remove(notify::event::RemoveKind::Folder),
                    "/etc/keys",
                ),
                true,
            ),
            (
                Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan),
                true,
            ),
        ] {
            assert_eq!(matters(&event, &places), expected, "{event:?}");
        }
    }

    #[tokio::test]
    async fn every_way_to_replace_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let above = &folder.path().join("keys");
        let root = above.join("deep");
        let file = root.join("jwks.json");
        fs::create_dir_all(&root).unwrap();
        fs::write(&file, "1").unwrap();
        let rename = || {
            fs::write(root.join("new"), "2").unwrap();
            fs::rename(root.join("new"), &file).unwrap();
        };
        let swap = || {
            let (next, old) = (folder.path().join("next"), folder.path().join("old"));
            // Of the swap before; the one of this swap stays, since its end would be seen.
            let _ = fs::remove_dir_all(&old).is_ok();
            fs::create_dir_all(next.join("deep")).unwrap();
            fs::write(next.join("deep/jwks.json"), "5").unwrap();
            fs::rename(above, &old).unwrap();
            fs::rename(&next, above).unwrap();
        };
        let changes: [(&str, &dyn Fn()); 11] = [
            ("written in place", &|| fs::write(&file, "2").unwrap()),
            ("renamed over", &rename),
            ("renamed over again", &rename),
            ("deleted", &|| fs::remove_file(&file).unwrap()),
            ("made anew", &|| fs::write(&file, "3").unwrap()),
            ("the directory goes", &|| fs::remove_dir_all(&root).unwrap()),
            ("the directory comes back", &|| {
                fs::create_dir(&root).unwrap();
            }),
            ("and the file in it", &|| fs::write(&file, "4").unwrap()),
            ("a directory higher up is replaced", &swap),
            ("and once more", &swap),
            ("written in the new one", &|| {
                fs::write(&file, "6").unwrap();
            }),
        ];
        for (what, change) in changes {
            // A watch of its own each time: what is seen can only be this change. Renewed twice, as before each reading.
            let changed = Arc::<Notify>::default();
            let mut watch = Watch::new(file.clone(), Arc::clone(&changed));
            watch.renew().unwrap();
            watch.renew().unwrap();
            change();
            let seen = tokio::time::timeout(Duration::from_secs(10), changed.notified()).await;
            assert!(seen.is_ok(), "{what}");
        }
    }

    #[tokio::test]
    async fn one_watch_follows_a_directory_higher_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let file = path("above/deep/jwks.json");
        fs::create_dir_all(path("above/deep")).unwrap();
        fs::write(&file, "0").unwrap();
        let changed = Arc::<Notify>::default();
        let mut watch = Watch::new(file.clone(), Arc::clone(&changed));
        watch.renew().unwrap();
        for round in 1..4 {
            let content = round.to_string();
            let next = path(&format!("next{round}"));
            fs::create_dir_all(next.join("deep")).unwrap();
            fs::write(next.join("deep/jwks.json"), &content).unwrap();
            fs::rename(path("above"), path(&format!("old{round}"))).unwrap();
            fs::rename(&next, path("above")).unwrap();
            let read = async {
                loop {
                    changed.notified().await;
                    watch.renew().unwrap();
                    if fs::read_to_string(&file).is_ok_and(|read| read == content) {
                        return;
                    }
                }
            };
            let seen = tokio::time::timeout(Duration::from_secs(10), read).await;
            assert!(seen.is_ok(), "round {round}");
        }
    }
}
