//! The command line: arguments and exit codes. 0 ok, 1 refused or failed, 2 usage or configuration.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tollgate::app::CHECKS;
use tollgate::{admin, cli, clock, config, demo, kernel, reload, supervisor, telemetry};
use tollgate_datapath::footprint::Footprint;
use tollgate_datapath::model::{Deliver, Model, Service};
use tracing::Level;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Token and header sidecar for an eBPF-accelerated data path.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version = tollgate::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon. SIGTERM drains and stops, SIGHUP reloads the configuration.
    #[command(after_help = "Example:\n  tollgate run --config /etc/tollgate/tollgate.yaml")]
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take over from the daemon that runs: by the admin socket of FILE, or by the hand-over socket that is named. Where
        /// none runs this is an ordinary start.
        #[arg(long, value_name = "SOCK", num_args = 0..=1)]
        #[expect(clippy::option_option, reason = "the flag may stand alone")]
        take_over: Option<Option<PathBuf>>,
    },
    /// The process that does what wants rights; `run` starts it.
    #[command(hide = true)]
    Privileged {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Validates a configuration; every mistake at once, with its place.
    #[command(after_help = "Exit codes: 0 fine, perhaps with warnings; 2 not.\n\n\
                      Examples:\n  tollgate check /etc/tollgate/tollgate.yaml\n  tollgate check --host /etc/tollgate/tollgate.yaml")]
    Check {
        /// The configuration file.
        file: PathBuf,
        /// Look at this host too: what it lacks for the datapath, and what is in its way. As the daemon's user.
        #[arg(long)]
        host: bool,
        /// Print what was found of the host as JSON.
        #[arg(long, requires = "host")]
        json: bool,
    },
    /// Prints the JSON Schema of the configuration.
    #[command(after_help = "Example:\n  tollgate schema > tollgate.schema.json")]
    Schema,
    /// A network, an issuer and an API of its own: shows what Tollgate does.
    #[command(after_help = "Example:\n  tollgate demo --once")]
    Demo {
        /// Walk through and end, instead of staying up for curl lines to be pasted.
        #[arg(long)]
        once: bool,
    },
    /// Tokens: why one is accepted or refused, and some for tests.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Routes: which one a request takes, why no other, and what it asks and tells.
    Route {
        #[command(subcommand)]
        command: RouteCommand,
    },
    /// Flows: which backend a client's packets go to, and why.
    Flow {
        #[command(subcommand)]
        command: FlowCommand,
    },
    /// Packets at XDP, each as it came and as it leaves, into a pcapng file. Takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
    #[command(after_help = cli::capture::EXAMPLE)]
    Capture(cli::capture::Args),
    /// What the running daemon does.
    #[command(
        after_help = "Examples:\n  tollgate status --json | jq .issuers\n  tollgate status --cost 5"
    )]
    Status {
        #[command(flatten)]
        daemon: Daemon,
        /// Print everything, as JSON.
        #[arg(long)]
        json: bool,
        /// Measure for so many seconds what the datapath's programs cost, and print that alone. Takes CAP_SYS_ADMIN; meanwhile
        /// each program of this host costs some nanoseconds more.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u64).range(1..=3600))]
        cost: Option<u64>,
        /// The folder of the pins, with --cost.
        #[arg(
            long,
            value_name = "DIR",
            default_value = "/sys/fs/bpf/tollgate",
            requires = "cost"
        )]
        bpffs: PathBuf,
    },
    /// Lets the running daemon read its configuration again.
    #[command(after_help = "Example:\n  tollgate reload")]
    Reload {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Lets the binary that now stands where the running daemon was started from take over, without losing a connection.
    #[command(
        after_help = "Exit codes: 0 the new version serves; 1 it does not, and the running one goes on; 2 usage.\n\n\
                      Example:\n  install -m 755 tollgate /usr/local/bin/tollgate && tollgate upgrade"
    )]
    Upgrade {
        #[command(flatten)]
        daemon: Daemon,
        /// Print what came of it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lets the running daemon finish what it has, and end.
    #[command(after_help = "Example:\n  tollgate drain")]
    Drain {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Removes the datapath from the kernel: programs, maps, routes, neighbour entries.
    #[command(after_help = "Example:\n  tollgate down --config /etc/tollgate/tollgate.yaml")]
    Down {
        /// The configuration whose `bpffs` folder is meant.
        #[arg(long, value_name = "FILE", conflicts_with = "bpffs")]
        config: Option<PathBuf>,
        /// The folder with the pins.
        #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/tollgate")]
        bpffs: PathBuf,
    },
    /// On a backend host: takes balanced packets out of their tunnels. Attaches, prints what else is needed, and ends.
    #[command(after_help = cli::decap::EXAMPLE)]
    Decap(cli::decap::Args),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Explains a token: every check in order, with the numbers that decide.
    #[command(
        after_help = "Exit codes: 0 accepted, 1 refused, 2 not explained: usage, configuration, no daemon.\n\n\
                      Example:\n  tollgate token explain --config tollgate.yaml - < token.txt"
    )]
    Explain(cli::explain::Args),
    /// Makes a key, or a token signed with one: for tests and demos.
    #[command(after_help = cli::mint::EXAMPLE)]
    Mint(Box<cli::mint::Args>),
}

