//! Certificates and versions.

use tollgate_tests::client::Request;

use crate::world::World;

#[test]
fn sni_chooses_the_certificate() {
    let world = World::new();
    let of = |host: &str| world.target_for(host).certificate().unwrap();
    assert_eq!(
        of("api.test"),
        of("a.wild.test"),
        "one certificate for both names"
    );
    assert_ne!(of("api.test"), of("second.test"));
    assert_eq!(
        world
            .target_for("second.test")
            .h1(&Request::get("/open"))
            .unwrap()
            .status,
        200
    );
}

#[test]
fn http2_is_agreed_by_alpn_and_http1_stays_possible() {
    let world = World::new();
    for (offer, agreed) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = world.target().tls(offer).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), agreed);
    }
}
