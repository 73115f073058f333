//! Keys in a file: in force as soon as it changes, whatever way it is replaced. No refresh is due while these run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tollgate::demo::issuer::SigningKey;
use tollgate_tests::client::Request;

use super::{KEYS, issuer, issuer_when, reconfigure, status_with};
use crate::world::{World, refused};

fn set(keys: &[&SigningKey]) -> String {
    let keys: Vec<&Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// A gate whose keys are in `keys/jwks.json`, put there by `lay`.
fn world_with(lay: impl FnOnce(&Path, &str)) -> (World, PathBuf, SigningKey) {
    let world = World::new();
    let folder = world.folder.path().join("keys");
    fs::create_dir(&folder).unwrap();
    lay(&folder, &set(&[&world.key]));
    reconfigure(&world, KEYS, Some("{ file: keys/jwks.json }"));
    issuer_when(&world, "the keys of the file", |issuer| {
        issuer["state"] == "ready"
    });
    assert_eq!(issuer(&world)["unwatched"], json!(null));
    assert_eq!(status_with(&world, &world.token()), 200);
    let next = SigningKey::generate("next", Algorithm::ES256).unwrap();
    (world, folder, next)
}

/// Nobody asks for the new keys: they are here by the change of the file alone. The old ones are gone with their
/// verdicts.
#[track_caller]
fn replaced(world: &World, next: &SigningKey) {
    issuer_when(world, "the new keys", |issuer| {
        issuer["kids"] == json!(["next"])
    });
    let token = world.claims().sign(next).unwrap();
    assert_eq!(status_with(world, &token), 200);
    refused(
        &world.h1(&Request::get("/orders").bearer(&world.token())),
        401,
        "key_unknown",
    );
}

#[test]
fn threat_49_a_key_file_that_is_renamed_over_is_in_force_at_once() {
    let (world, folder, next) = world_with(|folder, set| {
        fs::write(folder.join("jwks.json"), set).unwrap();
    });
    fs::write(folder.join("jwks.json.new"), set(&[&next])).unwrap();
    fs::rename(folder.join("jwks.json.new"), folder.join("jwks.json")).unwrap();
    replaced(&world, &next);
}

#[test]
fn a_key_file_that_is_half_written_or_gone_leaves_the_last_good_keys() {
    let (world, folder, next) = world_with(|folder, set| {
        fs::write(folder.join("jwks.json"), set).unwrap();
    });
    let path = folder.join("jwks.json");
    let whole = set(&[&next]);
    for (what, break_it, said) in [
        (
            "half a file",
            &(|| fs::write(&path, &whole[..whole.len() / 2]).unwrap()) as &dyn Fn(),
            "refused",
        ),
        (
            "no file",
            &|| fs::remove_file(&path).unwrap(),
            "cannot read",
        ),
    ] {
        break_it();
        let broken = issuer_when(&world, what, |issuer| {
            issuer["last_error"]
                .as_str()
                .is_some_and(|error| error.contains(said))
        });
        assert_eq!(broken["state"], "ready", "{what}: {broken}");
        assert_eq!(broken["kids"], json!(["first"]), "{what}: {broken}");
        assert_eq!(status_with(&world, &world.token()), 200, "{what}");
    }
    fs::write(&path, &whole).unwrap();
    replaced(&world, &next);
    assert_eq!(issuer(&world)["last_error"], json!(null));
}

#[test]
fn a_config_map_that_is_swapped_is_seen() {
    // As the kubelet's atomic writer lays it out.
    let (world, folder, next) = world_with(|folder, set| {
        fs::create_dir(folder.join("..first")).unwrap();
        fs::write(folder.join("..first/jwks.json"), set).unwrap();
        symlink("..first", folder.join("..data")).unwrap();
        symlink("..data/jwks.json", folder.join("jwks.json")).unwrap();
    });
    fs::create_dir(folder.join("..second")).unwrap();
    fs::write(folder.join("..second/jwks.json"), set(&[&next])).unwrap();
    symlink("..second", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    fs::remove_dir_all(folder.join("..first")).unwrap();
    replaced(&world, &next);
}

#[test]
fn a_key_file_is_found_again_when_its_directory_comes_back() {
    let (world, folder, next) = world_with(|folder, set| {
        fs::write(folder.join("jwks.json"), set).unwrap();
    });
    fs::remove_dir_all(&folder).unwrap();
    issuer_when(&world, "the missing directory", |issuer| {
        issuer["last_error"].is_string()
    });
    assert_eq!(status_with(&world, &world.token()), 200);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("jwks.json"), set(&[&next])).unwrap();
    replaced(&world, &next);
}