#[derive(Debug, Subcommand)]
enum RouteCommand {
    /// Explains a request: its listener and route, why the others do not take it, and with a token the whole decision.
    #[command(
        after_help = "Exit codes: 0 a route takes it, and with a token it passes; 1 refused; 2 not explained: usage, configuration,\n\
                      no daemon.\n\n\
                      Example:\n  tollgate route explain --config tollgate.yaml GET https://api.example.com/orders/7"
    )]
    Explain(cli::route::Args),
}

#[derive(Debug, Subcommand)]
enum FlowCommand {
    /// Explains a flow: its service and slot, the backend of its packets, and why that one.
    #[command(
        after_help = "Exit codes: 0 its packets arrive somewhere; 1 no service takes them, or no backend; 2 not explained: usage,\n\
                      configuration, no daemon.\n\n\
                      Example:\n  tollgate flow explain 198.51.100.7:40000 203.0.113.20:5432/tcp"
    )]
    Explain(cli::flow::Args),
    /// Prints connections as they begin, and packets that are dropped. Takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
    #[command(after_help = cli::events::EXAMPLE)]
    Watch(cli::events::Args),
}

#[derive(Debug, Args)]
struct Daemon {
    /// The daemon's admin socket.
    #[arg(long, value_name = "SOCK", default_value = config::lower::DEFAULT_SOCKET)]
    admin: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::log::start(match cli.command {
        Command::Run { .. } | Command::Privileged { .. } | Command::Demo { .. } => Level::INFO,
        // What a command says is its output; a log beside it would only be in the way.
        _ => Level::ERROR,
    });
    match cli.command {
        Command::Schema => {
            say(&format!("{:#}", config::schema()));
            ExitCode::SUCCESS
        }
        Command::Check {
            file, host: false, ..
        } => check(&file),
        Command::Check { file, json, .. } => block_on(check_host(&file, json)),
        Command::Demo { once } => demo::run(demo::Options { once }),
        Command::Run { config, take_over } => {
            // Before there is any thread: it takes variables out of the environment.
            let kept = supervisor::kept();
            match cli::run::split(&config) {
                Ok(process) => block_on(cli::run::run(&config, take_over, kept, process)),
                Err(why) => fail(1, &why),
            }
        }
        Command::Privileged { config } => cli::run::privileged(config),
        Command::Token {
            command: TokenCommand::Explain(args),
        } => block_on(explained(cli::explain::run(&args))),
        Command::Token {
            command: TokenCommand::Mint(args),
        } => mint(&args),
        Command::Route {
            command: RouteCommand::Explain(args),
        } => block_on(explained(cli::route::run(&args))),
        Command::Flow {
            command: FlowCommand::Explain(args),
        } => block_on(explained(cli::flow::run(&args))),
        Command::Flow {
            command: FlowCommand::Watch(args),
        } => block_on(watched(cli::events::run(&args))),
        Command::Capture(args) => block_on(watched(cli::capture::run(&args))),
        Command::Status {
            json,
            cost: Some(seconds),
            bpffs,
            ..
        } => block_on(cost(&bpffs, seconds, json)),
        Command::Status { daemon, json, .. } => block_on(status(&daemon.admin, json)),
        Command::Reload { daemon } => block_on(tell(&daemon.admin, "/reload", "reloaded")),
        Command::Upgrade { daemon, json } => block_on(upgrade(&daemon.admin, json)),
        Command::Drain { daemon } => block_on(tell(&daemon.admin, "/drain", "draining")),
        Command::Down { config, bpffs } => down(config.as_deref(), bpffs),
        Command::Decap(args) => block_on(decap(args)),
    }
}

