//! What is known of all that is watched, with the checks that run. Time and results are arguments.

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use tokio::task::AbortHandle;

use super::failure::Failure;
use super::group::{Address, Group, Member, Name};
use super::report::{GroupReport, MemberReport};
use super::settings::Settings;
use super::share::{self, shares};
use super::state::{Share, Standing, State, Turn, WHOLE};
use crate::clock;

/// What each member of a group is left.
type Shares = HashMap<Name, HashMap<Address, Share>>;

/// A check that is repeated until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Runs(Option<AbortHandle>);

impl Runs {
    pub(super) const fn new(handle: AbortHandle) -> Self {
        Self(Some(handle))
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// All groups, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Board {
    groups: Vec<Watched>,
    /// The number of the next check that is started.
    next: u64,
}

#[derive(Debug)]
struct Watched {
    group: Group,
    members: Vec<Known>,
    panic: bool,
}

/// What is known of one member; in the order of the group's.
#[derive(Debug)]
struct Known {
    state: State,
    since: SystemTime,
    passed: u64,
    failed: [u64; Failure::WORDS.len()],
    last_failure: Option<(String, SystemTime)>,
    number: u64,
    runs: Runs,
}

impl Board {
    /// Watches these groups and no others; `start` begins a check.
    pub(super) fn watch(
        &mut self,
        groups: &[Group],
        now: Instant,
        start: impl Fn(u64, &Name, &Member, &Settings) -> Runs,
    ) {
        let mut before: HashMap<(Name, Address), (Known, Settings, Member)> = HashMap::new();
        let mut panics = HashMap::new();
        for Watched {
            group,
            members,
            panic,
        } in self.groups.drain(..)
        {
            panics.insert(group.name.clone(), panic);
            for (member, known) in group.members.into_iter().zip(members) {
                let key = (group.name.clone(), member.address);
                before.insert(key, (known, group.settings.clone(), member));
            }
        }
        for group in groups {
            let mut members = Vec::with_capacity(group.members.len());
            for member in &group.members {
                let old = before.remove(&(group.name.clone(), member.address));
                let known = match old {
                    Some((known, settings, old))
                        if settings == group.settings && old.target == member.target =>
                    {
                        known
                    }
                    other => {
                        self.next += 1;
                        let runs = start(self.next, &group.name, member, &group.settings);
                        let mut known = other
                            .map_or_else(|| Known::new(fresh(member, now)), |(known, ..)| known);
                        // Where another check ran, it ends here.
                        (known.number, known.runs) = (self.next, runs);
                        known
                    }
                };
                members.push(known);
            }
            self.groups.push(Watched {
                panic: panics.get(&group.name).copied().unwrap_or(false),
                group: group.clone(),
                members,
            });
        }
    }

    /// Takes the result of check `number`. Says whether shares may have changed.
    pub(super) fn note(
        &mut self,
        number: u64,
        name: &Name,
        address: Address,
        result: Result<(), Failure>,
        now: Instant,
    ) -> bool {
        let Some(group) = self.groups.iter_mut().find(|one| one.group.name == *name) else {
            return false;
        };
        let settings = &group.group.settings;
        let at = group
            .group
            .members
            .iter()
            .position(|one| one.address == address);
        let Some(known) = at
            .and_then(|at| group.members.get_mut(at))
            .filter(|known| known.number == number)
        else {
            return false;
        };
        let mut is_news = false;
        let (passed, why) = match &result {
            Ok(()) => {
                known.passed += 1;
                (true, String::new())
            }
            Err(failure) => {
                if let Some(at) = Failure::WORDS.iter().position(|one| *one == failure.word()) {
                    known.failed[at] += 1;
                }
                let why = failure.to_string();
                let before = known.last_failure.replace((why.clone(), clock::wall()));
                is_news = before.is_none_or(|(before, _)| before != why);
                (false, why)
            }
        };
        let kind = name.kind.word();
        let name = &*name.name;
        // What is this host's own trouble says nothing of the member.
        if result.as_ref().is_err_and(Failure::is_own) {
            if is_news {
                tracing::warn!(kind, name, member = %address, why, "checks cannot be made");
            }
            return false;
        }
        let (before, needed) = (known.state.standing(), known.state.needed(settings.rules));
        let Some(turn) = known.state.note(passed, settings.rules, now) else {
            return false;
        };
        known.since = clock::wall();
        match turn {
            Turn::Proved => {
                tracing::debug!(kind, name, member = %address, "the first check passed");
            }
            Turn::Fell => {
                let checks = match before {
                    Standing::Unproved => 1,
                    _ => settings.rules.unhealthy,
                };
                tracing::warn!(kind, name, member = %address, checks, why, "down: it takes nothing any more");
            }
            Turn::Rose => {
                let slow_start = settings.slow_start;
                tracing::info!(kind, name, member = %address, checks = needed, ?slow_start, "up again");
            }
        }
        turn != Turn::Proved
    }

