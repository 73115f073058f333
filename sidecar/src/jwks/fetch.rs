//! One fetch: from wherever the keys are to a key set.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Notify;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::keys::{KeySet, MAX_JWKS_BYTES};

use super::settings::{Settings, Source};
use super::watch::Watch;
use crate::client::{Client, Fetched, shown};
use crate::clock;
use crate::snapshot::issuer::IssuerState;
use crate::snapshot::skew::Dated;

/// Fetches the keys of one issuer.
pub(super) struct Fetcher {
    issuer: Arc<IssuerState>,
    settings: Settings,
    client: Client,
    /// What the discovery document said last, and when it was asked for.
    key_set_url: Option<(String, Instant)>,
    /// Of a file; begins with its first reading.
    watch: Option<Watch>,
    changed: Arc<Notify>,
}

/// A key set, and for how long it is fresh if that was said.
pub(super) type Keys = (KeySet, Option<Duration>);

impl Fetcher {
    pub(super) fn new(issuer: Arc<IssuerState>, settings: Settings, client: Client) -> Self {
        Self {
            issuer,
            settings,
            client,
            key_set_url: None,
            watch: None,
            changed: Arc::default(),
        }
    }

    /// Woken when a file may have changed.
    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Fetches. `is_asked`: a request waits for it.
    ///
    /// # Errors
    ///
    /// What went wrong, in words. A set without a usable key is an error: an IdP that publishes one is broken, not
    /// rotated, and the last good set stays.
    pub(super) async fn fetch(&mut self, is_asked: bool) -> Result<Keys, String> {
        match self.settings.source.clone() {
            // What the operator keeps may hold shared secrets; what anyone can fetch may not.
            Source::Inline(document) => local(&document),
            Source::File(path) => local(&self.read(&path).await?),
            Source::Url(url) => self.remote(&url).await,
            Source::Discover => {
                // The document is read anew at each refresh, so that a key set which moved is followed; a request that
                // waits is answered from where the keys were last. Taken: after a failure it is asked for again.
                // One that is as old as a refresh is not taken, whoever asks.
                let refresh = self.settings.refresh;
                let (url, read) = match self.key_set_url.take() {
                    Some((url, read)) if is_asked && read.elapsed() < refresh => (url, read),
                    _ => {
                        let read = Instant::now();
                        (self.discover().await?, read)
                    }
                };
                let keys = self.remote(&url).await?;
                self.key_set_url = Some((url, read));
                Ok(keys)
            }
        }
    }

    async fn remote(&self, url: &str) -> Result<Keys, String> {
        let fetched = self.get(url).await?;
        let set = KeySet::from_jwks(&fetched.body)
            .map_err(|error| format!("what `{}` answered is no key set: {error}", shown(url)))?;
        Ok((set, fetched.max_age))
    }

    async fn get(&self, url: &str) -> Result<Fetched, String> {
        let fetched = self
            .client
            .get(url, &self.settings.limits)
            .await
            .map_err(|error| error.to_string())?;
        if let Some(date) = fetched.date {
            let date = date.duration_since(UNIX_EPOCH).unwrap_or_default();
            self.issuer.note_date(&Dated {
                sent: clock::at(fetched.sent),
                received: clock::at(fetched.received),
                date: UnixTime::from(date),
                age: fetched.age,
            });
        }
        Ok(fetched)
    }

    /// The key set's URL, by OpenID Connect Discovery 1.0, section 4.
    async fn discover(&self) -> Result<String, String> {
        let issuer = &self.issuer.rules.issuer;
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let document = self.get(&url).await?.body;
        key_set_url(&url, issuer, &document)
    }

    /// Off the runtime: a disk may take its time. A file that cannot be watched is read all the same.
    async fn read(&mut self, path: &Path) -> Result<Bytes, String> {
        let begun = || Watch::new(path.to_owned(), Arc::clone(&self.changed));
        let mut watch = self.watch.take().unwrap_or_else(begun);
        let path = path.to_owned();
        let reading = tokio::task::spawn_blocking(move || {
            let unwatched = watch.renew().err();
            let document =
                read(&path).map_err(|error| format!("cannot read `{}`: {error}", path.display()));
            (watch, unwatched, document)
        });
        let (watch, unwatched, document) = reading
            .await
            .map_err(|error| format!("reading the keys was given up: {error}"))?;
        self.watch = Some(watch);
        self.issuer.note_watch(unwatched);
        document
    }
}