/// The runtime of everything that serves no request.
fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A name that is being looked up, or a disk that does not answer, is not waited for.
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(1, &format!("cannot start a runtime: {error}")),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("tollgate: {message}");
    ExitCode::from(code)
}

/// To standard output; whoever closed it (`| head`) has seen enough.
fn say(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush()).is_ok();
}

fn check(path: &Path) -> ExitCode {
    match config::load(path, CHECKS) {
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::from(2)
        }
        Ok(config) => {
            let mut text = format!(
                "{}: fine. {} listener(s), {} route(s), {} issuer(s), {} upstream(s), {} service(s)\n\
                 headers that clients cannot send, in any spelling:",
                path.display(),
                config.listeners.len(),
                config
                    .listeners
                    .iter()
                    .map(|one| one.routes.len())
                    .sum::<usize>(),
                config.issuers.len(),
                config.upstreams.len(),
                config
                    .datapath
                    .as_ref()
                    .map_or(0, |datapath| datapath.model.services.len()),
            );
            for name in reload::managed(&config).names() {
                text.push_str("\n  ");
                text.push_str(name);
            }
            text.push_str("\nlisteners:");
            for one in &config.listeners {
                let scheme = if one.tls.is_some() { "https" } else { "http" };
                let public = one
                    .routes
                    .iter()
                    .filter(|route| route.token.is_none())
                    .count();
                text.push_str(&format!(
                    "\n  {} ({scheme} on {}): {} route(s), {public} public",
                    one.name,
                    one.address,
                    one.routes.len(),
                ));
            }
            if let Some(datapath) = &config.datapath {
                text.push_str(&memory(&Footprint::of(&datapath.model)));
                text.push_str(&tunnels(&datapath.model));
            }
            say(&text);
            ExitCode::SUCCESS
        }
    }
}

/// What the datapath takes of the kernel's memory, and of its capacities.
fn memory(footprint: &Footprint) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / MIB);
    let mut text = format!(
        "\ndatapath: {} for tables, {} for fragments, {} a CPU for counters; up to {} for pins of flows while slots move\n  \
         slots {} of {}, backends {} of {}",
        mib(footprint.tables),
        mib(footprint.fragments),
        mib(footprint.counters),
        mib(footprint.pins),
        footprint.slots,
        footprint.most_slots,
        footprint.backends,
        footprint.most_backends,
    );
    if footprint.translations > 0 {
        let most = mib(footprint.translations);
        text.push_str(&format!("\n  up to {most} for translations"));
    }
    for one in &footprint.services {
        let (slots, bytes) = (one.slots, one.bytes as f64 / 1024.0);
        text.push_str(&format!("\n  {}: {slots} slots, {bytes:.0} KiB", one.name));
    }
    text
}

/// What backends are to be told of tunnels, where there are any.
fn tunnels(model: &Model) -> String {
    let is_tunnelled = |one: &Service| matches!(one.deliver, Deliver::Ipip(_) | Deliver::Gue(_));
    if !model.services.iter().any(is_tunnelled) {
        return String::new();
    }
    let ([v4, v6], port) = (model.tunnel.sources(), model.tunnel.gue_port());
    format!("\n  tunnels come from {v4} and {v6}; gue goes to UDP port {port}")
}

async fn status(socket: &Path, json: bool) -> ExitCode {
    match admin::client::ask(socket, http::Method::GET, "/status").await {
        Err(error) => fail(1, &error.to_string()),
        Ok((_, status)) if json => {
            say(&format!("{status:#}"));
            ExitCode::SUCCESS
        }
        Ok((_, status)) => {
            say(cli::status::summary(&status).trim_end());
            ExitCode::SUCCESS
        }
    }
}

