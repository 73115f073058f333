//! Tollgate's datapath seen from user space: loads, attaches, fills and reads the eBPF side.
//!
//! The only crate of the product that knows aya. Links, programs and maps are pinned ([`pins`]), so the datapath goes
//! on while no daemon runs, and the next one adopts it.
#![deny(unsafe_code)]

use std::{
    collections::{HashMap, HashSet},
    os::fd::BorrowedFd,
    time::{Duration, UNIX_EPOCH},
};

pub mod attach;
pub mod capture;
mod carried;
pub mod checks;
pub mod config;
pub mod cost;
pub mod decap;
mod down;
mod effects;
mod error;
pub mod explain;
pub mod features;
mod figures;
pub mod flow;
pub mod footprint;
mod found;
pub mod host;
#[expect(
    unsafe_code,
    reason = "shared memory is mapped in this one file; the rest sees atomics"
)]
pub mod maps;
pub mod model;
mod neighbours;
pub mod netlink;
pub mod object;
pub mod pins;
pub mod prefix;
pub mod reconcile;
mod routes;
pub mod stats;
pub mod tables;
mod tc;
pub mod translate;

pub use attach::{AttachError, Attached};
pub use config::{Announce, Config, XdpMode};
pub use down::{Removed, down};
pub use error::{ApplyError, DownError, OpenError, RegisterError};
pub use explain::{FlowExplanation, FlowQuestion};
pub use netlink::NetlinkError;
pub use object::ObjectError;
pub use pins::PinsError;
pub use reconcile::{Applied, History, HistoryError, PlanError};
pub use routes::RoutesError;
pub use stats::{Status, Warning, WarningKind};

use nix::sys::socket::{getsockopt, sockopt};

use effects::{Kernel, grace};
use explain::Known;
use features::Feature;
use figures::Figures;
use found::Found;
use maps::Mapping;
use model::{Model, Shares};
use neighbours::Ways;
use netlink::{Device, Netlink};
use object::Object;
use pins::{Lock, Pins};
use reconcile::State;
use routes::{There, Wanted};
use stats::FlowsStatus;
use tollgate_common::{limits::PINS, service::Key};
use translate::Translator;

/// The datapath, open.
pub struct Datapath {
    config: Config,
    pins: Pins,
    /// Held from before anything is read until the last write.
    lock: Option<Lock>,
    object: Object,
    state: State,
    model: Model,
    ways: Ways,
    flows: FlowsStatus,
    translator: Translator,
    registered: HashSet<String>,
    attached: Vec<Attached>,
    warnings: Vec<Warning>,
    adopted: bool,
    /// What the kernel has; it stays the same.
    features: Vec<Feature>,
    /// The maps are new, and those of another layout still do the work until these are filled.
    pending: bool,
}