fn local(document: &[u8]) -> Result<Keys, String> {
    let set = KeySet::from_local_jwks(document).map_err(|error| error.to_string())?;
    Ok((set, None))
}

/// The document must speak for exactly this issuer (section 4.3), or whoever may write one page on the IdP's host could
/// speak for another of its tenants. Its other members are not used: what is accepted stands in the configuration.
fn key_set_url(url: &str, issuer: &str, document: &[u8]) -> Result<String, String> {
    let document: Value = serde_json::from_slice(document)
        .map_err(|error| format!("what `{url}` answered is not JSON: {error}"))?;
    match document.get("issuer").and_then(Value::as_str) {
        Some(said) if said == issuer => {}
        Some(said) => {
            let said: String = said.escape_default().take(200).collect();
            return Err(format!(
                "`{url}` speaks for the issuer `{said}`, not for `{issuer}`"
            ));
        }
        None => return Err(format!("`{url}` names no issuer")),
    }
    document
        .get("jwks_uri")
        .and_then(Value::as_str)
        .map(ToOwned::to_owned)
        .ok_or_else(|| format!("`{url}` names no jwks_uri"))
}

/// A regular file, no further than it may be long.
fn read(path: &Path) -> io::Result<Bytes> {
    // Before it is opened: opening a pipe waits for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut document = Vec::new();
    File::open(path)?
        .take(MAX_JWKS_BYTES as u64 + 1)
        .read_to_end(&mut document)?;
    if document.len() > MAX_JWKS_BYTES {
        let why = format!("it is larger than {MAX_JWKS_BYTES} bytes");
        return Err(io::Error::other(why));
    }
    Ok(document.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_51_a_document_speaks_for_its_own_issuer() {
        const ISSUER: &str = "https://login.test/realms/corp";
        for (document, expected) in [
            (
                r#"{"issuer":"https://login.test/realms/corp","jwks_uri":"https://keys.test/k","id_token_signing_alg_values_supported":["none"]}"#,
                Ok("https://keys.test/k"),
            ),
            (
                r#"{"issuer":"https://login.test/realms/corp/","jwks_uri":"https://keys.test/k"}"#,
                Err("speaks for the issuer `https://login.test/realms/corp/`"),
            ),
            (
                r#"{"issuer":"https://login.test/realms/evil","jwks_uri":"https://keys.test/k"}"#,
                Err("realms/evil`"),
            ),
            (
                r#"{"jwks_uri":"https://keys.test/k"}"#,
                Err("names no issuer"),
            ),
            (
                r#"{"issuer":["https://login.test/realms/corp"]}"#,
                Err("names no issuer"),
            ),
            (
                r#"{"issuer":"https://login.test/realms/corp"}"#,
                Err("names no jwks_uri"),
            ),
            (
                r#"{"issuer":"https://login.test/realms/corp","jwks_uri":7}"#,
                Err("names no jwks_uri"),
            ),
            ("<html>", Err("is not JSON")),
            ("", Err("is not JSON")),
        ] {
            let url = key_set_url("https://login.test/d", ISSUER, document.as_bytes());
            match (&url, expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url, expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                _ => panic!("{document}: {url:?}"),
            }
        }
    }

    #[test]
    fn a_file_is_regular_and_no_larger_than_it_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let write = |bytes| fs::write(&path, vec![b' '; bytes]).unwrap();
        write(MAX_JWKS_BYTES);
        assert_eq!(read(&path).unwrap().len(), MAX_JWKS_BYTES);
        write(MAX_JWKS_BYTES + 1);
        assert!(read(&path).unwrap_err().to_string().contains("larger"));
        let refused = read(folder.path()).unwrap_err();
        assert!(refused.to_string().contains("regular"), "{refused}");
        assert!(read(Path::new("/dev/zero")).is_err());
    }
}
