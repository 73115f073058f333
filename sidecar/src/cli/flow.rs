//! `tollgate flow explain`.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use tollgate_datapath::explain::{Answer, by_model};
use tollgate_datapath::model::{Proto, Vip};
use tollgate_datapath::{FlowExplanation, FlowQuestion};

use super::ask::{self, Failure};
use super::paper::{BAD, FAINT, GOOD, INDENT, notes, wrapped};
use crate::app::CHECKS;
use crate::config;

/// What is asked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Explain by this configuration, without a daemon: as a node would that never had another one.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Explain by the running daemon's tables and pins.
    #[arg(long, value_name = "SOCK", default_value = config::lower::DEFAULT_SOCKET)]
    admin: PathBuf,
    /// Print the explanation as JSON.
    #[arg(long)]
    json: bool,
    /// The client, such as `198.51.100.7:40000` or `[2001:db8::7]:40000`.
    #[arg(value_name = "CLIENT:PORT")]
    client: SocketAddr,
    /// What it sends to, such as `203.0.113.20:5432/tcp`.
    #[arg(value_name = "VIP:PORT/PROTO", value_parser = destination)]
    destination: (SocketAddr, Proto),
}

fn destination(text: &str) -> Result<(SocketAddr, Proto), String> {
    let vip: Vip = text.parse().map_err(|error| format!("{error}"))?;
    if !vip.is_one() || vip.port == 0 {
        return Err("a packet goes to one address and one port; name both".to_owned());
    }
    Ok((SocketAddr::new(vip.ip, vip.port), vip.proto))
}

/// Explains, and prints the explanation. Whether the flow's packets arrive somewhere.
///
/// # Errors
///
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<bool, Failure> {
    let (destination, proto) = args.destination;
    let question = FlowQuestion {
        client: args.client,
        destination,
        udp: proto == Proto::Udp,
    };
    let explanation = match &args.config {
        Some(path) => {
            let config =
                config::load(path, CHECKS).map_err(|all| Failure::Usage(all.to_string()))?;
            let datapath = config
                .datapath
                .ok_or_else(|| Failure::Usage(format!("{} has no `datapath`", path.display())))?;
            by_model(&datapath.model, &question).map_err(Failure::Usage)?
        }
        None => ask::daemon(&args.admin, "/explain/flow", &question).await?,
    };
    ask::print(&explanation, args.json, render)?;
    let arrives = |answer: &Answer| answer.backend.is_some();
    Ok(explanation.listener.is_some() || explanation.answers.iter().any(arrives))
}

/// The whole page, with colours.
fn render(explanation: &FlowExplanation) -> String {
    let mut page = String::new();
    // Writing into a String cannot fail.
    let _ = write(&mut page, explanation).is_ok();
    page
}

fn write(page: &mut String, explanation: &FlowExplanation) -> fmt::Result {
    let FlowExplanation {
        flow,
        service,
        vip,
        deliver,
        listener,
        slot,
        answers,
        ..
    } = explanation;
    match (service, listener) {
        (None, _) => writeln!(page, "{BAD}taken by no service{BAD:#}")?,
        (Some(service), Some(listener)) => {
            writeln!(
                page,
                "{GOOD}taken by {service}, for the listener {listener}{GOOD:#}"
            )?;
        }
        (Some(service), None) => writeln!(page, "{GOOD}taken by {service}{GOOD:#}")?,
    }
    writeln!(page, "{FAINT}{flow}{FAINT:#}\n")?;
    let mut row = |name: &str, text: &str| {
        write!(page, "    {name:<12}")?;
        wrapped(page, INDENT, text)
    };
    if let (Some(vip), Some(deliver)) = (vip, deliver) {
        row("service", &format!("{vip} by {deliver}"))?;
    }
    if let Some(slot) = slot {
        let shown = |ip: &Option<std::net::IpAddr>| match ip {
            Some(ip) => ip.to_string(),
            None => "nobody".to_owned(),
        };
        let mut text = format!("{} of {}", slot.number, slot.of);
        if slot.moving {
            let (current, stable) = (shown(&slot.current), shown(&slot.stable));
            text.push_str(&format!(", moving from {stable} to {current}"));
        }
        row("slot", &text)?;
    }
    for answer in answers {
        writeln!(page)?;
        match answer.backend {
            Some(backend) => writeln!(page, "  {GOOD}→{GOOD:#} {}: {backend}", answer.packets)?,
            None => writeln!(page, "  {BAD}✗{BAD:#} {}: dropped", answer.packets)?,
        }
        write!(page, "    {:<12}", answer.reason)?;
        wrapped(page, INDENT, &answer.says)?;
    }
    notes(page, &explanation.notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_and_one_port_are_asked_for() {
        assert!(destination("203.0.113.20:5432/tcp").is_ok());
        for text in [
            "203.0.113.0/24:80/tcp",
            "203.0.113.20:*/udp",
            "203.0.113.20:80",
        ] {
            assert!(destination(text).is_err(), "{text}");
        }
    }
}
