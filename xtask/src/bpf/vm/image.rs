//! The guest's whole file system: an archive that the kernel unpacks into memory (initramfs), with busybox, the suites,
//! the daemon, the programs that they start, and the kernel's modules.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::suite::Run;
use crate::setup::guest::Guest;
use crate::shell::{self, Failure, Outcome, on_path};

/// What the suites start, beside the daemon.
const PROGRAMS: &[&str] = &[
    "ip", "ethtool", "curl", "openssl", "setpriv", "nft", "tshark",
];

/// Modules that are loaded before the suites run: the links that they lay, the ends of tunnels, and the host's own rules.
const MODULES: &[&str] = &[
    "veth",
    "bridge",
    "ipip",
    "sit",
    "ip6_tunnel",
    "fou",
    "fou6",
    "sch_ingress",
    "cls_bpf",
    "nf_tables",
];

/// The folders of modules that those are made of: a part of 90 MB.
const PARTS: &[&str] = &[
    "kernel/net",
    "kernel/drivers/net",
    "kernel/lib",
    "kernel/crypto",
];

/// What the suites read, where it lies in the repository.
const FILES: &[&str] = &["tests/fixtures", "tests/suites"];

/// The line by which the guest says how a suite ended begins so; the suite's name and the exit code follow.
pub(super) const ENDED: &str = "suite ended:";

pub(super) struct Image {
    pub(super) archive: PathBuf,
}

impl Image {
    pub(super) fn make(guest: &Guest, runs: &[Run], daemon: &Path) -> Outcome<Self> {
        let folder = shell::root().join("target/vm").join(guest.series);
        let archive = shell::root()
            .join("target/vm")
            .join(format!("{}.cpio", guest.series));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| trouble("remove", &folder, &error))?;
        }
        let tree = Tree { folder };
        tree.system()?;
        for name in PROGRAMS {
            let path = on_path(name).ok_or_else(|| {
                Failure::new(format!(
                    "{name} is not there: cargo xtask setup --with vm brings it"
                ))
            })?;
            // Found before busybox's own of the same name.
            tree.program(&path, &Path::new("/usr/local/bin").join(name))?;
        }
        tree.program(daemon, daemon)?;
        for run in runs {
            tree.program(&run.binary, &run.binary)?;
        }
        for name in FILES {
            tree.copy(&shell::root().join(name))?;
        }
        tree.modules(guest)?;
        tree.write("/init", &init(runs, daemon))?;
        tree.pack(&archive)?;
        Ok(Self { archive })
    }
}

/// The folder that becomes the guest's root.
struct Tree {
    folder: PathBuf,
}

impl Tree {
    fn system(&self) -> Outcome {
        let busybox = Path::new("/bin/busybox");
        self.program(busybox, busybox)?;
        let shell = self.room_for(Path::new("/bin/sh"))?;
        symlink("busybox", &shell).map_err(|error| trouble("link", &shell, &error))?;
        self.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")?;
        self.write("/etc/group", "root:x:0:\n")?;
        self.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    }

    /// A program without what debuggers read, and the libraries that it names.
    fn program(&self, from: &Path, to: &Path) -> Outcome {
        let inside = self.room_for(to)?;
        let mut strip = Command::new("objcopy");
        shell::output(strip.arg("--strip-debug").args([from, inside.as_path()]))?;
        // A static program is a failure to ldd, and wants nothing.
        let said = Command::new("ldd")
            .arg(from)
            .output()
            .map_err(|error| Failure::new(format!("ldd did not start: {error}")))?;
        for library in libraries(&String::from_utf8_lossy(&said.stdout)) {
            let inside = self.room_for(library)?;
            if !inside.exists() {
                fs::copy(library, &inside).map_err(|error| trouble("copy", library, &error))?;
            }
        }
        Ok(())
    }

    /// A folder at the path that it has here.
    fn copy(&self, from: &Path) -> Outcome {
        let to = self.room_for(from)?;
        shell::output(Command::new("cp").arg("-r").args([from, to.as_path()])).map(drop)
    }

