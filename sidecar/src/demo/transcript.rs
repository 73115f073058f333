//! What the demo prints.

use std::io::{self, Write as _};

use super::curl::Reply;

/// Prints. Whoever closed the pipe (`| head`) has seen enough: the demo goes on, and its exit code still tells.
pub(super) fn say(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Prints steps and counts them.
#[derive(Default)]
pub(super) struct Transcript {
    steps: usize,
    failed: usize,
}

impl Transcript {
    pub(super) fn request(
        &mut self,
        title: &str,
        sent: &str,
        reply: io::Result<Reply>,
        as_stated: impl FnOnce(&Reply) -> bool,
    ) {
        match reply {
            Ok(reply) => self.step(title, sent, &summary(&reply), as_stated(&reply)),
            Err(error) => self.step(title, sent, &error.to_string(), false),
        }
    }

    pub(super) fn broken(&mut self, title: &str, error: &dyn std::error::Error) {
        self.step(title, "-", &error.to_string(), false);
    }

    pub(super) fn step(&mut self, title: &str, sent: &str, back: &str, as_stated: bool) {
        self.steps += 1;
        self.failed += usize::from(!as_stated);
        let mark = if as_stated { '✓' } else { '✗' };
        say(&format!(
            "  {mark} {title}\n      sent  {sent}\n      back  {back}\n"
        ));
    }

    /// The last line; on failure the daemon's log before it.
    pub(super) fn close(self, log: impl FnOnce() -> String) -> bool {
        let Self { steps, failed } = self;
        say(&if failed == 0 {
            format!("\nAll {steps} steps went as stated; nothing is left behind.\n")
        } else {
            format!(
                "\n{}\n\n{failed} of {steps} steps did not go as stated.\n",
                log()
            )
        });
        failed == 0
    }
}

/// What came back, in a line: the status, and what the API saw or why it was refused.
fn summary(reply: &Reply) -> String {
    let body = reply.json();
    let rest = if let Some(reason) = body["reason"].as_str() {
        let challenge = reply
            .field("www-authenticate")
            .unwrap_or("no WWW-Authenticate");
        format!("{reason}; {challenge}")
    } else if let Some(backend) = body["backend"].as_str() {
        let identity: Vec<String> = ["x-user-id", "x_user_id", "x.user.id", "x-user-groups"]
            .iter()
            .flat_map(|name| {
                saw(reply, name)
                    .into_iter()
                    .map(move |value| format!("{name}: {value}"))
            })
            .collect();
        match identity.as_slice() {
            [] => format!("{backend} saw no identity header"),
            some => format!("{backend} saw {}", some.join(", ")),
        }
    } else {
        reply.body.trim().to_owned()
    };
    format!("{} {}, {rest}", reply.version, reply.status)
}

/// The values of a field as the echo API saw them.
pub(super) fn saw(reply: &Reply, name: &str) -> Vec<String> {
    let echoed = reply.json();
    let headers = echoed["headers"].as_array().cloned().unwrap_or_default();
    headers
        .iter()
        .filter(|header| header[0] == name)
        .filter_map(|header| header[1].as_str().map(str::to_owned))
        .collect()
}

/// Whether the echo API saw a value nowhere, under no name.
pub(super) fn no_value(reply: &Reply, value: &str) -> bool {
    let echoed = reply.json();
    let headers = echoed["headers"].as_array();
    headers.is_some_and(|headers| headers.iter().all(|header| header[1] != value))
}
