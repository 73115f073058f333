//! `tollgate token explain`.

pub mod page;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::json;
use tollgate_auth::token::explain::Explanation;

use super::ask::{self, Failure};
use crate::app::CHECKS;
use crate::client::Client;
use crate::cluster::Secret;
use crate::reload::Carried;
use crate::{clock, config, explain};

/// What is asked.
#[derive(clap::Args)]
pub struct Args {
    /// Explain by this configuration, without a daemon. Keys at a URL are fetched from here.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Explain by what the running daemon has: its keys, their age, its clock.
    #[arg(long, value_name = "SOCK", default_value = config::lower::DEFAULT_SOCKET)]
    admin: PathBuf,
    /// The only issuer that the token may be of; without it, any of the configuration's.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Print the explanation as JSON.
    #[arg(long)]
    json: bool,
    /// The token, or `-` to read it from standard input, where no process list shows it.
    #[arg(value_name = "TOKEN|-")]
    token: String,
}

/// Never prints the token.
impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Args")
            .field("config", &self.config)
            .field("admin", &self.admin)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// A token on a command line is at most this long; longer ones are refused everywhere.
const MAX_INPUT: u64 = 200 * 1024;

/// Explains, and prints the explanation. Whether the token is accepted.
///
/// # Errors
///
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<bool, Failure> {
    let token = input(&args.token)?;
    let explanation = match &args.config {
        Some(path) => offline(path, args.issuer.as_deref(), &token).await?,
        None => {
            let question = json!({ "token": token, "issuer": args.issuer });
            ask::daemon(&args.admin, "/explain", &question).await?
        }
    };
    ask::print(&explanation, args.json, page::render)?;
    Ok(explanation.accepted)
}

/// A token of the command line, or of standard input for `-`.
pub(super) fn input(argument: &str) -> Result<String, Failure> {
    match argument {
        "-" => read(io::stdin().lock()),
        token => Ok(token.to_owned()),
    }
}

fn read(input: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    input
        .take(MAX_INPUT + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::Missing(format!("cannot read standard input: {error}")))?;
    if text.len() as u64 > MAX_INPUT {
        let why =
            format!("standard input has more than {MAX_INPUT} bytes, and no token is that long");
        return Err(Failure::Usage(why));
    }
    Ok(text)
}

/// The daemon's own way from a file to keys, in this process, until each issuer that matters has tried once.
async fn offline(path: &Path, only: Option<&str>, token: &str) -> Result<Explanation, Failure> {
    let mut config = config::load(path, CHECKS).map_err(|all| Failure::Usage(all.to_string()))?;
    // Nothing is served, and nobody is asked who has no say.
    config.listeners.clear();
    config.upstreams.clear();
    if let Some(name) = only
        && config.issuers.iter().any(|one| *one.rules.name == *name)
    {
        config.issuers.retain(|one| *one.rules.name == *name);
    }
    let client = Client::new().map_err(|error| Failure::Missing(error.to_string()))?;
    let own = Secret::random()
        .map_err(|error| Failure::Missing(format!("the secret of this node {error}")))?;
    let mut carried = Carried::new(1, client, own);
    let issuers = carried.build(&config, clock::now()).issuers;
    for issuer in &issuers {
        issuer.tried().await;
    }
    explain::token(&issuers, only, token, explain::moment()).map_err(Failure::Usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_bounded() {
        assert_eq!(read(&b"a.b.c\n"[..]).unwrap(), "a.b.c\n");
        let most = io::repeat(b'a').take(MAX_INPUT);
        assert_eq!(read(most).unwrap().len() as u64, MAX_INPUT);
        assert!(matches!(read(io::repeat(b'a')), Err(Failure::Usage(_))));
    }
}
