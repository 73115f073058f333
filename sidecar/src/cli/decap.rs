//! `tollgate decap`.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use tollgate_datapath::decap::{
    self, BPFFS, Config, DEFAULT_GUE_PORT, DecapError, How, Mode, Report, Status,
};
use tollgate_datapath::prefix::Prefix;

/// Examples for `--help`.
pub const EXAMPLE: &str = "\
Exit codes: 0 done, 1 refused by the system, 2 usage.

Examples:
  tollgate decap --interface eth0 --vip 203.0.113.10 --vip 2001:db8:113::10
  tollgate decap --interface eth0 --vip 203.0.113.0/24 --to 10.0.0.21 --from 172.16.0.0/16 --mode tc
  tollgate decap --status
  tollgate decap --down";

/// What is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The interface that the balancers' packets arrive on; with --status or --down one of them, else all are meant.
    #[arg(long, value_name = "IF", required_unless_present_any = ["down", "status"])]
    interface: Option<String>,
    /// An address that services have, or a prefix of them; may be repeated. Packets to any other stay in their tunnel.
    #[arg(long = "vip", value_name = "ADDRESS|PREFIX", required_unless_present_any = ["down", "status"])]
    vips: Vec<Prefix>,
    /// An address of this host that balancers have as a backend, in place of all that it has now; may be repeated. Tunnels
    /// to any other pass as they came.
    #[arg(long = "to", value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// Where tunnels may come from, in place of 172.16.0.0/16 and 100::/64, which balancers send from; may be repeated.
    #[arg(long = "from", value_name = "PREFIX")]
    sources: Vec<Prefix>,
    /// Which program is attached.
    #[arg(long, value_enum, default_value = "auto")]
    mode: ModeArg,
    /// The UDP port of GUE.
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_GUE_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    gue_port: u16,
    /// The folder of the pins, on a BPF file system.
    #[arg(long, value_name = "DIR", default_value = BPFFS)]
    bpffs: PathBuf,
    /// Remove what was attached.
    #[arg(long, conflicts_with_all = ["vips", "addresses", "sources", "mode", "gue_port", "status"])]
    down: bool,
    /// Print what is attached, and the packets that it met.
    #[arg(long, conflicts_with_all = ["vips", "addresses", "sources", "mode", "gue_port"])]
    status: bool,
    /// Print the status as JSON.
    #[arg(long, requires = "status")]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// What is attached already, else XDP where the driver takes it, else TC.
    Auto,
    /// XDP, in the driver.
    Xdp,
    /// TC, by tcx (Linux 6.6), by a classic filter before that.
    Tc,
    /// TC, by a classic filter.
    Clsact,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Auto => Self::Auto,
            ModeArg::Xdp => Self::Xdp,
            ModeArg::Tc => Self::Tc,
            ModeArg::Clsact => Self::Clsact,
        }
    }
}

/// Does it; what to tell.
///
/// # Errors
/// See [`DecapError`].
pub async fn run(args: &Args) -> Result<String, DecapError> {
    let interface = args.interface.as_deref();
    if args.status {
        let found = decap::status(&args.bpffs, interface).await?;
        return Ok(if args.json {
            format!("{:#}", serde_json::json!(found))
        } else {
            table(&found)
        });
    }
    if args.down {
        let removed = decap::down(&args.bpffs, interface).await?;
        return Ok(match removed[..] {
            [] => format!("nothing is attached by way of {}", args.bpffs.display()),
            _ => format!(
                "no packet is decapsulated any more on {}",
                removed.join(", ")
            ),
        });
    }
    let addresses = if args.addresses.is_empty() {
        decap::own_addresses(&args.vips).await?
    } else {
        args.addresses.clone()
    };
    let config = Config {
        addresses,
        interface: interface.unwrap_or_default().to_owned(),
        mode: args.mode.into(),
        vips: args.vips.clone(),
        sources: if args.sources.is_empty() {
            decap::default_sources()
        } else {
            args.sources.clone()
        },
        gue_port: args.gue_port,
        bpffs: args.bpffs.clone(),
    };
    let report = decap::up(&config).await?;
    Ok(done(&config, &report))
}

/// The exit code of a refusal: what the arguments alone show is usage.
#[must_use]
pub const fn code(error: &DecapError) -> u8 {
    match error {
        DecapError::NoVips
        | DecapError::WideVip(_)
        | DecapError::Vip(..)
        | DecapError::TooMany(..)
        | DecapError::Address(..) => 2,
        _ => 1,
    }
}

fn done(config: &Config, report: &Report) -> String {
    let Config {
        interface,
        vips,
        addresses,
        sources,
        gue_port,
        ..
    } = config;
    let mut text = format!(
        "{interface}: packets in IP in IP, or GUE to UDP port {gue_port}, are decapsulated by {}: {}.{}\n  for  {}\n  to   {}\n  from {}\n",
        words(report.how),
        report.why,
        if report.replaced {
            " The configuration before is replaced."
        } else {
            ""
        },
        list(vips),
        list(addresses),
        list(sources),
    );
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "It stays when this process ends, until `tollgate decap --down` or a reboot.\n\nWhat else this host needs:\n"
    );
    for vip in vips {
        let (family, table) = if vip.address().is_ipv4() {
            ("", "")
        } else {
            ("-6 ", " nodad")
        };
        let _ = match vip.to_string().contains('/') {
            false => writeln!(
                text,
                "  ip {family}address add {} dev lo{table}",
                host(*vip)
            ),
            true => writeln!(text, "  ip {family}route add local {vip} dev lo"),
        };
    }
    if vips.iter().any(|vip| vip.address().is_ipv4()) {
        let _ = write!(
            text,
            "  sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2\n  sysctl -w net.ipv4.conf.all.rp_filter=2   # where the way back to clients is not by {interface}\n",
        );
    }
    let _ = write!(
        text,
        "`tollgate decap --status` counts what arrives; docs/decap.md says more."
    );
    text
}

fn host(vip: Prefix) -> String {
    format!("{}/{}", vip.address(), vip.bits())
}

fn list<T: ToString>(all: &[T]) -> String {
    let each: Vec<String> = all.iter().map(T::to_string).collect();
    each.join(", ")
}

const fn words(how: How) -> &'static str {
    match how {
        How::Xdp => "XDP in the driver",
        How::Tcx => "a TC program (tcx)",
        How::Clsact => "a TC program (a filter of the clsact qdisc)",
    }
}

/// A screen for a person; `--json` says the same.
fn table(found: &[Status]) -> String {
    if found.is_empty() {
        return "nothing is attached".to_owned();
    }
    let mut text = String::new();
    for one in found {
        let how = one.attached.map_or("nothing", words);
        let _ = writeln!(text, "{}  {how}, GUE port {}", one.interface, one.gue_port);
        if let Some(why) = &one.detached {
            let _ = writeln!(
                text,
                "  no packet reaches it: {why}; run `tollgate decap --interface {} …` again",
                one.interface
            );
        }
        let _ = writeln!(
            text,
            "  for  {}\n  to   {}\n  from {}",
            list(&one.vips),
            list(&one.addresses),
            list(&one.sources)
        );
        for (word, packets) in &one.packets {
            let _ = writeln!(text, "  {word:<20} {packets}");
        }
    }
    text.trim_end().to_owned()
}
