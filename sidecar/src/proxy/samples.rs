//! The samples of docs/answers.md, made by what answers.

use std::time::Duration;

use tollgate_auth::policy::cors::{Headers, Origins, Preflight, Sharing};
use tollgate_auth::reason::Reason;
use tollgate_auth::refusal::Refusal;
use tollgate_auth::resource::{Offers, Resource};
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::source::{HeaderScheme, TokenSource};
use tollgate_http::{Fields, Method, Origin, ResponseHead};

use super::manner::Manner;
use super::{own, preflight, respond};
use crate::snapshot::own::{Content, OwnDocument};

/// As the page shows an answer.
fn sample(head: &ResponseHead, body: &[u8]) -> String {
    let title = http::StatusCode::from_u16(head.status)
        .unwrap()
        .canonical_reason()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut sample = format!("```http\n{} {title}\n", head.status);
    for field in &head.fields {
        sample += &format!("{}: {}\n", text(&field.name), text(&field.value));
    }
    if !body.is_empty() {
        sample += &format!("\n{}\n", text(body));
    }
    sample + "```\n"
}

fn refusal() -> String {
    let rejection = Refusal::new(Reason::TokenExpired, "exp 1, now 2").into();
    let manner = Manner::new("GET", None, &Fields::new(), None);
    let (head, body) = respond::refusal(&rejection, "00c0ffee00000001", &manner);
    sample(&head, &body)
}

fn metadata() -> String {
    let resource = Resource::parse("https://api.example.com/v1")
        .unwrap()
        .documented("https://docs.example.com/orders")
        .unwrap();
    let source = TokenSource::Header {
        name: "authorization".to_owned(),
        scheme: HeaderScheme::Usual,
    };
    let document = OwnDocument {
        path: resource.metadata_path(),
        host: None,
        content_type: "application/json",
        max_age: Duration::from_secs(300),
        content: Content::Ready(
            resource
                .metadata(Offers {
                    issuers: vec!["https://login.example.com"],
                    scopes: vec!["orders:write", "orders:read"],
                    sources: vec![&source],
                })
                .into(),
        ),
    };
    let (head, body) = own::answer(&document, &Method::GET, UnixTime::from_secs(0)).unwrap();
    sample(&head, &body)
}

fn preflight() -> String {
    let origin = Origin::parse(b"https://app.example.com").unwrap();
    let names = ["authorization", "content-type"]
        .map(str::to_owned)
        .to_vec();
    let sharing = Sharing {
        origins: Origins::These(vec![origin.clone()]),
        methods: vec![],
        headers: Headers::These(names.clone()),
        expose: vec![],
        credentials: false,
        max_age: Duration::from_secs(600),
    };
    let asked = Preflight {
        origin: Some(origin.clone()),
        method: Method::PUT,
        headers: names,
    };
    let mut head = preflight::answer(&sharing, &asked).unwrap();
    sharing.dress(Some(&origin), &mut head.fields);
    sample(&head, b"")
}

#[test]
fn the_page_of_answers_shows_what_is_answered() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/answers.md");
    let page = std::fs::read_to_string(path).unwrap();
    let samples = [refusal(), metadata(), preflight()];
    for sample in &samples {
        assert!(page.contains(sample), "docs/answers.md lacks:\n{sample}");
    }
    assert_eq!(page.matches("```http").count(), samples.len());
}

/// The table of times and the enum say the same.
#[test]
fn the_page_of_answers_has_every_time_to_come_back() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/answers.md");
    let page = std::fs::read_to_string(path).unwrap();
    for reason in Reason::ALL {
        let Some(seconds) = reason.retry_after() else {
            continue;
        };
        let row = page
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`{reason}`")))
            .unwrap_or_else(|| panic!("{reason}"));
        assert!(row.ends_with(&format!("| {seconds} s |")), "{row}");
    }
}
