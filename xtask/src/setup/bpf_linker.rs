//! bpf-linker, built against the LLVM of the toolchain that compiles the kernel side.
//!
//! rustc hands bpf-linker LLVM bitcode, so both must be the same LLVM. Rust's Linux toolchains carry a shared libLLVM:
//! linking bpf-linker to that one saves building LLVM and can never disagree. The linker then finds it through a kept
//! folder of two symbolic links, and names it by a file name that holds the toolchain's version; a toolchain that is
//! gone or changed is noticed by comparing that name with the stamp.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::setup::{toolchain, tools};
use crate::shell::{Failure, Outcome, cache, run, tools_bin};

const VERSION: &str = "0.13.0";

pub(super) fn is_ready() -> Outcome<bool> {
    let llvm = toolchain::llvm()?;
    let linker = tools_bin()?.join("bpf-linker");
    if !linker.is_file()
        || fs::read_link(folder()?.join(file_name(&llvm)))
            .ok()
            .as_ref()
            != Some(&llvm)
    {
        return Ok(false);
    }
    if fs::read_to_string(stamp()?).is_ok_and(|stamped| stamped == stamp_text(&llvm)) {
        return Ok(true);
    }
    // Built by hand after the same recipe, or the stamp was lost: the binary itself names the library it wants.
    let adopted =
        tools::installed("bpf-linker", VERSION)? && names_library(&linker, &file_name(&llvm))?;
    if adopted {
        write_stamp(&llvm)?;
    }
    Ok(adopted)
}

pub(super) fn describe() -> Outcome<String> {
    let root = cache()?.join("tools");
    Ok(format!(
        "bpf-linker {VERSION} into {}, built here (about a minute)",
        root.display()
    ))
}

pub(super) fn install() -> Outcome {
    let llvm = toolchain::llvm()?;
    let folder = folder()?;
    link_library(&folder, &llvm).map_err(|error| {
        Failure::new(format!(
            "bpf-linker: cannot link {} into {}: {error}",
            llvm.display(),
            folder.display()
        ))
    })?;
    let linker = tools_bin()?.join("bpf-linker");
    // The same LLVM under a toolchain that moved: the links are new, the binary is still right.
    let reusable = linker.is_file()
        && tools::installed("bpf-linker", VERSION)?
        && names_library(&linker, &file_name(&llvm))?;
    if !reusable {
        let feature = format!("llvm-{}", toolchain::llvm_major()?);
        let mut command = tools::cargo_install("bpf-linker", VERSION)?;
        command.args(["--no-default-features", "--features", &feature, "--force"]);
        command.env("LLVM_PREFIX", cache()?.join("llvm"));
        run(&mut command)
            .map_err(|failure| Failure::new(format!("bpf-linker {VERSION}: {failure}")))?;
    }
    if !names_library(&linker, &file_name(&llvm))? {
        return Err(Failure::new(format!(
            "bpf-linker: {} was built against another LLVM than {}",
            linker.display(),
            llvm.display()
        )));
    }
    write_stamp(&llvm)
}

fn folder() -> Outcome<PathBuf> {
    Ok(cache()?.join("llvm/lib"))
}

fn stamp() -> Outcome<PathBuf> {
    Ok(cache()?.join("tools/bpf-linker.stamp"))
}

fn stamp_text(llvm: &Path) -> String {
    format!("bpf-linker {VERSION} {}\n", file_name(llvm))
}

fn write_stamp(llvm: &Path) -> Outcome {
    let stamp = stamp()?;
    fs::write(&stamp, stamp_text(llvm))
        .map_err(|error| Failure::new(format!("{}: {error}", stamp.display())))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The folder then holds exactly `libLLVM.so` (what the build links) and the real name (what the loader looks for).
fn link_library(folder: &Path, llvm: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for name in ["libLLVM.so".to_owned(), file_name(llvm)] {
        let link = folder.join(name);
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(llvm, &link)?,
        }
    }
    Ok(())
}

/// Whether the linker's dynamic section asks for this very library: its string table holds the name, ended by NUL.
fn names_library(linker: &Path, library: &str) -> Outcome<bool> {
    let binary =
        fs::read(linker).map_err(|error| Failure::new(format!("{}: {error}", linker.display())))?;
    let mut wanted = library.as_bytes().to_vec();
    wanted.push(0);
    Ok(binary.windows(wanted.len()).any(|window| window == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_follows_the_toolchain() {
        let folder =
            std::env::temp_dir().join(format!("tollgate-xtask-llvm-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        let old = Path::new("/toolchains/old/lib/libLLVM.so.22.1-rust-1.95.0-stable");
        let new = Path::new("/toolchains/new/lib/libLLVM.so.22.1-rust-1.95.0-stable");
        link_library(&folder, old).expect("first toolchain");
        link_library(&folder, new).expect("moved toolchain");
        let links = ["libLLVM.so", "libLLVM.so.22.1-rust-1.95.0-stable"]
            .map(|name| fs::read_link(folder.join(name)));
        fs::remove_dir_all(&folder).expect("our own folder");
        for link in links {
            assert_eq!(link.expect("a link"), new);
        }
    }

    #[test]
    fn a_linker_for_another_llvm_is_not_taken_for_ours() {
        let file =
            std::env::temp_dir().join(format!("tollgate-xtask-linker-{}", std::process::id()));
        fs::write(
            &file,
            b"\x7fELF..libLLVM.so.22.1-rust-1.95.0-stable\0libc.so.6\0",
        )
        .expect("a file in tmp");
        let same = names_library(&file, "libLLVM.so.22.1-rust-1.95.0-stable");
        let other = names_library(&file, "libLLVM.so.22.1-rust-1.95");
        fs::remove_file(&file).expect("our own file");
        assert!(matches!((same, other), (Ok(true), Ok(false))));
    }
}
