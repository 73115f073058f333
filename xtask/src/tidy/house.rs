//! The house's rules as data. ARCHITECTURE.md says why; whoever adds a room adds its line here.

/// A room of the shell (`sidecar/src/NAME.rs` with `sidecar/src/NAME/`) and what of ours it may import: other rooms,
/// single files of them (`upstream::endpoint`), our crates and single modules of those.
pub(super) struct Room {
    pub(super) name: &'static str,
    pub(super) may: &'static [&'static str],
}

/// Who may import whom in the shell; all else is forbidden. What goes the other way goes as messages through channels
/// that `app` makes.
pub(super) const ROOMS: &[Room] = &[
    room(
        "downstream",
        &[
            "proxy",
            "telemetry",
            "drain",
            "body",
            // Where a request enters, its time is taken; all below are handed it.
            "clock",
            "tollgate_auth::time",
            "tollgate_http",
        ],
    ),
    room(
        "proxy",
        &[
            "snapshot",
            "upstream",
            "telemetry",
            "limit",
            "revocation",
            "body",
            // A record is dated.
            "clock",
            "tollgate_auth",
            "tollgate_http",
        ],
    ),
    room(
        "upstream",
        &[
            "client",
            "telemetry",
            "body",
            // What an upstream is told of clients is a matter of its configuration.
            "tollgate_auth::header::forwarded",
            "tollgate_http",
        ],
    ),
    room("snapshot", &["upstream", "cluster", "tollgate_auth"]),
    // Keys that nodes derive from one secret: of assertions; later of tickets and nonces.
    room(
        "cluster",
        &["tollgate_auth::header::assertion", "tollgate_auth::time"],
    ),
    // It turns what the file means into what a request sees, and therefore touches whatever a snapshot is made of.
    room(
        "reload",
        &[
            "config",
            "snapshot",
            "jwks",
            "client",
            "cluster",
            "upstream",
            "kernel",
            "tollgate_auth",
            // How long a field name may be: trailers are held to it as fields are.
            "tollgate_http::fields",
            "tollgate_datapath",
        ],
    ),
    // The datapath, told by messages, from whichever process.
    room("kernel", &["tollgate_datapath"]),
    // The process that does what wants rights, and the other end of it.
    room(
        "privileged",
        &[
            "kernel",
            "bind",
            "wire",
            // Signals are for the process that serves.
            "supervisor::signals",
        ],
    ),
    room("bind", &[]),
    room("wire", &[]),
    // Checks of backends and endpoints; who goes by them is told through a channel.
    room("health", &["client", "clock"]),
    room(
        "config",
        &[
            "upstream::endpoint",
            // How members are checked.
            "health::settings",
            // A secret as it was read.
            "cluster",
            "tollgate_auth",
            "tollgate_http",
            "tollgate_datapath::model",
            "tollgate_datapath::prefix",
            // The datapath's own settings, which the file is lowered into.
            "tollgate_datapath::Announce",
            "tollgate_datapath::Config",
            "tollgate_datapath::XdpMode",
        ],
    ),
    room("jwks", &["snapshot", "client", "clock", "tollgate_auth"]),
    room(
        "admin",
        &[
            "snapshot",
            // How its public keys are published.
            "cluster",
            // What may be asked.
            "explain",
            "drain",
            "local",
            "telemetry",
            "body",
            "tollgate_datapath::Status",
            "tollgate_datapath::FlowQuestion",
            "tollgate_datapath::stats",
        ],
    ),
    // What the daemon answers and the command line shows.
    room(
        "explain",
        &[
            "snapshot",
            "clock",
            // Whom a certificate is for.
            "proxy::connection",
            "proxy::preflight",
            "upstream::endpoint",
            "tollgate_auth",
            "tollgate_http",
        ],
    ),
    room("body", &[]),
    room("client", &[]),
    // UnixTime, which auth compares tokens with.
    room("clock", &["tollgate_auth::time"]),
    room("drain", &[]),
    // Sockets from one daemon to the next; the app says what for.
    room("handover", &["wire"]),
    room("local", &[]),
    room("supervisor", &[]),
    // Private keys, for whoever makes tokens: the demo and `token mint`. A request never comes here.
    room("signing", &["tollgate_auth::token"]),
    room("telemetry", &[]),
    // Its networks load a datapath of their own where a peer must answer in XDP.
    room(
        "demo",
        &[
            "signing",
            "tollgate_auth",
            "tollgate_http",
            "tollgate_datapath",
        ],
    ),
];

/// What stands above the rooms and may know them all.
pub(super) const ABOVE_ROOMS: &[&str] = &["lib", "main", "app", "cli"];

/// One of our crates: the folder of its manifest and what of ours it may depend on, in any section.
pub(super) struct Crate {
    pub(super) name: &'static str,
    pub(super) folder: &'static str,
    pub(super) may: &'static [&'static str],
    /// Cores without I/O, clock or runtime.
    pub(super) pure: bool,
}

