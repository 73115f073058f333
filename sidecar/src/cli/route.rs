//! `tollgate route explain`.

pub mod page;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::ask::{self, Failure};
use super::explain::input;
use crate::app::{CHECKS, place};
use crate::client::Client;
use crate::cluster::Secret;
use crate::explain::{RouteExplanation, RouteQuestion, moment, route};
use crate::reload::Carried;
use crate::{clock, config};

/// What is asked.
#[derive(clap::Args)]
pub struct Args {
    /// Explain by this configuration, without a daemon. With a token, keys at a URL are fetched from here.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Explain by what the running daemon has.
    #[arg(long, value_name = "SOCK", default_value = config::lower::DEFAULT_SOCKET)]
    admin: PathBuf,
    /// The listener that the request reaches, where the URL does not tell.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// A header of the request; may be repeated. With one, the whole decision is explained.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A token, put where the route looks first, or `-` to read it from standard input. With it, the whole decision is
    /// explained.
    #[arg(long, value_name = "TOKEN|-")]
    token: Option<String>,
    /// Where the request comes from, for routes whose `expr` asks. With it, the whole decision is explained.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// Print the explanation as JSON.
    #[arg(long)]
    json: bool,
    /// The method, upper-case.
    #[arg(value_name = "METHOD")]
    method: String,
    /// The URL that a client asks for, or its path alone.
    #[arg(value_name = "URL")]
    url: String,
}

/// Never prints what may be a credential.
impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Args")
            .field("config", &self.config)
            .field("admin", &self.admin)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text
        .split_once(':')
        .ok_or("a header is written `Name: value`")?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// Explains, and prints the explanation. Whether the request passes.
///
/// # Errors
///
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<bool, Failure> {
    let question = RouteQuestion {
        method: args.method.clone(),
        url: args.url.clone(),
        listener: args.listener.clone(),
        headers: args.headers.clone(),
        token: args.token.as_deref().map(input).transpose()?,
        from: args.from,
    };
    let explanation = match &args.config {
        Some(path) => offline(path, &question).await?,
        None => ask::daemon(&args.admin, "/explain/route", &question).await?,
    };
    ask::print(&explanation, args.json, page::render)?;
    Ok(explanation.passes)
}

/// The daemon's own way from a file to routes, in this process; to keys only where there are credentials to verify.
async fn offline(path: &Path, question: &RouteQuestion) -> Result<RouteExplanation, Failure> {
    let config = config::load(path, CHECKS).map_err(|all| Failure::Usage(all.to_string()))?;
    let places = place::places(&config, |listener| listener.address);
    let client = Client::new().map_err(|error| Failure::Missing(error.to_string()))?;
    let own = Secret::random()
        .map_err(|error| Failure::Missing(format!("the secret of this node {error}")))?;
    let mut carried = Carried::new(1, client, own);
    let snapshot = carried.build(&config, clock::now());
    if question.brings_credentials() {
        for issuer in &snapshot.issuers {
            issuer.tried().await;
        }
    }
    route(&snapshot, &places, question, moment()).map_err(Failure::Usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_split_at_the_first_colon() {
        let split = |text: &str| header(text).unwrap();
        assert_eq!(split("x-a: b:c "), ("x-a".to_owned(), "b:c".to_owned()));
        assert_eq!(split("x-a:"), ("x-a".to_owned(), String::new()));
        assert!(header("x-a").is_err());
    }
}