    fn modules(&self, guest: &Guest) -> Outcome {
        let from = guest.modules()?;
        let to = Path::new("/lib/modules").join(from.file_name().unwrap_or_default());
        for part in PARTS.iter().filter(|part| from.join(part).exists()) {
            let inside = self.room_for(&to.join(part))?;
            shell::output(
                Command::new("cp")
                    .arg("-r")
                    .args([&from.join(part), &inside]),
            )?;
        }
        for name in ["modules.dep", "modules.alias", "modules.builtin"] {
            let file = from.join(name);
            let inside = self.room_for(&to.join(name))?;
            fs::copy(&file, inside).map_err(|error| trouble("copy", &file, &error))?;
        }
        Ok(())
    }

    /// A text, executable as a script of it must be.
    fn write(&self, name: &str, text: &str) -> Outcome {
        let path = self.room_for(Path::new(name))?;
        fs::write(&path, text).map_err(|error| trouble("write", &path, &error))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(|error| trouble("make executable", &path, &error))
    }

    fn pack(&self, archive: &Path) -> Outcome {
        let list = shell::output(Command::new("find").arg(".").current_dir(&self.folder))?;
        let file = fs::File::create(archive).map_err(|error| trouble("make", archive, &error))?;
        let failed = |error| Failure::new(format!("cpio: {error}"));
        let mut child = Command::new("cpio")
            .args(["--create", "--format=newc", "--quiet", "--owner=0:0"])
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(file)
            .spawn()
            .map_err(failed)?;
        // Its end is what closes the list.
        if let Some(mut names) = child.stdin.take() {
            names.write_all(list.as_bytes()).map_err(failed)?;
        }
        let status = child.wait().map_err(failed)?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("cpio ended with {status}")))
        }
    }

    /// Where a path of the guest's lies, with the folders above it made.
    fn room_for(&self, path: &Path) -> Outcome<PathBuf> {
        let inside = self.folder.join(path.strip_prefix("/").unwrap_or(path));
        if let Some(above) = inside.parent() {
            fs::create_dir_all(above).map_err(|error| trouble("make", above, &error))?;
        }
        Ok(inside)
    }
}

/// The first process: mounts, loads, runs each suite and says how it ended, and switches the machine off.
///
/// The root is in memory already: a file system of its own on `/tmp` would hide the suites of a repository that lies there.
fn init(runs: &[Run], daemon: &Path) -> String {
    let modules = MODULES.join(" ");
    let mut text = format!(
        "#!/bin/busybox sh\n\
         /bin/busybox mkdir -p /proc /sys /dev /tmp /run /root\n\
         /bin/busybox --install -s /bin\n\
         export PATH=/usr/local/bin:/bin HOME=/root TOLLGATE_BIN={}\n\
         mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev\n\
         mount -t bpf bpf /sys/fs/bpf\n\
         uname -srv\n\
         for module in {modules}; do modprobe $module || echo \"no module $module\"; done\n\
         ip link set lo up\n",
        daemon.display()
    );
    for run in runs {
        let _infallible = writeln!(
            text,
            "echo; echo '== {}'; {} --test-threads 1 {}; echo \"{ENDED} {} $?\"",
            run.name,
            run.binary.display(),
            run.arguments.join(" "),
            run.name,
        );
    }
    text.push_str("poweroff -f\n");
    text
}

/// The paths in what ldd prints: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn libraries(said: &str) -> impl Iterator<Item = &Path> {
    said.lines().filter_map(|line| {
        let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
        Some(Path::new(path))
    })
}

fn trouble(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {verb} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_names() {
        let said = "\tlinux-vdso.so.1 (0x7ff)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n\tstatically linked\n";
        let found: Vec<_> = libraries(said).collect();
        assert_eq!(
            found,
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }

    #[test]
    fn nothing_is_mounted_over_what_the_image_brings() {
        let run = Run {
            name: "e2e",
            binary: "/tmp/tollgate/target/debug/deps/e2e-1".into(),
            arguments: Vec::new(),
            may_be_empty: false,
        };
        let daemon = Path::new("/run/build/tollgate");
        let text = init(std::slice::from_ref(&run), daemon);
        let places: Vec<_> = text
            .split(['\n', ';'])
            .filter_map(|command| command.trim().strip_prefix("mount -t "))
            .filter_map(|words| words.split_whitespace().last())
            .collect();
        assert!(places.contains(&"/sys/fs/bpf"), "{places:?}");
        for place in places {
            assert!(!run.binary.starts_with(place), "{place}");
            assert!(!daemon.starts_with(place), "{place}");
        }
    }
}
