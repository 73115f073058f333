//! Where a client's packets go, and why: [`flow::pick`] in words.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tollgate_common::{
    nat::{Translation, Tuple},
    pin::{Pin, PinKey},
    slot::Slot,
    tables::Tables,
};

use crate::{
    flow::{self, Backend, Packet, Picked, Pins, Segment, Why},
    maps::Mapping,
    model::{Deliver, Model, Nat, Proto, Service, Vip},
    reconcile::{Effects, Hops, State},
    tables,
};

/// What is asked: where the packets of this client to this destination go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowQuestion {
    /// The client's address and port.
    pub client: SocketAddr,
    /// The address and port that it sends to.
    pub destination: SocketAddr,
    /// Whether it is UDP.
    pub udp: bool,
}

/// Where they go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowExplanation {
    /// The flow: `198.51.100.7:40000 -> 203.0.113.20:5432/tcp`.
    pub flow: String,
    /// The service that takes it, if one does.
    pub service: Option<String>,
    /// Its address, port and protocol as configured.
    pub vip: Option<String>,
    /// `listener`, `ipip`, `gue`, `l2` or `nat`.
    pub deliver: Option<String>,
    /// The listener, where the service has one.
    pub listener: Option<String>,
    /// The slot that the flow's hash names.
    pub slot: Option<SlotExplanation>,
    /// Where its packets go; those that begin a flow and those that go on may differ.
    pub answers: Vec<Answer>,
    /// What else matters.
    pub notes: Vec<String>,
}

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotExplanation {
    /// Its number within the service, from 0.
    pub number: u32,
    /// How many the service has.
    pub of: u32,
    /// Whether its flows may differ in their backend.
    pub moving: bool,
    /// The backend that new flows get.
    pub current: Option<IpAddr>,
    /// The backend of flows from before it moved.
    pub stable: Option<IpAddr>,
}

/// Where some packets of a flow go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Which packets: `every packet`, `a connection that begins now`, `a connection that began before`.
    pub packets: String,
    /// Where they go; `None`: they are dropped.
    pub backend: Option<IpAddr>,
    /// One word for why, as in [`Why`].
    pub reason: String,
    /// Why, in words.
    pub says: String,
}

/// What is known beside the tables.
pub struct Known<'a> {
    /// The tables.
    pub tables: &'a Tables,
    /// The services by their names.
    pub model: &'a Model,
    /// Where pins are looked up.
    pub pin: &'a dyn Fn(&PinKey) -> Option<Pin>,
    /// Where translations are looked up.
    pub translation: &'a dyn Fn(&Tuple) -> Option<Translation>,
    /// Second of the monotonic clock.
    pub now: u32,
}

/// Explains a flow by a model alone: as a node would that never had another one.
///
/// # Errors
/// What is asked cannot be, or the model does not fit.
pub fn by_model(model: &Model, question: &FlowQuestion) -> Result<FlowExplanation, String> {
    let tables = Mapping::private().map_err(|error| format!("there is no memory: {error}"))?;
    tables.sign();
    State::read(&tables)
        .apply(&tables, model, &Hops::new(), &mut NoKernel)
        .map_err(|error| error.to_string())?;
    let known = Known {
        tables: &tables,
        model,
        pin: &|_| None,
        translation: &|_| None,
        now: 0,
    };
    known.explain(question)
}

/// Tables of our own, which no packet is looked up in.
struct NoKernel;

impl Effects for NoKernel {
    fn reset(&mut self, _: u16) {}
    fn reset_drops(&mut self, _: u16) {}
    fn forget(&mut self, _: u32) {}
    fn grace(&mut self) {}

    fn now(&self) -> u32 {
        0
    }

    fn retain_pins(&mut self, _: &mut dyn FnMut(&PinKey, &Pin) -> bool) -> Option<usize> {
        Some(0)
    }
}

