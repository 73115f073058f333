use insta::assert_snapshot;
use tollgate_auth::refusal::Refusal;
use tollgate_http::Method;

use super::*;

fn answer(rejection: &Rejection, accept: &str) -> (ResponseHead, String) {
    let mut fields = Fields::new();
    if !accept.is_empty() {
        fields.push("accept", accept.to_owned());
    }
    let manner = Manner::new("GET", None, &fields, None);
    let (head, body) = refusal(rejection, "00c0ffee00000001", &manner);
    (head, String::from_utf8(body.to_vec()).unwrap())
}

fn expired() -> Rejection {
    Refusal::new(Reason::TokenExpired, "exp 1, now 2").into()
}

/// As it goes over the wire, for reading.
fn shown((head, body): (ResponseHead, String)) -> String {
    let fields = head.fields.iter().map(|field| {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        format!("{}: {}\n", text(&field.name), text(&field.value))
    });
    format!("{}\n{}\n{body}", head.status, fields.collect::<String>())
}

#[test]
fn a_problem_document() {
    assert_snapshot!(shown(answer(&expired(), "")));
    let (head, _) = answer(&expired(), "application/json");
    assert_eq!(head.fields.get("content-type").unwrap(), "application/json");
}

#[test]
fn a_page() {
    assert_snapshot!(shown(answer(
        &expired(),
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    )));
}

#[test]
fn a_few_lines() {
    assert_snapshot!(shown(answer(&Rejection::NoRoute, "text/plain")));
}

/// What is not the reason or the request id never leaves: the details of a refusal are for logs.
#[test]
fn no_form_of_any_refusal_tells_details() {
    let secret = "claim acme-secret";
    for reason in Reason::ALL {
        let rejection = Refusal::new(*reason, secret).into();
        for accept in ["*/*", "application/json", "text/html", "text/plain"] {
            let (head, body) = answer(&rejection, accept);
            assert_eq!(head.status, reason.status());
            assert!(body.contains(reason.word()), "{body}");
            assert!(body.contains("00c0ffee00000001"), "{body}");
            let whole = shown((head.clone(), body.clone()));
            assert!(!whole.contains("acme"), "{whole}");
            let length = head.fields.get("content-length").unwrap();
            assert_eq!(length, body.len().to_string().as_str());
            assert_eq!(head.fields.get("cache-control").unwrap(), "no-store");
            assert_eq!(head.fields.get("vary").unwrap(), "accept");
            // RFC 9110, section 15.5.2
            let challenged = head.fields.count("www-authenticate") == 1;
            assert!(challenged || reason.status() != 401, "{reason}");
        }
    }
}

#[test]
fn a_method_that_is_not_allowed_names_those_that_are() {
    let (head, _) = answer(
        &Rejection::MethodNotAllowed(vec![Method::GET, Method::HEAD]),
        "",
    );
    assert_eq!(head.fields.get("allow").unwrap(), "GET, HEAD");
}
