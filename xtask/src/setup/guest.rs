//! Debian's kernels for the virtual machines of `cargo xtask bpf vm`: fetched and unpacked into our own folder, never
//! installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Failure, Outcome, cache, on_path, output, run};

/// A kernel that the datapath is tried on.
pub(crate) struct Guest {
    /// Its series, as `uname -r` begins.
    pub(crate) series: &'static str,
    /// The package that depends on the newest of the series. The cloud flavour is a quarter of the size and has all that
    /// a tunnel's end needs.
    package: &'static str,
}

/// The oldest kernel that is supported, which has no tcx, and one between that and the host's.
pub(crate) const GUESTS: &[Guest] = &[
    Guest {
        series: "6.1",
        package: "linux-image-cloud-amd64",
    },
    Guest {
        series: "6.12",
        package: "linux-image-6.12-cloud-amd64",
    },
];

impl Guest {
    /// Where it lies unpacked.
    fn folder(&self) -> Outcome<PathBuf> {
        Ok(cache()?.join("vm").join(self.series))
    }

    /// The kernel's image.
    pub(crate) fn image(&self) -> Outcome<PathBuf> {
        only(&self.folder()?.join("boot"), "vmlinuz-")
    }

    /// The folder of its modules, `lib/modules/VERSION`.
    pub(crate) fn modules(&self) -> Outcome<PathBuf> {
        only(&self.folder()?.join("lib/modules"), self.series)
    }

    fn is_ready(&self) -> bool {
        self.image().is_ok()
            && self
                .modules()
                .is_ok_and(|modules| modules.join("modules.dep.bin").is_file())
    }

    fn install(&self) -> Outcome {
        let folder = self.folder()?;
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(trouble("remove", &folder))?;
        }
        fs::create_dir_all(&folder).map_err(trouble("make", &folder))?;
        let package = self.newest()?;
        run(Command::new("apt-get")
            .args(["download", "-qq", &package])
            .current_dir(&folder))?;
        let archive = only(&folder, &format!("{package}_"))?;
        run(Command::new("dpkg-deb").arg("-x").args([&archive, &folder]))?;
        fs::remove_file(&archive).map_err(trouble("remove", &archive))?;
        let modules = self.modules()?;
        // The guest's modprobe is busybox's, which takes no compressed ones.
        run(Command::new("find").arg(&modules).args([
            "-name",
            "*.ko.xz",
            "-exec",
            "xz",
            "--decompress",
            "{}",
            "+",
        ]))?;
        let version = modules.file_name().unwrap_or_default();
        run(
            Command::new(on_path("depmod").unwrap_or_else(|| "depmod".into()))
                .arg("-b")
                .arg(&folder)
                .arg(version),
        )
    }

    /// The package that has the kernel itself.
    fn newest(&self) -> Outcome<String> {
        let depends = output(Command::new("apt-cache").args(["depends", self.package]))?;
        let named = depends
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with("linux-image-"));
        named.map(str::to_owned).ok_or_else(|| {
            Failure::new(format!(
                "{} is not among this machine's Debian packages: `apt-get update`, or add the suite that has it",
                self.package
            ))
        })
    }
}

pub(super) fn is_ready() -> bool {
    GUESTS.iter().all(Guest::is_ready)
}

pub(super) fn describe() -> Outcome<String> {
    let series: Vec<_> = GUESTS.iter().map(|guest| guest.series).collect();
    Ok(format!(
        "Debian's kernels {} into {}, for virtual machines; not installed",
        series.join(" and "),
        cache()?.join("vm").display()
    ))
}

pub(super) fn install() -> Outcome {
    GUESTS
        .iter()
        .filter(|guest| !guest.is_ready())
        .try_for_each(Guest::install)
}

/// The one entry of a folder whose name begins so.
fn only(folder: &Path, prefix: &str) -> Outcome<PathBuf> {
    let entries = fs::read_dir(folder).map_err(trouble("list", folder))?;
    let mut found = entries.flatten().map(|entry| entry.path()).filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        (None, _) => Err(Failure::new(format!(
            "nothing named {prefix}… in {}",
            folder.display()
        ))),
        (Some(one), Some(other)) => Err(Failure::new(format!(
            "both {} and {} are there; remove one",
            one.display(),
            other.display()
        ))),
    }
}

fn trouble(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure::new(format!("cannot {verb} {path}: {error}"))
}