impl Known<'_> {
    /// Explains a flow. Changes nothing: a flow that would be pinned is not.
    ///
    /// # Errors
    /// The addresses are of different families.
    pub fn explain(&self, question: &FlowQuestion) -> Result<FlowExplanation, String> {
        let FlowQuestion {
            client,
            destination,
            udp,
        } = *question;
        if client.is_ipv4() != destination.is_ipv4() {
            return Err(format!(
                "{client} and {destination} are of different IP versions; no packet has both"
            ));
        }
        let proto = if udp { Proto::Udp } else { Proto::Tcp };
        let pick = |segment| {
            let packet = Packet {
                source: client,
                destination,
                proto,
                segment,
            };
            flow::pick(self.tables, &mut Lookup(self.pin), &packet, self.now)
        };
        let mut explanation = FlowExplanation {
            flow: format!("{client} -> {destination}/{proto}"),
            service: None,
            vip: None,
            deliver: None,
            listener: None,
            slot: None,
            answers: Vec::new(),
            notes: Vec::new(),
        };
        let Some(service) = self.service(destination, proto) else {
            explanation
                .notes
                .push("no service takes it: its packets go to the host as they are".to_owned());
            return Ok(explanation);
        };
        explanation.service = Some(service.name.clone());
        explanation.vip = Some(service.vip.to_string());
        explanation.deliver = Some(service.deliver.word().to_owned());
        if let Deliver::Listener(name) = &service.deliver {
            explanation.listener = Some(name.clone());
        }
        match (pick(Segment::SYN), pick(Segment::ACK)) {
            (Picked::Backend(begins), Picked::Backend(goes_on)) => {
                if let Deliver::Nat(nat) = &service.deliver {
                    self.translated(&mut explanation, question, nat);
                }
                self.backends(&mut explanation, service, udp, begins, goes_on);
            }
            (Picked::NotOurs, _) | (_, Picked::NotOurs) => explanation
                .notes
                .push("the tables do not have the service yet".to_owned()),
            (Picked::Listener(_), _) | (_, Picked::Listener(_)) => {}
        }
        Ok(explanation)
    }

    /// A flow that has a translation goes where that says; the slots are about those that have none.
    fn translated(&self, explanation: &mut FlowExplanation, question: &FlowQuestion, nat: &Nat) {
        let key = tables::tuple(question.client, question.destination, question.udp);
        let way = (self.translation)(&key)
            .filter(|way| !way.is_answers() && self.tables.life(way.id()) == way.life());
        let Some(way) = way else {
            let note = match nat.snat {
                None => "the flow has no translation: what follows is where it begins",
                Some(_) => {
                    "the flow has no translation: what follows is where it begins; a connection from before is dropped (`no_flow`), since its backend knows it by another source"
                }
            };
            explanation.notes.push(note.to_owned());
            return;
        };
        let silent = self.now.saturating_sub(way.seen);
        let (from, to) = tables::ends(&way.to);
        explanation.answers.push(Answer {
            packets: "every packet of the flow that is known".to_owned(),
            backend: Some(to.ip()),
            reason: "translated".to_owned(),
            says: format!(
                "its translation says so: from {from} to {to}; its client was last heard {silent} s ago. What follows is of others, when it is over"
            ),
        });
    }

    /// The service whose key the tables would find, the most specific first.
    fn service(&self, destination: SocketAddr, proto: Proto) -> Option<&Service> {
        let takes = |vip: &Vip| {
            vip.proto == proto
                && vip.covers(destination.ip())
                && (vip.port == 0 || vip.port == destination.port())
        };
        let services = self.model.services.iter();
        services
            .filter(|service| takes(&service.vip))
            .max_by_key(|service| (service.vip.bits, service.vip.port != 0))
    }

    fn backends(
        &self,
        explanation: &mut FlowExplanation,
        service: &Service,
        udp: bool,
        begins: Backend,
        goes_on: Backend,
    ) {
        let address = |id| flow::address(self.tables, id);
        let Some((cell, _)) = self.tables.find(tables::key(service.vip)) else {
            return;
        };
        let region = tollgate_common::service::Region::unpack(cell.region.load());
        let says = begins.says;
        explanation.slot = Some(SlotExplanation {
            number: begins.slot.saturating_sub(region.base),
            of: region.len,
            moving: says.is_moving(),
            current: address(says.current()),
            stable: match says.stable() {
                Slot::PREVIOUS => None,
                id => address(id),
            },
        });
        let answer = |packets: &str, backend: Backend| Answer {
            packets: packets.to_owned(),
            backend: address(backend.id),
            reason: word(backend.why).to_owned(),
            says: words(backend.why).to_owned(),
        };
        let is_one = begins.id == goes_on.id && begins.why == goes_on.why;
        if udp || is_one {
            explanation.answers.push(answer("every packet", begins));
        } else {
            let answers = &mut explanation.answers;
            answers.push(answer("a connection that begins now", begins));
            answers.push(answer("a connection that began before", goes_on));
        }
    }
}

/// Pins that are looked up and never made.
struct Lookup<'a>(&'a dyn Fn(&PinKey) -> Option<Pin>);

impl Pins for Lookup<'_> {
    fn get(&self, key: &PinKey) -> Option<Pin> {
        (self.0)(key)
    }

    fn add(&mut self, _: &PinKey, _: Pin, _: bool) -> bool {
        true
    }

    fn note(&mut self, _: &PinKey, _: Pin) {}
}

const fn word(why: Why) -> &'static str {
    match why {
        Why::Settled => "settled",
        Why::Pinned => "pinned",
        Why::Begins => "begins",
        Why::NoRoom => "no_room",
        Why::Before => "before",
        Why::PreviousTable => "previous_table",
        Why::Gone => "gone",
        Why::MayBeOld => "may_be_old",
        Why::Nobody => "nobody",
    }
}

const fn words(why: Why) -> &'static str {
    match why {
        Why::Settled => {
            "the slot does not move: all its flows have one backend, and none is remembered"
        }
        Why::Pinned => "the slot moves, and the flow is pinned: it began since",
        Why::Begins => {
            "the slot moves: what begins now goes to its new backend, and is pinned there"
        }
        Why::NoRoom => {
            "the slot moves, and no pin can be made now: what begins goes where flows from before go"
        }
        Why::Before => {
            "the slot moves, and the flow has no pin: it began before, and keeps the backend of then"
        }
        Why::PreviousTable => {
            "the service has another number of slots than before; the flow has no pin, so it began before, and keeps the backend of then"
        }
        Why::Gone => "the flow's backend is gone: whoever has the slot now will refuse it",
        Why::MayBeOld => {
            "the slot moved less than a minute ago, and the flow is not known: it may be an old one, goes where those go, and is pinned"
        }
        Why::Nobody => "no backend takes it: all are drained, or there is none",
    }
}
