use std::io;
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tollgate_auth::token::jwt::{Issuer, TokenType};
use tollgate_auth::token::keys::Algorithms;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// RFC 8037, appendix A.2
const SET: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// What the log says.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn count(&self, what: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap())
            .matches(what)
            .count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// An issuer whose answers are what `answer` says: status line and `Date`.
async fn serve(listener: TcpListener, answer: Arc<Mutex<(&'static str, SystemTime)>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let (status, date) = *answer.lock().unwrap();
        let date = httpdate::fmt_http_date(date);
        let head = format!(
            "HTTP/1.1 {status}\r\ndate: {date}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            SET.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(SET.as_bytes()).await.unwrap();
    }
}

/// Waits for five more fetches.
async fn fetches(issuer: &IssuerState) {
    let (enough, end) = (
        issuer.keys().fetches + 5,
        Instant::now() + Duration::from_secs(20),
    );
    while issuer.keys().fetches < enough {
        assert!(Instant::now() < end, "no more fetches");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn changes_are_told_once_and_not_with_each_fetch() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let answer = Arc::new(Mutex::new(("200 OK", SystemTime::now())));
    let serving = tokio::spawn(serve(listener, Arc::clone(&answer)));
    let rules = Issuer {
        name: "corp".into(),
        issuer: "https://issuer.test".to_owned(),
        audiences: vec!["api".to_owned()],
        algorithms: Algorithms::default(),
        clock_skew: Duration::ZERO,
        token_type: TokenType::Any,
        max_bytes: 16384,
    };
    let (hour, soon) = (Duration::from_secs(3600), Duration::from_millis(5));
    let issuer = Arc::new(IssuerState::new(Arc::new(rules), Some(hour), hour));
    let mut settings = Settings {
        source: Source::Url(url),
        refresh: soon,
        least: soon,
        limits: Settings::limits(Duration::from_secs(5), true, true),
    };
    let keeping = tokio::spawn(keep(
        Arc::clone(&issuer),
        settings.clone(),
        Client::new().unwrap(),
    ));

    fetches(&issuer).await;
    assert_eq!((log.count("new key set"), log.count("clock")), (1, 0));

    *answer.lock().unwrap() = ("200 OK", SystemTime::now() + Duration::from_secs(100));
    fetches(&issuer).await;
    assert_eq!(log.count("ahead of ours"), 1);
    assert!(issuer.clock_offset().unwrap().seconds > 5.0);

    *answer.lock().unwrap() = ("200 OK", SystemTime::now());
    fetches(&issuer).await;
    assert_eq!(log.count("agree again"), 1);

    *answer.lock().unwrap() = ("500 Broken", SystemTime::now());
    fetches(&issuer).await;
    assert_eq!(log.count("keys cannot be fetched"), 1);
    assert!(issuer.keys().failures >= 4);
    // In other words, it is the same trouble; status says what it is now.
    for status in ["503 Busy", "404 Gone", "500 Broken", "502 Elsewhere"] {
        *answer.lock().unwrap() = (status, SystemTime::now());
        fetches(&issuer).await;
        assert!(
            issuer
                .keys()
                .last_error
                .as_ref()
                .unwrap()
                .contains(&status[..3])
        );
    }
    assert_eq!(log.count("keys cannot be fetched"), 1);

    *answer.lock().unwrap() = ("200 OK", SystemTime::now());
    fetches(&issuer).await;
    assert_eq!(log.count("can be fetched again"), 1);
    assert_eq!((log.count("new key set"), log.count("WARN")), (1, 2));
    assert_eq!(issuer.keys().generation, 1);

    // Between fetches an hour apart, a token tells of the clock.
    keeping.abort();
    settings.refresh = hour;
    let before = issuer.keys().fetches;
    let keeping = tokio::spawn(keep(
        Arc::clone(&issuer),
        settings.clone(),
        Client::new().unwrap(),
    ));
    while issuer.keys().fetches == before {
        sleep(Duration::from_millis(1)).await;
    }
    issuer.note_issued(clock::now() + hour, clock::now());
    let end = Instant::now() + Duration::from_secs(20);
    while log.count("by the iat of a token") == 0 {
        assert!(Instant::now() < end, "nobody told");
        sleep(Duration::from_millis(1)).await;
    }
    keeping.abort();
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn what_keeps_the_keys_begins_anew_after_a_panic() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (runs, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let keeping = tokio::spawn(async move {
        let mut number = 0;
        supervise("corp", || {
            number += 1;
            let (number, runs) = (number, runs.clone());
            async move {
                runs.send(number).unwrap();
                assert!(number > 2, "a defect");
                std::future::pending::<()>().await;
            }
        })
        .await;
    });
    for number in 1..=3 {
        assert_eq!(begun.recv().await, Some(number));
    }
    assert_eq!((log.count("ERROR"), log.count("begins anew")), (2, 2));
    // What it runs ends with it.
    keeping.abort();
    assert_eq!(begun.recv().await, None);
}
