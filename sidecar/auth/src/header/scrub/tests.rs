use super::unvouched::{UNVOUCHED, UNVOUCHED_PREFIXES};
use super::*;
use proptest::prelude::*;

fn request(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.push(name.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    fields
}

fn field_names(fields: &Fields) -> Vec<String> {
    fields
        .iter()
        .map(|f| String::from_utf8(f.name.to_vec()).unwrap())
        .collect()
}

fn managed() -> ManagedNames {
    ManagedNames::new(["x-user-id", "X-User-Groups", "x-user-id"])
}

#[test]
fn t32_every_alias_goes() {
    let mut fields = request(&[
        ("X-User-Id", "1"),
        ("x-user-id", "2"),
        ("X_User_Id", "3"),
        ("x.user.id", "4"),
        ("XUSERID", "5"),
        ("x-~u!s#e$r%i&d", "6"),
        ("x_user_groups", "7"),
        ("X-User-Id2", "kept"),
        ("X-User", "kept"),
        ("User-Id", "kept"),
        ("accept", "kept"),
    ]);
    scrub(&mut fields, &managed());
    assert_eq!(
        field_names(&fields),
        ["X-User-Id2", "X-User", "User-Id", "accept"]
    );
}

#[test]
fn t32_t57_what_reads_like_the_messages_own_fields_goes() {
    let real = [
        "Content-Length",
        "CONTENT-TYPE",
        "content-encoding",
        "Host",
        "cookie",
        "Authorization",
        "Expect",
        "trailer",
    ];
    let mut fields = request(&real.map(|name| (name, "kept")));
    for alias in [
        "Content_Length",
        "content.length",
        "contentlength",
        "Content--Length",
        "Transfer_Encoding",
        "transfer-encoding-",
        "TransferEncoding",
        "Content_Type",
        "content.encoding",
        "H_ost",
        "_host",
        "Cookie_",
        "c-o-o-k-i-e",
        "authorization~",
        "Keep_Alive",
        "proxy_authorization",
        "http2_settings",
        "t-e",
        "up.grade",
        "connection_",
        "Trailer.",
        "ex-pect",
    ] {
        assert!(is_respelled(alias.as_bytes()), "{alias}");
        fields.push(alias, "gone");
    }
    for other in [
        "content_lengths",
        "hosts",
        "x-content_length",
        "te-x",
        "a",
        "---",
    ] {
        assert!(!is_respelled(other.as_bytes()), "{other}");
        fields.push(other, "kept");
    }
    scrub(&mut fields, &managed());
    assert_eq!(fields.len(), real.len() + 6);
    assert!(fields.iter().all(|field| &field.value[..] == b"kept"));
}

/// The searches lean on it, and on the names being folded.
#[test]
fn lists_are_sorted_and_folded() {
    for list in [UNVOUCHED, UNVOUCHED_PREFIXES] {
        assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
        for name in list {
            assert_eq!(fold(name).as_bytes(), *name);
            assert!(name.len() <= SHORT);
        }
    }
    let begins_another = |name: &&[u8]| {
        let others = UNVOUCHED.iter().chain(UNVOUCHED_PREFIXES);
        let mut others = others.filter(|other| other != &name);
        others.any(|other| other.starts_with(name))
    };
    assert_eq!(
        UNVOUCHED_PREFIXES.iter().find(|name| begins_another(name)),
        None
    );
    for name in HOP_BY_HOP {
        assert!(
            SPELLED
                .iter()
                .any(|(_, spelled)| *spelled == name.as_bytes())
        );
    }
    assert!(SPELLED.windows(2).all(|pair| pair[0].0 < pair[1].0));
    for (folded, spelled) in SPELLED {
        assert_eq!(fold(spelled).as_bytes(), folded);
    }
    for name in FRAMING.iter().chain(&HOP_BY_HOP) {
        let is = |(_, spelled): &(&[u8], &[u8])| spelled.eq_ignore_ascii_case(name.as_bytes());
        assert!(SPELLED.iter().any(is), "{name}");
    }
}

#[test]
fn our_own_prefix_is_always_managed() {
    let none = ManagedNames::new([]);
    for name in [
        "x-tollgate-assertion",
        "X_Tollgate_X",
        "xtollgate",
        "X.TOLLGATE",
        "x-toll-gate-y",
    ] {
        assert!(none.matches(name.as_bytes()), "{name}");
    }
    let long = format!("x-tollgate-{}", "a".repeat(200));
    assert!(none.matches(long.as_bytes()));
    for name in ["x-tollgat", "tollgate", "y-x-tollgate", "", "---"] {
        assert!(!none.matches(name.as_bytes()), "{name}");
    }
    assert_eq!(
        managed().names().collect::<Vec<_>>(),
        ["xusergroups", "xuserid"]
    );
}

#[test]
fn names_beyond_the_buffer_are_compared_too() {
    let exact = "a".repeat(SHORT);
    let long = format!("x{}", "b".repeat(150));
    let managed = ManagedNames::new([exact.as_str(), long.as_str()]);
    for name in [&exact, &long] {
        assert!(managed.matches(name.to_uppercase().as_bytes()));
        assert!(
            managed.matches(
                name.chars()
                    .flat_map(|c| [c, '-'])
                    .collect::<String>()
                    .as_bytes()
            )
        );
        assert!(!managed.matches(format!("{name}c").as_bytes()));
        assert!(!managed.matches(&name.as_bytes()[1..]));
    }
}

#[test]
fn t35_connection_names_what_goes_and_never_what_comes() {
    for connection in [
        "x-user-id",
        "close, X-User-Id",
        "\"x-user-id\"",
        "keep-alive,,x-user-id ,TE",
    ] {
        let mut fields = request(&[
            ("Connection", connection),
            ("connection", "x-other"),
            ("X-Other", "1"),
            ("TE", "trailers"),
            ("Keep-Alive", "t"),
            ("Accept", "a"),
        ]);
        scrub(&mut fields, &managed());
        // Nothing is left that could remove what is injected now.
        fields.push("x-user-id", "verified");
        assert_eq!(
            field_names(&fields),
            ["Accept", "x-user-id"],
            "{connection}"
        );
    }
}

#[test]
fn what_makes_the_message_cannot_be_nominated() {
    let mut fields = request(&[
        ("Connection", "host, content-length, content-type, x-a"),
        ("Host", "h"),
        ("Content-Length", "1"),
        ("Content-Type", "t"),
        ("x-a", "1"),
    ]);
    hop_by_hop(&mut fields);
    assert_eq!(
        field_names(&fields),
        ["Host", "Content-Length", "Content-Type"]
    );
}

#[test]
fn t32_two_names_are_one_to_servers_that_fold_them() {
    for alias in [
        "x-user-id",
        "X_User_Id",
        "x.user.id",
        "xuserid",
        "-x~user!id-",
    ] {
        assert!(reads_alike(alias.as_bytes(), b"x-user-id"), "{alias}");
        assert!(!is_own(alias.as_bytes()), "{alias}");
    }
    for other in ["x-user", "x-user-id2", "user-id", ""] {
        assert!(!reads_alike(other.as_bytes(), b"x-user-id"), "{other}");
    }
    for own in ["x-tollgate-assertion", "X_Tollgate_X", "xtollgate"] {
        assert!(is_own(own.as_bytes()), "{own}");
    }
    assert!(!is_own(b"x-tollgat"));
}

/// Trailers lose them too (RFC 9110 section 7.6.1).
#[test]
fn t36_what_connection_names_is_told_before_it_is_gone() {
    let fields = request(&[
        ("Connection", "close, X-B ,, x-a, TE, host, Content-Length"),
        ("connection", "x-a, keep-alive, not a name, \"x-c\""),
        ("x-d", "1"),
    ]);
    let names = nominations(&fields);
    let names: Vec<&[u8]> = names.iter().map(|name| &**name).collect();
    assert_eq!(names, [b"x-a", b"x-b"]);
    assert!(nominations(&request(&[("Connection", "keep-alive"), ("a", "b")])).is_empty());
}

/// A head of 64 KiB holds thousands of options, and as many repetitions. What they cost is a benchmark's business.
#[test]
fn thousands_of_nominations_take_what_they_name_and_no_more() {
    let options = "x-field-aaaa,x-field-bbbb,".repeat(2_500);
    let names: Vec<_> = (0..96).map(|n| format!("x-field-{}", n + 1000)).collect();
    let mut lines = vec![
        ("Connection", options.as_str()),
        ("X-Field-AAAA", "1"),
        ("x-field-aaaa", "2"),
    ];
    lines.extend(names.iter().map(|name| (name.as_str(), "v")));
    let mut fields = request(&lines);
    hop_by_hop(&mut fields);
    assert_eq!(field_names(&fields), names);
}

#[test]
fn fixed_hop_by_hop_fields_go() {
    let mut fields = request(&HOP_BY_HOP.map(|name| (name, "v")));
    fields.push("Trailer", "x");
    hop_by_hop(&mut fields);
    assert_eq!(field_names(&fields), ["Trailer"]);
}

#[test]
fn t36_trailers_are_scrubbed_like_headers() {
    let mut trailers = request(&[("grpc-status", "0"), ("X_USER_ID", "eve")]);
    scrub(&mut trailers, &managed());
    assert_eq!(field_names(&trailers), ["grpc-status"]);
}

#[test]
fn t36_a_trailer_says_no_more_than_a_field() {
    let long = "a".repeat(MAX_NAME + 1);
    for never in [
        &*long,
        "Transfer-Encoding",
        "TE",
        "x_forwarded_for",
        "Client-Cert",
        "Content_Length",
        "h.ost",
    ] {
        assert!(is_never_trailer(never.as_bytes()), "{never}");
    }
    for passed in [&long[1..], "grpc-status", "x-checksum", "etag"] {
        assert!(!is_never_trailer(passed.as_bytes()), "{passed}");
    }
}

#[test]
fn t38_t43_what_only_a_trusted_proxy_may_say() {
    let mut fields = request(
        &[
            "Forwarded",
            "X-Forwarded-For",
            "x_forwarded_proto",
            "X-Forwarded-Client-Cert",
            "X-Real-IP",
            "Client-Cert",
            "Client_Cert_Chain",
            "X-SSL-Client-Cert",
            "X-Original-URL",
            "X-Rewrite-Url",
            "x-envoy-original-path",
            "X-Acme-Original-Path",
            "X-HTTP-Method-Override",
            "x.http.method",
            "X-Method-Override",
            "True-Client-IP",
            "X-Client-IP",
            "CF-Connecting-IP",
            "CF-Connecting-IPv6",
            "X-Cluster-Client-IP",
            "X-Envoy-External-Address",
            "x-envoy-peer-metadata",
            "Remote-User",
            "REMOTE_GROUPS",
            "X-Remote-User",
            "X-Remote-Extra-Scopes",
            "Proxy",
            "Fastly-Client-IP",
            "X-Azure-ClientIP",
            "-_x.client-ip",
            "Client-IP",
            "Forwarded-For",
            "Proxy-Client-IP",
            "WL_Proxy_Client_IP",
            "Fly-Client-IP",
            "X-AppEngine-User-IP",
            "CloudFront-Viewer-Address",
            "X-Originating-IP",
            "X-Amzn-Mtls-Clientcert",
            "X-Amzn-Mtls-Clientcert-Subject",
            "X-ARR-ClientCert",
            "X-SSL-Cert",
            "X-SSL-Cert-DN",
            "SSL-Cert",
            "X-TLS-Client-Subject",
            "X-Client-Verify",
            "X-Client-DN",
            "Front-End-Https",
            "X-Url-Scheme",
            "X-Scheme",
            "X_Host",
            "X-Auth-Request-User",
            "x-auth-request-access-token",
            "X-WEBAUTH-USER",
            "X-MS-Client-Principal",
            "X-MS-CLIENT-PRINCIPAL-NAME",
            "X-Consumer-Username",
            "X-Authenticated-Userid",
            "X-Credential-Identifier",
        ]
        .map(|name| (name, "v")),
    );
    for kept in [
        "Host",
        "X-User",
        "Original-Path",
        "Client-Original-Path",
        "Client-Certificate-Policy",
        "X-Method",
        "Proxy-Hint",
        "Remote-Control",
        "---",
        "X-Auth-Token",
        "X-Hosted-By",
        "X-Scheme-Version",
        "SSL-Certs",
        "Client-IPs",
        "X-Consume",
    ] {
        fields.push(kept, "v");
    }
    let long = format!("X-Forwarded-{}", "a".repeat(2 * SHORT));
    let path = format!("X-{}-Original-Path", "a".repeat(2 * SHORT));
    fields.push(long, "v");
    fields.push(path, "v");
    fields.retain(|field| !is_unvouched(&field.name));
    assert_eq!(
        field_names(&fields),
        [
            "Host",
            "X-User",
            "Original-Path",
            "Client-Original-Path",
            "Client-Certificate-Policy",
            "X-Method",
            "Proxy-Hint",
            "Remote-Control",
            "---",
            "X-Auth-Token",
            "X-Hosted-By",
            "X-Scheme-Version",
            "SSL-Certs",
            "Client-IPs",
            "X-Consume",
        ]
    );
}

#[test]
fn t75_names_with_a_meaning_of_their_own_are_refused() {
    for good in [
        "x-user-id",
        "X-Tenant",
        "x-forwarded-user",
        "X-Forwarded-Email",
        "remote-user",
    ] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
    let like = |name: &str| match check_name(name).unwrap_err() {
        NameError::Framing { like, .. } => format!("framing {like}"),
        NameError::Taken { like, .. } => format!("taken {like}"),
        NameError::Registered { like, .. } => format!("registered {like}"),
        other => panic!("{name}: {other}"),
    };
    assert_eq!(like("Content_Length"), "framing Content-Length");
    assert_eq!(like("transfer.encoding"), "framing transfer-encoding");
    assert_eq!(like("CONNECTION"), "framing connection");
    assert_eq!(like("te"), "framing te");
    assert_eq!(like("h-o-s-t"), "taken Host");
    assert_eq!(like("cookie"), "taken Cookie");
    assert_eq!(like("x_forwarded_for"), "taken X-Forwarded-For");
    assert_eq!(like("ACCEPT"), "registered Accept");
    assert_eq!(like("x-frame_options"), "registered X-Frame-Options");
    let authorization = check_name("Authorization").unwrap_err();
    assert!(
        authorization
            .to_string()
            .contains("not available in this version"),
        "{authorization}"
    );
    assert!(matches!(
        check_name("X_Tollgate_User"),
        Err(NameError::Reserved(_))
    ));
    for bad in ["", "x y", "x:", "ä", "---", "x\n"] {
        assert!(
            matches!(check_name(bad), Err(NameError::Syntax(_))),
            "{bad:?}"
        );
    }
    assert_eq!(check_name(&"x".repeat(64)), Ok(()));
    assert!(matches!(
        check_name(&"x".repeat(65)),
        Err(NameError::TooLong(_))
    ));
}

#[test]
fn the_registry_is_sorted_and_made_of_names() {
    let names = super::super::registry::NAMES;
    assert!(names.iter().all(|n| valid_name(n.as_bytes())));
    assert!(
        names
            .windows(2)
            .all(|w| w[0].to_ascii_lowercase() < w[1].to_ascii_lowercase()),
        "sorted, each once"
    );
}

proptest! {
    /// However a managed name is respelled, it goes; and nothing else does.
    #[test]
    fn no_alias_is_left(
        name in "[a-z]{1,12}",
        spelling in prop::collection::vec(("[-_.~!#$%&'*+^`|]{0,2}", any::<bool>()), 12),
        other in "[!-~&&[^:]]{1,20}",
    ) {
        let managed = ManagedNames::new([name.as_str()]);
        let mut alias = String::new();
        for (c, (before, upper)) in name.chars().zip(&spelling) {
            alias.push_str(before);
            alias.push(if *upper { c.to_ascii_uppercase() } else { c });
        }
        let mut fields = request(&[(&alias, "forged"), (&other, "?")]);
        scrub(&mut fields, &managed);
        prop_assert!(fields.iter().all(|f| fold(&f.name) != name));
        let folded = fold(other.as_bytes());
        let hop = HOP_BY_HOP.iter().any(|h| other.eq_ignore_ascii_case(h));
        let kept = folded != name
            && !folded.starts_with("xtollgate")
            && !hop
            && !is_respelled(other.as_bytes());
        prop_assert_eq!(fields.len(), usize::from(kept));
    }

    /// However the message's own fields are respelt, they go; spelled as they are they stay, unless they are this hop's.
    #[test]
    fn no_alias_of_the_messages_own_fields_is_left(
        (folded, spelled) in prop::sample::select(SPELLED.to_vec()),
        spelling in prop::collection::vec(("[-_.~!#$%&'*+^`|]{0,2}", any::<bool>()), 24),
        plain in any::<bool>(),
    ) {
        let from = if plain { spelled } else { folded };
        let mut name = String::new();
        for (&c, (before, upper)) in from.iter().zip(&spelling) {
            if !plain {
                name.push_str(before);
            }
            let c = char::from(c);
            name.push(if *upper { c.to_ascii_uppercase() } else { c });
        }
        let mut fields = request(&[(&name, "forged")]);
        scrub(&mut fields, &ManagedNames::new([]));
        let is_itself = name.as_bytes().eq_ignore_ascii_case(spelled);
        let kept = is_itself && !is_hop_by_hop(name.as_bytes());
        prop_assert_eq!(fields.len(), usize::from(kept), "{}", name);
    }

    /// The sorted search finds what comparing each field with each option finds.
    #[test]
    fn nominations_are_compared_without_case(
        options in prop::collection::vec("[abAB]{0,2}|close|TE|host|[xX]-[ab]", 0..8),
        names in prop::collection::vec("[abAB]{1,2}|Host|[xX]-[ab]", 0..8),
    ) {
        let value = options.join(", ");
        let mut fields = request(&[("connection", &value)]);
        for name in &names {
            fields.push(name.clone(), "v");
        }
        hop_by_hop(&mut fields);
        let kept: Vec<_> = names
            .iter()
            .filter(|n| n.eq_ignore_ascii_case("host") || !options.iter().any(|o| o.eq_ignore_ascii_case(n)))
            .cloned()
            .collect();
        prop_assert_eq!(field_names(&fields), kept);
    }

    #[test]
    fn matching_is_comparing_folded_names(managed in prop::collection::vec("[a-z0-9-]{1,80}", 0..6), name in "[A-Za-z0-9_.-]{0,90}") {
        let set = ManagedNames::new(managed.iter().map(String::as_str));
        let folded = fold(name.as_bytes());
        let want = folded.starts_with("xtollgate") || (!folded.is_empty() && managed.iter().any(|m| fold(m.as_bytes()) == folded));
        prop_assert_eq!(set.matches(name.as_bytes()), want);
    }
}
