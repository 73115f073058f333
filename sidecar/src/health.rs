//! Health: who of a service's backends and an upstream's endpoints is asked again and again whether it serves, and what
//! follows from the answers.
//!
//! What decides is pure ([`state`], [`share`]); what asks (`check`) runs on the main runtime. Nothing here knows who
//! uses the shares: a change is told through a channel that the caller made, and the caller looks.

mod board;
mod check;
mod failure;
mod figures;
pub mod group;
mod grpc;
mod http;
mod pace;
pub mod report;
pub mod settings;
pub mod share;
pub mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use prometheus_client::collector::Collector;
use tokio::sync::{Semaphore, mpsc};

use self::board::{Board, Runs};
use self::check::{Check, Secured};
use self::group::{Address, Group, Member, Name};
use self::pace::Pace;
use self::report::GroupReport;
use self::settings::Settings;
use self::state::Share;

/// Checks under way at once; more wait for one to end.
const AT_ONCE: usize = 256;

/// What each member of a group is left.
pub type Shares = HashMap<Name, HashMap<Address, Share>>;

/// A handle to all checks. They end with the last of its clones.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    board: Mutex<Board>,
    changed: mpsc::Sender<()>,
    places: Semaphore,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}

impl Health {
    /// Watches nobody yet. `changed` is told whenever shares may have changed; a channel for one message is enough.
    pub fn new(changed: mpsc::Sender<()>) -> Self {
        Self(Arc::new(Inner {
            board: Mutex::default(),
            changed,
            places: Semaphore::new(AT_ONCE),
        }))
    }

    /// Watches these groups from now on and no others. A member that was watched keeps what is known of it, whatever
    /// changed of its checks. Must be called on the runtime that shall check.
    pub fn watch(&self, groups: &[Group]) {
        let weak = Arc::downgrade(&self.0);
        let secured = Secured::of(groups);
        let start = |number, name: &Name, member: &Member, settings: &Settings| {
            start(&weak, number, (name, member), settings, &secured)
        };
        let now = Instant::now();
        let mut board = self.board();
        board.watch(groups, now, start);
        drop(board.shares(now));
    }

    /// The shares that the members of these groups have or, of those that are not watched yet, would have.
    pub fn shares_of(&self, groups: &[Group]) -> Shares {
        self.board().shares_of(groups, Instant::now())
    }

    /// The shares of all that is watched. Says in the log which groups begin or end to be in panic.
    pub fn shares(&self) -> Shares {
        self.board().shares(Instant::now())
    }

    /// When shares change next by themselves, if they do.
    pub fn grows_at(&self) -> Option<Instant> {
        self.board().grows_at(Instant::now())
    }

    /// What is known, group by group.
    pub fn report(&self) -> Vec<GroupReport> {
        self.board().report(Instant::now())
    }

    /// Figures for `/metrics`.
    pub fn collector(&self) -> Box<dyn Collector> {
        let weak = Arc::downgrade(&self.0);
        figures::collector(move || {
            let inner = Weak::upgrade(&weak);
            inner.map_or_else(Vec::new, |inner| Self(inner).report())
        })
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board()
    }
}

impl Inner {
    /// Never held while anything waits, nor by a request.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to check a member; what `number` says tells its results from those of checks that were replaced.
fn start(
    inner: &Weak<Inner>,
    number: u64,
    (name, member): (&Name, &Member),
    settings: &Settings,
    secured: &Secured,
) -> Runs {
    match Check::new(settings, &member.target, secured) {
        Ok(check) => {
            let run = keep(
                Weak::clone(inner),
                number,
                (name.clone(), member.address),
                check,
            );
            Runs::new(tokio::spawn(run).abort_handle())
        }
        Err(why) => {
            let kind = name.kind.word();
            tracing::error!(kind, name = &*name.name, member = %member.address, why, "no check can be made");
            Runs::default()
        }
    }
}

async fn keep(inner: Weak<Inner>, number: u64, (name, address): (Name, Address), check: Check) {
    let mut pace = Pace::new();
    let interval = check.settings().interval;
    tokio::time::sleep(pace.first(interval)).await;
    loop {
        let started = tokio::time::Instant::now();
        {
            let Some(inner) = Weak::upgrade(&inner) else {
                return;
            };
            let Ok(_place) = inner.places.acquire().await else {
                return;
            };
            let result = check.run().await;
            let turned = inner
                .board()
                .note(number, &name, address, result, Instant::now());
            if turned {
                // Full: it has been told, and has not looked yet.
                let _ = inner.changed.try_send(()).is_ok();
            }
        }
        tokio::time::sleep_until(started + pace.next(interval)).await;
    }
}