pub(super) const CRATES: &[Crate] = &[
    package("tollgate-common", "common", &[], true),
    package("tollgate-ebpf", "ebpf", &["tollgate-common"], true),
    // What build scripts call.
    package("tollgate-ebpf-build", "ebpf/build", &[], false),
    package("tollgate-http", "sidecar/http", &[], true),
    package("tollgate-auth", "sidecar/auth", &["tollgate-http"], true),
    // The kernel side is a build dependency: its object is embedded.
    package(
        "tollgate-datapath",
        "sidecar/datapath",
        &["tollgate-common", "tollgate-ebpf", "tollgate-ebpf-build"],
        false,
    ),
    package(
        "tollgate",
        "sidecar",
        &["tollgate-auth", "tollgate-datapath", "tollgate-http"],
        false,
    ),
    package(
        "tollgate-tests",
        "tests",
        &[
            "tollgate",
            "tollgate-auth",
            "tollgate-common",
            "tollgate-datapath",
            "tollgate-ebpf",
            "tollgate-http",
        ],
        false,
    ),
    package(
        "tollgate-benches",
        "benches",
        &[
            "tollgate",
            "tollgate-auth",
            "tollgate-common",
            "tollgate-datapath",
            "tollgate-http",
            "tollgate-tests",
        ],
        false,
    ),
    package(
        "tollgate-bench-l4",
        "benches/l4",
        &[
            "tollgate",
            "tollgate-bench-ebpf",
            "tollgate-common",
            "tollgate-datapath",
            "tollgate-ebpf-build",
            "tollgate-tests",
        ],
        false,
    ),
    // What it loads beside the product's program.
    package("tollgate-bench-ebpf", "benches/l4/ebpf", &[], true),
    package("xtask", "xtask", &[], false),
];

/// What a pure crate never depends on: whoever has none of these has no socket, no runtime and no clock of its own.
pub(super) const IMPURE: &[&str] = &[
    "h2",
    "hyper",
    "hyper-util",
    "mio",
    "nix",
    "opentelemetry",
    "opentelemetry_sdk",
    "reqwest",
    "rtnetlink",
    "rustls",
    "socket2",
    "tokio",
    "tokio-rustls",
    "tracing-opentelemetry",
];

/// Crates that only certain places may name. `within` narrows the rule to a part of the tree; "" is the whole of it.
pub(super) struct Confined {
    pub(super) crates: &'static [&'static str],
    pub(super) within: &'static str,
    pub(super) to: &'static [&'static str],
    pub(super) cure: &'static str,
}

/// Where the file is read: what it says (raw), with places (node), as a tree (tree).
const CONFIG_EDGE: &[&str] = &[
    "sidecar/src/config/node",
    "sidecar/src/config/raw",
    "sidecar/src/config/tree",
];

pub(super) const CONFINED: &[Confined] = &[
    Confined {
        crates: &["aya", "aya_build", "aya_ebpf", "aya_obj"],
        within: "",
        to: &["benches/l4", "common", "ebpf", "sidecar/datapath", "tests"],
        cure: "only the datapath crate knows aya: give it a typed function for this",
    },
    Confined {
        crates: &["rustls", "tokio_rustls"],
        within: "sidecar",
        to: &[
            "sidecar/src/downstream/tls",
            "sidecar/src/upstream/connect",
            "sidecar/src/client",
            "sidecar/src/demo",
        ],
        cure: "rustls stands in downstream/tls, upstream/connect, client and demo: name its types through those",
    },
    Confined {
        crates: &["h2", "hyper", "hyper_util"],
        within: "sidecar",
        to: &[
            "sidecar/src/admin",
            "sidecar/src/body",
            "sidecar/src/client",
            "sidecar/src/demo",
            "sidecar/src/downstream",
            "sidecar/src/health",
            "sidecar/src/upstream",
        ],
        cure: "hyper and h2 stand at the edges (downstream, upstream, client, health, admin, body, demo): speak tollgate_http or http",
    },
    Confined {
        crates: &["serde"],
        within: "sidecar/src/config",
        to: CONFIG_EDGE,
        cure: "serde never leaves config's edge (raw, node, tree): raw holds what the file says, the model what it means",
    },
    Confined {
        crates: &["serde_saphyr"],
        within: "",
        to: CONFIG_EDGE,
        cure: "YAML is read at config's edge alone (raw, node, tree)",
    },
];

/// Where `unsafe` may stand, each block with its SAFETY line (clippy holds that part).
pub(super) const UNSAFE_ALLOWED: &[&str] = &[
    "benches/l4/ebpf/src",
    "common/src/pod",
    "ebpf/src/hooks",
    "ebpf/src/maps",
    "ebpf/src/packet",
    "ebpf/src/skb",
    "sidecar/datapath/src/maps",
];

/// Crate roots and the lint line each must carry.
pub(super) const UNSAFE_LINTS: &[(&str, &str)] = &[
    ("sidecar/auth/src/lib.rs", "forbid"),
    ("sidecar/datapath/src/lib.rs", "deny"),
    ("sidecar/http/src/lib.rs", "forbid"),
    ("sidecar/src/lib.rs", "forbid"),
    ("sidecar/src/main.rs", "forbid"),
];

/// Crates that are handed the time.
pub(super) const CLOCKLESS: &[&str] = &["common", "ebpf", "sidecar/auth", "sidecar/http"];

/// A file this long is asked about; past `LONGEST_FILE` it is refused.
pub(super) const LONG_FILE: usize = 400;
pub(super) const LONGEST_FILE: usize = 600;

/// Folders at the root that hold Rust of ours.
pub(super) const SOURCES: &[&str] = &[
    "benches", "common", "ebpf", "fuzz", "sidecar", "tests", "xtask",
];

const fn room(name: &'static str, may: &'static [&'static str]) -> Room {
    Room { name, may }
}

const fn package(
    name: &'static str,
    folder: &'static str,
    may: &'static [&'static str],
    pure: bool,
) -> Crate {
    Crate {
        name,
        folder,
        may,
        pure,
    }
}