impl Datapath {
    /// Loads the datapath, or adopts what a previous daemon pinned; attaches it to the interfaces, all of them: what the
    /// configuration names must be there at the start. One that goes later is told in status and holds up nothing.
    ///
    /// Must be called, as all that follows, on a thread in the network namespace of the interfaces, inside a tokio
    /// runtime with I/O and time enabled.
    ///
    /// # Errors
    /// [`OpenError`]; each says what to do.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        Self::open_after(config, None).await
    }

    /// As [`open`](Self::open); where the predecessor's maps are of another layout, ours go on with what it remembered.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_after(config: &Config, history: Option<&History>) -> Result<Self, OpenError> {
        let lock = Lock::take(&config.bpffs).await?;
        let pins = Pins::prepare(&config.bpffs)?;
        attach::same_namespace(&pins)?;
        let found = Found::look(&pins);
        if found == Found::Foreign {
            return Err(OpenError::Foreign(pins.maps().join("tables")));
        }
        let opened = Self::open_on(config, pins, lock, found, history).await;
        if opened.is_err() && found == Found::Nothing {
            // A start that failed leaves nothing for the next one to adopt.
            Pins::remove_all(&config.bpffs)?;
        }
        opened
    }

    async fn open_on(
        config: &Config,
        pins: Pins,
        lock: Lock,
        found: Found,
        history: Option<&History>,
    ) -> Result<Self, OpenError> {
        let maps = match found {
            Found::OtherLayout => pins.make_next()?,
            Found::Nothing | Found::SameLayout | Found::Foreign => pins.maps(),
        };
        let mut object = Object::load(Some(&maps))?;
        object.tables.sign();
        if found == Found::OtherLayout {
            carried::over(&mut object, history);
        }
        let state = State::read(&object.tables);
        let mut ways = Ways::default();
        ways.hops.extend(state.hops(&object.tables));
        let mut datapath = Self {
            config: config.clone(),
            state,
            pins,
            lock: Some(lock),
            object,
            model: Model::default(),
            ways,
            flows: FlowsStatus::default(),
            translator: Translator::default(),
            registered: HashSet::new(),
            attached: Vec::new(),
            warnings: Vec::new(),
            adopted: found == Found::SameLayout,
            features: features::probe(),
            pending: found == Found::OtherLayout,
        };
        let netlink = Netlink::open()?;
        let devices = netlink.devices().await?;
        attach::exist(&config.interfaces, &devices)?;
        // Maps of another layout go on until the new ones are filled.
        if datapath.pending {
            tracing::info!(
                "the pinned maps are of another layout; new ones are filled first, then put in their place"
            );
        } else {
            for outcome in datapath.attach(&devices).await? {
                let one = outcome?;
                one.log();
                datapath.attached.push(one);
            }
        }
        Ok(datapath)
    }

    /// Lets connections that are steered to a listener go to this socket, or to the whole reuseport group that it is
    /// in. A socket that stood there before takes no new connections any more.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn register(
        &mut self,
        listener: &str,
        socket: BorrowedFd<'_>,
    ) -> Result<(), RegisterError> {
        // The map would take a UDP socket too, and nobody would ever be accepted there.
        if !getsockopt(&socket, sockopt::AcceptConn).unwrap_or(false) {
            return Err(RegisterError::NotListening(listener.to_owned()));
        }
        let number = self.state.listener(&self.object.tables, listener)?;
        self.object
            .sockets
            .set(number, socket)
            .map_err(|source| RegisterError::Socket {
                listener: listener.to_owned(),
                source: Box::new(source),
            })?;
        self.registered.insert(listener.to_owned());
        Ok(())
    }

    /// Says whether [`apply`](Self::apply) would take the model, and changes nothing: sockets may be registered for it
    /// after this.
    ///
    /// # Errors
    /// [`ApplyError`], as `apply` would say it.
    pub async fn check(&self, model: &Model) -> Result<(), ApplyError> {
        self.standing()?;
        self.state.fits(model)?;
        let netlink = Netlink::open()?;
        let devices = netlink.devices().await?;
        let there = There::read(&netlink).await.map_err(RoutesError::from)?;
        Ok(there.refuse_host_addresses(model, &devices)?)
    }

    /// Makes the datapath do what the model says, and no more. Connections of services and backends that stay are not
    /// disturbed. Sockets of listeners that it does not name are let go.
    ///
    /// An address that cannot be taken and an interface that cannot be attached are no errors: the tables are right
    /// without them. They are told in [`status`](Self::status), and tried again by each [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// [`ApplyError`]: the kernel goes on with the model before. An address of that one that was given back already is
    /// taken again by the next [`refresh`](Self::refresh).
    pub async fn apply(&mut self, model: &Model) -> Result<Applied, ApplyError> {
        self.standing()?;
        self.state.fits(model)?;
        let netlink = Netlink::open()?;
        let devices = netlink.devices().await?;
        let there = There::read(&netlink).await.map_err(RoutesError::from)?;
        there.refuse_host_addresses(model, &devices)?;
        if !self.pending {
            self.mend(&devices).await;
        }
        let wanted = Wanted::of(model, self.config.announce, &self.attached_of(&devices));
        let ways = neighbours::resolve(&netlink, model, &devices, &self.ways, true).await?;
        // An address is the host's only while the tables say whose connections are: else whoever listens on all
        // addresses would get them.
        let removed = there
            .remove(&netlink, &wanted)
            .await
            .map_err(RoutesError::from)?;
        if removed > 0 {
            grace();
        }

        self.ways = ways;
        // A program on the way before the first packet is left to it; but the old one goes on while the new maps are empty.
        if !self.pending {
            self.translate(&devices, model);
        }
        let Self {
            state,
            object,
            ways,
            ..
        } = self;
        state.note_own(ways.own.clone());
        let (tables, mut effects) = Kernel::of(object);
        let applied = state.apply(tables, model, &ways.hops, &mut effects)?;
        self.registered.retain(|name| self.state.has_listener(name));
        self.model.clone_from(model);
        if self.pending {
            self.translate(&devices, model);
            let outcomes = self.attach(&devices).await?;
            self.pins.promote_next().map_err(AttachError::from)?;
            self.pending = false;
            let named = self.config.interfaces.iter().zip(outcomes);
            self.attached = named
                .map(|(name, outcome)| match outcome {
                    Ok(one) => {
                        one.log();
                        one
                    }
                    Err(error) => {
                        tracing::warn!(interface = name, %error, "packets pass by the datapath");
                        Attached::failed(name, self.config.xdp, &error)
                    }
                })
                .collect();
        }
        self.translator.detach(&self.pins, model);
        self.take_addresses(&netlink, &wanted, &devices).await;
        Ok(applied)
    }

    /// Gives the backends of the model that stands these shares, and looks at nothing but the tables.
    ///
    /// # Errors
    /// [`ApplyError`]: the shares are what they were. Also before the first [`apply`](Self::apply).
    pub fn weigh(&mut self, shares: &Shares) -> Result<Applied, ApplyError> {
        self.standing()?;
        if !self.state.is_applied() {
            return Err(ApplyError::NoModel);
        }
        let model = self.model.with_shares(shares);
        if model == self.model {
            return Ok(Applied::default());
        }
        let (tables, mut effects) = Kernel::of(&mut self.object);
        let applied = (self.state).apply(tables, &model, &self.ways.hops, &mut effects)?;
        self.model = model;
        Ok(applied)
    }

    /// The shares that the tables note of a model's backends, whoever wrote them: of those that have an entry already.
    pub fn shares(&self, model: &Model) -> Shares {
        self.state.shares(&self.object.tables, model)
    }

    /// What the datapath remembers of flows, for maps of another layout. `pause`: no pin is made from here on, by which it is all;
    /// the next [`open`](Self::open) lets packets make pins again. `None` before the first model.
    #[must_use]
    pub fn remembered(&self, pause: bool) -> Option<History> {
        self.standing().ok()?;
        let is_applied = self.state.is_applied();
        is_applied.then(|| carried::on(&self.object, &self.state, pause))
    }

    /// Hands the datapath over: the next daemon may open it from here on. What is in the kernel stays as it is;
    /// [`refresh`](Self::refresh) does nothing any more, [`apply`](Self::apply) fails.
    pub fn rest(&mut self) {
        self.lock = None;
    }

    /// Looks up the next hops again and writes what changed, then puts back routes and addresses that the kernel
    /// dropped with an interface. To be called every few seconds: a backend's MAC address may change, and neighbours
    /// that nobody uses are forgotten. Attaches again what lost its program, and looks for new addresses of the host
    /// that a service takes; status says what is amiss.
    ///
    /// Does nothing before the first [`apply`](Self::apply): what a predecessor left is right until a model says
    /// otherwise. And nothing after `tollgate down`.
    ///
    /// # Errors
    /// The kernel was not asked: the next hops stay as they are.
    pub async fn refresh(&mut self) -> Result<(), NetlinkError> {
        if !self.state.is_applied() {
            return Ok(());
        }
        if let Err(gone) = self.standing() {
            for one in &mut self.attached {
                (one.attached, one.why) = (false, gone.to_string());
            }
            return Ok(());
        }
        let netlink = Netlink::open()?;
        let devices = netlink.devices().await?;
        self.mend(&devices).await;
        self.ways = neighbours::resolve(&netlink, &self.model, &devices, &self.ways, false).await?;
        let Self {
            state,
            object,
            ways,
            ..
        } = self;
        state.note_own(ways.own.clone());
        let (tables, mut effects) = Kernel::of(object);
        state.refresh(tables, &ways.hops, &mut effects);
        let idle: HashMap<Key, u32> = self
            .model
            .services
            .iter()
            .map(|one| (tables::key(one.vip), one.connection_idle.as_secs() as u32))
            .collect();
        let settled = state.settle(tables, &mut effects, |key| {
            idle.get(&key).copied().unwrap_or(u32::MAX)
        });
        (self.flows.moving, self.flows.left) = (settled.moving, settled.left);
        if let Some(pins) = settled.pins {
            self.flows.pins = pins;
        }
        let model = std::mem::take(&mut self.model);
        self.translate(&devices, &model);
        self.model = model;
        self.translator
            .sweep(&mut self.object, &self.state, &self.model, maps::second());
        let attached = self.attached_of(&devices);
        let wanted = Wanted::of(&self.model, self.config.announce, &attached);
        let restored = self.take_addresses(&netlink, &wanted, &devices).await;
        if restored > 0 {
            tracing::info!(
                restored,
                "routes, addresses or proxy entries were gone and are back"
            );
        }
        Ok(())
    }

    /// What the datapath is doing. Counters that cannot be read say 0, with a warning in the log.
    #[must_use]
    pub fn status(&self) -> Status {
        let verdicts = self.object.counters.verdicts().unwrap_or_else(|error| {
            tracing::warn!(%error, "the verdicts were not read");
            Default::default()
        });
        Status {
            adopted: self.adopted,
            watched: self.pins.are_watched(),
            kernel: features::kernel(),
            features: self.features.clone(),
            interfaces: self.attached.clone(),
            services: Figures {
                counters: &self.object.counters,
                tables: &self.object.tables,
                state: &self.state,
                hops: &self.ways.words,
                registered: &self.registered,
            }
            .services(&self.model),
            verdicts: verdicts
                .into_iter()
                .map(|(verdict, n)| (verdict.label().into(), n))
                .collect(),
            flows: FlowsStatus {
                since: self.object.tables.made.load(),
                history: self.history().as_secs(),
                pins_limit: PINS,
                ..self.flows
            },
            nat: self.translator.status(),
            warnings: self.warnings.clone(),
        }
    }

    /// Where a client's packets go, and why.
    ///
    /// # Errors
    /// What is asked cannot be.
    pub fn explain(&self, question: &FlowQuestion) -> Result<FlowExplanation, String> {
        let known = Known {
            tables: &self.object.tables,
            model: &self.model,
            pin: &|key| self.object.pinned.find(key),
            translation: &|key| self.object.translated.find(key),
            now: maps::second(),
        };
        let mut explanation = known.explain(question)?;
        let is_moving = explanation.slot.as_ref().is_some_and(|slot| slot.moving);
        let age = self.history();
        let idle = self.model.services.iter().map(|one| one.connection_idle);
        if is_moving && idle.max().is_some_and(|idle| age < idle) {
            let note = format!(
                "no history from before {} s ago: a flow that began earlier, on another node, while the slot moved there, is not known here",
                age.as_secs()
            );
            explanation.notes.push(note);
        }
        Ok(explanation)
    }

    /// The tables as the kernel sees them.
    #[must_use]
    pub fn tables(&self) -> &Mapping {
        &self.object.tables
    }

    /// For how long changes have been remembered.
    fn history(&self) -> Duration {
        let made = UNIX_EPOCH + Duration::from_secs(self.object.tables.made.load());
        made.elapsed().unwrap_or_default()
    }

    /// Whether the folder is still the one that this daemon locked.
    fn standing(&self) -> Result<(), ApplyError> {
        match &self.lock {
            Some(lock) if lock.stands() => Ok(()),
            _ => Err(ApplyError::Gone(self.config.bpffs.clone())),
        }
    }

    /// The interfaces that do not run our program, and what they do instead.
    fn broken(&self, devices: &[Device]) -> Vec<(usize, String)> {
        let is_watched = self.pins.are_watched();
        let wrong = |one: &Attached| {
            let Some(device) = devices.iter().find(|device| device.name == one.interface) else {
                return Some("the interface is gone".to_owned());
            };
            let is_ours =
                (is_watched || device.program == one.program) && device.index == one.index;
            match device.program {
                Some(_) if is_ours && self.pins.xdp_link(&one.interface).exists() => None,
                Some(_) if is_ours => Some("the pin of its link is gone".to_owned()),
                Some(other) => Some(format!("another XDP program is attached, number {other}")),
                None => Some("the program is detached".to_owned()),
            }
        };
        let each = self.attached.iter().enumerate();
        each.filter_map(|(at, one)| Some((at, wrong(one)?)))
            .collect()
    }

    /// Attaches again what lost its program, each interface by itself; status says why where that fails.
    async fn mend(&mut self, devices: &[Device]) {
        for (at, what) in self.broken(devices) {
            let name = &self.config.interfaces[at];
            let (object, mode) = (&mut self.object, self.config.xdp);
            let again = attach::again(object, &self.pins, name, mode, devices).await;
            let one = &mut self.attached[at];
            match again {
                Ok(again) => {
                    again.log();
                    *one = again;
                }
                Err(error) => {
                    let why = format!("{what}; attaching it again: {error}");
                    if one.why != why {
                        let interface = &one.interface;
                        tracing::warn!(interface, why, "packets pass by the datapath");
                    }
                    (one.attached, one.why) = (false, why);
                }
            }
        }
    }

    /// Attaches the program that translates, as far as the model needs it.
    fn translate(&mut self, devices: &[Device], model: &Model) {
        let (pins, interfaces) = (&self.pins, &self.config.interfaces);
        self.translator
            .attach(&mut self.object, pins, interfaces, devices, model);
    }

    /// Attaches all interfaces; how that went, in their order.
    async fn attach(
        &mut self,
        devices: &[Device],
    ) -> Result<Vec<Result<Attached, AttachError>>, AttachError> {
        let Config {
            interfaces, xdp, ..
        } = &self.config;
        attach::all(&mut self.object, &self.pins, interfaces, *xdp, devices).await
    }

    /// Makes the kernel take packets for the virtual addresses, and looks which of them are the host's own. Says how many
    /// routes, addresses and proxy entries were added; what is amiss is told in status until it is mended.
    async fn take_addresses(
        &mut self,
        netlink: &Netlink,
        wanted: &Wanted,
        devices: &[Device],
    ) -> usize {
        let (added, captured) = match There::read(netlink).await {
            Ok(there) => {
                let captured = there.captured(&self.model, devices);
                let captured = captured.map(|one| Warning {
                    kind: WarningKind::HostAddress,
                    text: one.to_string(),
                });
                let captured = captured.collect();
                (there.add(netlink, wanted, devices).await, captured)
            }
            // Nobody knows; so what was known stays.
            Err(error) => {
                let is_about_host = |one: &&Warning| one.kind == WarningKind::HostAddress;
                let before = self.warnings.iter().filter(is_about_host);
                (Err(error), before.cloned().collect())
            }
        };
        let mut warnings: Vec<Warning> = captured;
        let added = added.unwrap_or_else(|error| {
            let (kind, text) = (WarningKind::Routes, error.to_string());
            warnings.push(Warning { kind, text });
            0
        });
        for one in &warnings {
            if !self.warnings.contains(one) {
                tracing::warn!(kind = one.kind.label(), "{}", one.text);
            }
        }
        for one in &self.warnings {
            if !warnings.contains(one) {
                tracing::info!(kind = one.kind.label(), "no more: {}", one.text);
            }
        }
        self.warnings = warnings;
        added
    }

    fn attached_of(&self, devices: &[Device]) -> Vec<Device> {
        let named = |device: &&Device| self.config.interfaces.contains(&device.name);
        devices.iter().filter(named).cloned().collect()
    }
}
