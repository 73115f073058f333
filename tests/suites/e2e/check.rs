//! `tollgate check` as an operator runs it.

use tollgate_tests::gate::{fixture, tollgate};

#[test]
fn five_mistakes_are_named_at_once_with_their_places() {
    let path = fixture("configs/five-mistakes.yaml");
    let output = tollgate(None, &["check", path.to_str().unwrap()]);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(2), "{said}");

    let text = std::fs::read_to_string(&path).unwrap();
    let marked: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .filter_map(|(n, line)| Some((n + 1, line.split_once("# mistake: ")?.1)))
        .collect();
    assert_eq!(marked.len(), 5, "the fixture marks its mistakes");
    for (line, offence) in marked {
        let place = format!("five-mistakes.yaml:{line}:");
        let named = said.lines().any(|said| said.contains(&place));
        assert!(named, "no error at {place} ({offence}) in\n{said}");
        assert!(
            said.contains(offence),
            "`{offence}` is not shown in\n{said}"
        );
    }
}

#[test]
fn the_suites_own_configuration_is_correct() {
    use tempfile::tempdir;
    use tollgate::demo::pki::Authority;
    use tollgate_tests::gate::configuration;

    let directory = tempdir().unwrap();
    let authority = Authority::new("check").unwrap();
    for name in ["api", "shop"] {
        authority
            .leaf(&["api.example.com"])
            .unwrap()
            .write(directory.path(), name)
            .unwrap();
    }
    let text = configuration(
        "e2e.yaml",
        &[
            ("DIR", &directory.path().display()),
            ("ANNOUNCE", &"neighbour"),
            ("ISSUER", &"http://127.0.0.1:8080"),
            ("API", &"10.77.0.4:9000"),
            ("DATABASES", &"{ address: 10.77.0.5 }"),
            ("DATABASES_V6", &"{ address: \"fd77::5\" }"),
            ("TUNNEL_V4", &"10.77.0.3"),
            ("TUNNEL_V6", &"fd77::3"),
        ],
    );
    let path = directory.path().join("tollgate.yaml");
    std::fs::write(&path, text).unwrap();
    let output = tollgate(None, &["check", path.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{said}", output.status);
}