    /// The shares that the members of these groups have or would have.
    pub(super) fn shares_of(&self, groups: &[Group], now: Instant) -> Shares {
        let of = |group: &Group| {
            let watched = self.groups.iter().find(|one| one.group.name == group.name);
            let state = |member: &Member| {
                let known = watched.and_then(|watched| watched.known(member.address));
                known.map_or_else(|| fresh(member, now), |known| known.state.clone())
            };
            let states: Vec<State> = group.members.iter().map(state).collect();
            let (quarters, _) = quarters(group, states.iter(), now);
            (group.name.clone(), quarters)
        };
        groups.iter().map(of).collect()
    }

    /// The shares of all that is watched; says which groups begin or end to be in panic.
    pub(super) fn shares(&mut self, now: Instant) -> Shares {
        let mut all = Shares::new();
        for Watched {
            group,
            members,
            panic,
        } in &mut self.groups
        {
            let states = members.iter().map(|known| &known.state);
            let (quarters, is_panic) = quarters(group, states, now);
            if is_panic != *panic {
                *panic = is_panic;
                let (kind, name) = (group.name.kind.word(), &*group.name.name);
                if is_panic {
                    tracing::error!(
                        kind,
                        name,
                        "panic: too few members are up, so all of them are used, whatever their checks say"
                    );
                } else {
                    tracing::warn!(
                        kind,
                        name,
                        "no more panic: only members that are up are used"
                    );
                }
            }
            all.insert(group.name.clone(), quarters);
        }
        all
    }

    /// When the share of any member grows next.
    pub(super) fn grows_at(&self, now: Instant) -> Option<Instant> {
        let grows = |watched: &Watched| {
            let slow_start = watched.group.settings.slow_start;
            let each = watched.members.iter();
            each.filter_map(|known| known.state.grows_at(slow_start, now))
                .min()
        };
        self.groups.iter().filter_map(grows).min()
    }

    /// What is known, group by group.
    pub(super) fn report(&self, now: Instant) -> Vec<GroupReport> {
        self.groups.iter().map(|one| one.report(now)).collect()
    }
}

impl Watched {
    fn known(&self, address: Address) -> Option<&Known> {
        let mut members = self.group.members.iter().zip(&self.members);
        let (_, known) = members.find(|(member, _)| member.address == address)?;
        Some(known)
    }

    fn report(&self, now: Instant) -> GroupReport {
        let settings = &self.group.settings;
        let members = self.group.members.iter().zip(&self.members);
        let members = members.map(|(member, known)| {
            let quarters = known.state.quarters(settings.slow_start, now);
            let words = Failure::WORDS.into_iter().zip(known.failed);
            MemberReport {
                address: member.address.to_string(),
                state: match known.state.standing() {
                    Standing::Unproved => "unproved",
                    Standing::Down => "down",
                    Standing::Up if quarters < WHOLE => "starting",
                    Standing::Up => "up",
                },
                since: known.since,
                quarters,
                against: known.state.against(),
                needed: match known.state.standing() {
                    Standing::Unproved => 1,
                    Standing::Up => settings.rules.unhealthy,
                    Standing::Down => known.state.needed(settings.rules),
                },
                passed: known.passed,
                failed: words.filter(|(_, count)| *count > 0).collect(),
                last_failure: known.last_failure.clone(),
            }
        });
        GroupReport {
            name: self.group.name.clone(),
            probe: settings.probe.word(),
            panic: self.panic,
            members: members.collect(),
        }
    }
}

impl Known {
    fn new(state: State) -> Self {
        Self {
            state,
            since: clock::wall(),
            passed: 0,
            failed: [0; Failure::WORDS.len()],
            last_failure: None,
            number: 0,
            runs: Runs::default(),
        }
    }
}

fn fresh(member: &Member, now: Instant) -> State {
    member
        .adopted
        .map_or_else(|| State::unproved(now), |share| State::adopted(share, now))
}

/// What is left each member by its checks and the panic threshold, and whether that is reached.
fn quarters<'a>(
    group: &Group,
    states: impl Iterator<Item = &'a State>,
    now: Instant,
) -> (HashMap<Address, Share>, bool) {
    let slow_start = group.settings.slow_start;
    let of = |(member, state): (&Member, &State)| {
        let member = share::Member {
            quarters: state.quarters(slow_start, now),
            counts: member.counts,
        };
        (member, state.standing() == Standing::Down)
    };
    let (members, down): (Vec<share::Member>, Vec<bool>) =
        group.members.iter().zip(states).map(of).unzip();
    let (quarters, is_panic) = shares(&members, group.settings.panic);
    let shares = quarters.into_iter().zip(down);
    let shares = shares.map(|(quarters, down)| Share { quarters, down });
    let named = group.members.iter().map(|member| member.address);
    (named.zip(shares).collect(), is_panic)
}

#[cfg(test)]
mod tests;
