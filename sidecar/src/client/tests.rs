use super::*;

#[test]
fn cache_control_is_read() {
    let age = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, value.parse().unwrap());
        max_age(&headers)
    };
    assert_eq!(age("public, Max-Age=120"), Some(Duration::from_secs(120)));
    assert_eq!(age("max-age=60, no-store"), Some(Duration::ZERO));
    assert_eq!(age("private"), None);
    assert_eq!(age("max-age=soon"), None);
}

#[tokio::test]
async fn threat_51_plain_http_and_other_schemes_are_refused_before_anything_is_sent() {
    let client = Client::new().unwrap();
    let limits = Limits {
        timeout: Duration::from_secs(5),
        max_bytes: 1024,
        allow_http: false,
        allow_private: true,
    };
    for (url, why) in [
        ("http://127.0.0.1:1/jwks", "allow_http"),
        ("file:///etc/passwd", "not a URL"),
        ("ftp://127.0.0.1/jwks", "only https"),
        ("/jwks", "only https"),
        ("https://user:secret@127.0.0.1:1/jwks", "user name"),
        ("", "not a URL"),
    ] {
        let error = client.get(url, &limits).await.unwrap_err();
        assert!(matches!(error, FetchError::Url(..)), "{url}: {error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}
