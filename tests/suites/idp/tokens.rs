//! Tokens of the provider, and what is none.

use jsonwebtoken::decode_header;
use serde_json::Value;
use tollgate::demo::daemon::Daemon;
use tollgate::demo::pki::Authority;
use tollgate_tests::client::Request;
use tollgate_tests::gate::{eventually, tollgate};

use crate::site::{Site, issuer, number, said};

/// Nothing is fetched again in the life of a test, unless a token asks for it.
const QUIET: &str = "refresh: 1h, max_stale: 2h, unknown_kid_cooldown: 1s";

#[test]
fn tokens_of_each_algorithm_are_accepted_through_discovery() {
    let site = Site::lay(QUIET);
    let gate = site.open();
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = site.provider.token(algorithm, "orders:read orders:write");
        let header = decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(format!("{:?}", header.alg), algorithm);

        let request = Request::get("/orders")
            .bearer(&token)
            .field("X_Client_Id", "eve")
            .field("x-scope", "orders:admin");
        let reply = site.send(&request);
        assert_eq!(reply.status, 200, "{algorithm}: {:?}", reply.body);
        let client = format!("orders-{algorithm}");
        for (name, value) in [
            ("x-user-id", &*client),
            ("x-client-id", &*client),
            ("x-scope", "orders:read orders:write"),
        ] {
            assert_eq!(seen(&reply.json(), name), [value], "{algorithm}: {name}");
        }
        for name in ["x_client_id", "authorization"] {
            assert!(
                seen(&reply.json(), name).is_empty(),
                "{name} reached the API"
            );
        }
        let reply = site.curl(&token);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(seen(&reply.json(), "x-client-id"), [&*client]);
    }
    let issuer = issuer(&gate);
    let counts = ["fetches", "failures", "keys"].map(|name| number(&issuer, name));
    assert_eq!(counts, [1, 0, 3], "{issuer}");
    // Both run on one clock, and the provider dates its answers.
    let clock = &issuer["clock"];
    let ahead = clock["ahead_seconds"].as_f64().unwrap();
    assert!(clock["source"] == "date" && ahead.abs() < 5.0, "{clock}");
}

#[test]
fn what_the_provider_signs_for_others_is_refused() {
    let mut site = Site::lay(QUIET);
    let gate = site.open();
    let opaque = site.provider.opaque_token();
    assert!(!opaque.contains('.'), "no JWT: {opaque}");
    site.refuses(&opaque, 401, "token_malformed");

    // An ID token is signed with the same key: its type tells it apart, and where types do not count, its audience.
    let id_token = site.provider.id_token();
    site.refuses(&id_token, 401, "header_unsupported");
    let access_token = site.provider.token("ES256", "orders:read");
    site.accepts(&access_token);
    site.configure("any");
    gate.reload();
    site.refuses(&id_token, 401, "audience_mismatch");
    site.accepts(&access_token);

    let powerless = site.provider.token("ES256", "orders:write");
    site.refuses(&powerless, 403, "scope_insufficient");
}

#[test]
fn a_provider_that_nobody_vouches_for_brings_no_keys() {
    let site = Site::lay(QUIET);
    let stranger = Authority::new("stranger").unwrap();
    let trusted = site.write("stranger.crt", &stranger.pem());
    let daemon = Daemon::start(site.launch(&trusted)).unwrap();
    let error = eventually("the first fetch to fail", || {
        let status = daemon.status().map_err(|error| error.to_string())?;
        let error = status["issuers"][0]["last_error"].as_str();
        error.map(str::to_owned).ok_or_else(|| status.to_string())
    });
    assert!(
        error.contains("TLS") && error.contains("UnknownIssuer"),
        "{error}"
    );
    assert_eq!(daemon.get("/readyz").unwrap().status, 503);
    let token = site.provider.token("ES256", "orders:read");
    let reply = site.orders(&token);
    assert_eq!((reply.status, &*said(&reply)), (503, "keys_unavailable"));
}

#[test]
fn the_configuration_passes_check() {
    let site = Site::lay(QUIET);
    let output = tollgate(None, &["check", site.config().to_str().unwrap()]);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{}\n{said}", output.status);
}

/// The values of a field as the API saw them.
fn seen(echoed: &Value, name: &str) -> Vec<String> {
    let fields = echoed["headers"].as_array();
    let fields = fields.unwrap_or_else(|| panic!("no echo: {echoed}"));
    let named = fields.iter().filter(|field| field[0] == name);
    named
        .map(|field| field[1].as_str().unwrap().to_owned())
        .collect()
}
