//! What our crates may depend on, and where certain outside crates may be named.

use crate::tidy::finding::Finding;
use crate::tidy::house::{CONFINED, CRATES, Confined, Crate, IMPURE};
use crate::tidy::paths::named;
use crate::tidy::source::{File, Tree, stands_in};

pub(super) fn examine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &tree.manifests {
        let folder = path.trim_end_matches("/Cargo.toml");
        match CRATES.iter().find(|package| package.folder == folder) {
            Some(package) => manifest(path, text, package, &mut findings),
            // The fuzz targets stand outside the workspace and may know everything.
            None if folder == "fuzz" => {}
            None => findings.push(Finding {
                file: path.clone(),
                line: 1,
                rule: "crates",
                what: "no crate of the house yet: say in xtask/src/tidy/house.rs what it may depend on".to_owned(),
            }),
        }
    }
    for file in &tree.files {
        for confined in CONFINED {
            confine(file, confined, &mut findings);
        }
    }
    findings
}

fn manifest(path: &str, text: &str, package: &Crate, findings: &mut Vec<Finding>) {
    for (line, dependency) in dependencies(text) {
        let ours = CRATES.iter().any(|package| package.name == dependency);
        let what = if ours && !package.may.contains(&dependency) {
            format!(
                "{} may not depend on {dependency}: what both need belongs below both",
                package.name
            )
        } else if package.pure && IMPURE.contains(&dependency) {
            format!(
                "{} has no I/O and no clock: {dependency} belongs in the shell",
                package.name
            )
        } else {
            continue;
        };
        findings.push(Finding {
            file: path.to_owned(),
            line,
            rule: "crates",
            what,
        });
    }
}

/// Each dependency of any section with its line, from 1.
fn dependencies(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            // `[dependencies.NAME]` names its one dependency in the header.
            if let Some((_, name)) = header.split_once("dependencies.") {
                inside = false;
                return Some((index + 1, name));
            }
            inside = header.ends_with("dependencies");
            return None;
        }
        if !inside || line.starts_with('#') {
            return None;
        }
        let name = line
            .split(['=', '.', ' '])
            .next()
            .filter(|name| !name.is_empty())?;
        Some((index + 1, name))
    })
}

fn confine(file: &File, confined: &Confined, findings: &mut Vec<Finding>) {
    if !stands_in(&file.path, confined.within)
        || confined.to.iter().any(|place| stands_in(&file.path, place))
    {
        return;
    }
    for path in named(file).iter().filter(|path| !path.test) {
        if let Some(name) = path
            .segments
            .first()
            .filter(|first| confined.crates.contains(&first.as_str()))
        {
            findings.push(Finding {
                file: file.path.clone(),
                line: path.line,
                rule: "confined",
                what: format!("`{name}` may not be named here: {}", confined.cure),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_crate_depends_downwards_only() {
        let http = "[package]\nname = \"tollgate-http\"\n[dependencies]\nbytes.workspace = true\ntollgate-auth = { workspace = true }\n";
        let auth = "[dependencies]\ntollgate-http = { workspace = true }\n[dev-dependencies]\ntollgate-tests = { workspace = true }\n";
        assert_eq!(
            found(
                examine,
                &[
                    ("sidecar/http/Cargo.toml", http),
                    ("sidecar/auth/Cargo.toml", auth)
                ]
            ),
            [
                "sidecar/auth/Cargo.toml:4 crates",
                "sidecar/http/Cargo.toml:5 crates"
            ]
        );
    }

    #[test]
    fn a_pure_crate_takes_no_runtime() {
        let auth = "[features]\ntokio = []\n[dependencies]\nmoka = \"0.12\"\n[dependencies.tokio]\nversion = \"1\"\n";
        assert_eq!(
            found(examine, &[("sidecar/auth/Cargo.toml", auth)]),
            ["sidecar/auth/Cargo.toml:5 crates"]
        );
        assert_eq!(
            found(examine, &[("sidecar/Cargo.toml", auth)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_unknown_crate_is_asked_for_its_line() {
        assert_eq!(
            found(examine, &[("tests/helper/Cargo.toml", "")]),
            ["tests/helper/Cargo.toml:1 crates"]
        );
    }

    #[test]
    fn confined_crates_stay_where_they_belong() {
        let sources = [
            ("sidecar/src/downstream/tls.rs", "use rustls::ServerConfig;"),
            (
                "sidecar/src/downstream/connection.rs",
                "use hyper::server;\nfn f(s: tokio_rustls::TlsStream) {}",
            ),
            ("sidecar/src/proxy.rs", "use hyper::body::Body;"),
            ("sidecar/src/reload.rs", "fn f() { aya::Ebpf::load(x); }"),
            ("sidecar/datapath/src/attach.rs", "use aya::programs::Xdp;"),
            ("sidecar/src/config/raw/route.rs", "use serde::Deserialize;"),
            ("sidecar/src/config/lower.rs", "use serde::Deserialize;"),
            (
                "sidecar/src/app.rs",
                "use serde_saphyr::from_str;\n#[cfg(test)] mod tests { use hyper::client; }",
            ),
        ];
        assert_eq!(
            found(examine, &sources),
            [
                "sidecar/src/app.rs:1 confined",
                "sidecar/src/config/lower.rs:1 confined",
                "sidecar/src/downstream/connection.rs:2 confined",
                "sidecar/src/proxy.rs:1 confined",
                "sidecar/src/reload.rs:1 confined",
            ]
        );
    }
}