async fn cost(bpffs: &Path, seconds: u64, json: bool) -> ExitCode {
    let time = std::time::Duration::from_secs(seconds);
    match tollgate_datapath::cost::measure(bpffs, time).await {
        Ok(costs) if json => {
            say(&format!("{:#}", serde_json::json!(costs)));
            ExitCode::SUCCESS
        }
        Ok(costs) => {
            say(cli::status::costs(&costs).trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => fail(1, &kernel::told(&error)),
    }
}

async fn check_host(path: &Path, json: bool) -> ExitCode {
    match cli::host::run(path, json).await {
        Ok((text, fine)) => {
            say(text.trim_end());
            if fine {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            }
        }
        Err(failure @ cli::Failure::Usage(_)) => fail(2, &failure.to_string()),
        Err(failure) => fail(1, &failure.to_string()),
    }
}

async fn explained(verdict: impl Future<Output = Result<bool, cli::Failure>>) -> ExitCode {
    match verdict.await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // 1 says that the token or the request is refused, and nothing else does.
        Err(failure) => fail(2, &failure.to_string()),
    }
}

async fn watched(end: impl Future<Output = Result<String, cli::Failure>>) -> ExitCode {
    match end.await {
        Ok(text) => {
            eprintln!("tollgate: {text}");
            ExitCode::SUCCESS
        }
        Err(failure @ cli::Failure::Usage(_)) => fail(2, &failure.to_string()),
        Err(failure) => fail(1, &failure.to_string()),
    }
}

fn mint(args: &cli::mint::Args) -> ExitCode {
    match cli::mint::run(args, clock::now().as_secs()) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => fail(error.code(), &error.to_string()),
    }
}

async fn decap(args: cli::decap::Args) -> ExitCode {
    match cli::decap::run(&args).await {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => fail(cli::decap::code(&error), &kernel::told(&error)),
    }
}

async fn upgrade(socket: &Path, json: bool) -> ExitCode {
    match admin::client::ask(socket, http::Method::POST, "/upgrade").await {
        Err(error) => fail(1, &error.to_string()),
        Ok((status, answer)) if json => {
            say(&format!("{answer:#}"));
            ExitCode::from(u8::from(!status.is_success()))
        }
        Ok((status, answer)) if status.is_success() => {
            let word = |key: &str| answer[key].as_str().unwrap_or("?").to_owned();
            let (from, to, pid) = (word("from"), word("to"), &answer["pid"]);
            say(&format!("{from} \u{2192} {to}, process {pid}"));
            ExitCode::SUCCESS
        }
        Ok((_, answer)) => {
            let why = answer["error"].as_str().unwrap_or("no reason was given");
            fail(
                1,
                &format!("not upgraded, the running daemon goes on: {why}"),
            )
        }
    }
}

async fn tell(socket: &Path, path: &str, done: &str) -> ExitCode {
    match admin::client::ask(socket, http::Method::POST, path).await {
        Err(error) => fail(1, &error.to_string()),
        Ok((status, _)) if status.is_success() => {
            say(done);
            ExitCode::SUCCESS
        }
        Ok((status, answer)) => {
            let why = answer["error"]
                .as_str()
                .map_or_else(|| answer.to_string(), ToOwned::to_owned);
            fail(1, &format!("refused ({status}):\n{why}"))
        }
    }
}

fn down(config: Option<&Path>, bpffs: PathBuf) -> ExitCode {
    let bpffs = match config {
        None => bpffs,
        Some(path) => match config::load(path, CHECKS) {
            Err(mistakes) => return fail(2, &mistakes.to_string()),
            Ok(config) => match config.datapath {
                Some(datapath) => datapath.attach.bpffs,
                None => return fail(1, &format!("{} configures no datapath", path.display())),
            },
        },
    };
    block_on(async move {
        match tollgate_datapath::down(&bpffs).await {
            Ok(removed) => {
                say(&format!(
                    "removed {} pin(s) and {} route(s), address(es) or proxy entries",
                    removed.pins, removed.routes
                ));
                ExitCode::SUCCESS
            }
            Err(error) => fail(1, &kernel::told(&error)),
        }
    })
}
