//! What `/metrics` says of the datapath: `tollgate_datapath_*`.

use std::fmt::Error;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tollgate_datapath::stats::NatStatus;
use tollgate_datapath::{Status, WarningKind};

/// Reads the last status that was asked for.
pub(super) fn collector(status: Arc<ArcSwapOption<Status>>) -> Box<dyn Collector> {
    Box::new(Figures { status })
}

#[derive(Debug)]
struct Figures {
    status: Arc<ArcSwapOption<Status>>,
}

type Labels = Vec<(&'static str, String)>;
type Rows = Vec<(Labels, u64)>;

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(status) = self.status.load_full() else {
            return Ok(());
        };
        let verdicts = status.verdicts.iter();
        let verdicts =
            verdicts.map(|(label, packets)| (vec![("verdict", label.to_string())], *packets));
        let encoder = &mut encoder;
        counters(
            encoder,
            "datapath_packets",
            "Packets by verdict",
            verdicts.collect(),
        )?;
        services(encoder, &status)?;
        backends(encoder, &status)?;
        host(encoder, &status)?;
        flows(encoder, &status)?;
        status
            .nat
            .as_ref()
            .map_or(Ok(()), |nat| translations(encoder, nat))
    }
}

fn services(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), Error> {
    let (mut packets, mut bytes, mut opened) = (Rows::new(), Rows::new(), Rows::new());
    let (mut drops, mut slots, mut moving) = (Rows::new(), Rows::new(), Rows::new());
    for service in &status.services {
        let name = || vec![("service", service.name.clone())];
        packets.push((name(), service.packets));
        bytes.push((name(), service.bytes));
        opened.push((name(), service.flows));
        for (verdict, count) in &service.drops {
            let mut labels = name();
            labels.push(("verdict", verdict.to_string()));
            drops.push((labels, *count));
        }
        if let Some(its) = service.slots {
            slots.push((name(), its.count.into()));
            moving.push((name(), its.moving.into()));
        }
    }
    let help = "Packets for a service";
    counters(encoder, "datapath_service_packets", help, packets)?;
    let help = "Bytes for a service";
    counters(encoder, "datapath_service_bytes", help, bytes)?;
    let help = "TCP connections opened to a service";
    counters(encoder, "datapath_service_connections", help, opened)?;
    let help = "Packets for a service that went to none of its backends, by verdict";
    counters(encoder, "datapath_service_undelivered_packets", help, drops)?;
    let help = "Slots of a forwarded service";
    gauges(encoder, "datapath_service_slots", help, None, slots)?;
    let help = "Slots of a forwarded service that move: flows from before have another backend than new ones";
    gauges(encoder, "datapath_service_moving_slots", help, None, moving)
}

fn backends(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), Error> {
    let (mut packets, mut bytes, mut opened) = (Rows::new(), Rows::new(), Rows::new());
    let mut reachable = Rows::new();
    for service in &status.services {
        for backend in &service.backends {
            let labels = || {
                vec![
                    ("service", service.name.clone()),
                    ("backend", backend.address.to_string()),
                ]
            };
            packets.push((labels(), backend.packets));
            bytes.push((labels(), backend.bytes));
            opened.push((labels(), backend.flows));
            reachable.push((labels(), backend.reachable.into()));
        }
    }
    let help = "Packets sent to a backend";
    counters(encoder, "datapath_backend_packets", help, packets)?;
    let help = "TCP connections opened to a backend";
    counters(encoder, "datapath_backend_connections", help, opened)?;
    let help = "Bytes sent to a backend";
    counters(encoder, "datapath_backend_bytes", help, bytes)?;
    let help = "1 if the next hop of a backend is known; 0: its packets are dropped";
    gauges(encoder, "datapath_backend_next_hop", help, None, reachable)
}

fn host(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), Error> {
    let interfaces = status.interfaces.iter().map(|one| {
        let labels = vec![("interface", one.interface.clone())];
        (labels, one.attached.into())
    });
    let help = "1 if the packets of an interface come to the datapath; 0: they pass by it";
    let interfaces = interfaces.collect();
    gauges(
        encoder,
        "datapath_interface_attached",
        help,
        None,
        interfaces,
    )?;
    let warnings = WarningKind::ALL.map(|kind| {
        let those = status.warnings.iter().filter(|one| one.kind == kind);
        (
            vec![("kind", kind.label().to_owned())],
            those.count() as u64,
        )
    });
    let help = "Warnings that stand in status, by kind";
    gauges(encoder, "datapath_warnings", help, None, warnings.into())
}

fn flows(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), Error> {
    let one = |value: u64| vec![(Labels::new(), value)];
    let flows = status.flows;
    let help = "Flows that are pinned to a backend in slots that move or moved";
    gauges(encoder, "datapath_pins", help, None, one(flows.pins as u64))?;
    let help = "Flows that can be pinned";
    let limit = one(flows.pins_limit as u64);
    gauges(encoder, "datapath_pins_limit", help, None, limit)?;
    let help = "For how long this node has remembered changes of backends";
    let history = one(flows.history);
    gauges(
        encoder,
        "datapath_history",
        help,
        Some(&Unit::Seconds),
        history,
    )
}

fn translations(encoder: &mut DescriptorEncoder<'_>, nat: &NatStatus) -> Result<(), Error> {
    let one = |value: usize| vec![(Labels::new(), value as u64)];
    let help = "Translations of flows to services with deliver: nat, two a flow";
    let count = one(nat.translations);
    gauges(encoder, "datapath_translations", help, None, count)?;
    let help = "Translations that there can be";
    let limit = one(nat.translations_limit);
    gauges(encoder, "datapath_translations_limit", help, None, limit)?;
    let interfaces = nat.interfaces.iter().map(|one| {
        let labels = vec![("interface", one.interface.clone())];
        (labels, one.attached.into())
    });
    let help = "1 if addresses are translated on an interface; 0: packets pass untranslated";
    let interfaces = interfaces.collect();
    gauges(
        encoder,
        "datapath_translating_interface_attached",
        help,
        None,
        interfaces,
    )
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: Rows,
) -> Result<(), Error> {
    let kind = ConstCounter::new(0_u64).metric_type();
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in rows {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    rows: Rows,
) -> Result<(), Error> {
    let kind = ConstGauge::new(0_u64).metric_type();
    let mut metric = encoder.encode_descriptor(name, help, unit, kind)?;
    for (labels, value) in rows {
        if labels.is_empty() {
            ConstGauge::new(value).encode(metric)?;
            return Ok(());
        }
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use tollgate_datapath::stats::{
        BackendStatus, FlowsStatus, NatInterface, ServiceStatus, SlotsStatus,
    };
    use tollgate_datapath::{Attached, Warning, XdpMode};

    use super::*;

    fn status() -> Status {
        let interface = |name: &str, attached| Attached {
            interface: name.to_owned(),
            attached,
            mode: XdpMode::Native,
            adopted: false,
            why: String::new(),
            index: 2,
            program: None,
        };
        let backend = |last, reachable| BackendStatus {
            address: [10, 0, 0, last].into(),
            id: last.into(),
            weight: 1,
            drain: false,
            packets: 30,
            bytes: 40,
            flows: 50,
            next_hop: String::new(),
            reachable,
        };
        Status {
            adopted: true,
            watched: false,
            kernel: String::new(),
            features: Vec::new(),
            interfaces: vec![interface("eth0", true), interface("eth1", false)],
            services: vec![ServiceStatus {
                name: "database".to_owned(),
                vip: "203.0.113.20:5432/tcp".to_owned(),
                deliver: "ipip".into(),
                listener: None,
                packets: 60,
                bytes: 80,
                flows: 100,
                drops: BTreeMap::from([("no_next_hop".into(), 3)]),
                slots: Some(SlotsStatus {
                    count: 16_381,
                    moving: 12,
                }),
                backends: vec![backend(21, true), backend(22, false)],
            }],
            verdicts: BTreeMap::from([("sent".into(), 60)]),
            flows: FlowsStatus {
                since: 1_800_000_000,
                history: 90,
                moving: 12,
                left: 0,
                pins: 7,
                pins_limit: 1000,
            },
            nat: Some(NatStatus {
                translations: 14,
                translations_limit: 2000,
                interfaces: vec![NatInterface::new("eth0", "tcx")],
            }),
            warnings: vec![Warning {
                kind: WarningKind::HostAddress,
                text: String::new(),
            }],
        }
    }

    #[test]
    fn each_figure_of_the_datapath_has_its_metric() {
        let status = Arc::new(ArcSwapOption::empty());
        let mut registry = Registry::with_prefix("tollgate");
        registry.register_collector(collector(Arc::clone(&status)));
        let text = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        assert_eq!(text(), "# EOF\n", "nothing is known yet");
        status.store(Some(Arc::new(self::status())));
        let text = text();
        for line in [
            "tollgate_datapath_packets_total{verdict=\"sent\"} 60",
            "tollgate_datapath_service_packets_total{service=\"database\"} 60",
            "tollgate_datapath_service_bytes_total{service=\"database\"} 80",
            "tollgate_datapath_service_connections_total{service=\"database\"} 100",
            "tollgate_datapath_service_undelivered_packets_total{service=\"database\",verdict=\"no_next_hop\"} 3",
            "# TYPE tollgate_datapath_service_slots gauge",
            "tollgate_datapath_service_slots{service=\"database\"} 16381",
            "tollgate_datapath_service_moving_slots{service=\"database\"} 12",
            "tollgate_datapath_backend_packets_total{service=\"database\",backend=\"10.0.0.21\"} 30",
            "tollgate_datapath_backend_next_hop{service=\"database\",backend=\"10.0.0.21\"} 1",
            "tollgate_datapath_backend_next_hop{service=\"database\",backend=\"10.0.0.22\"} 0",
            "tollgate_datapath_interface_attached{interface=\"eth0\"} 1",
            "tollgate_datapath_interface_attached{interface=\"eth1\"} 0",
            "tollgate_datapath_warnings{kind=\"routes\"} 0",
            "tollgate_datapath_warnings{kind=\"host_address\"} 1",
            "# TYPE tollgate_datapath_pins gauge",
            "tollgate_datapath_pins 7",
            "tollgate_datapath_pins_limit 1000",
            "tollgate_datapath_history_seconds 90",
            "tollgate_datapath_translations 14",
            "tollgate_datapath_translations_limit 2000",
            "tollgate_datapath_translating_interface_attached{interface=\"eth0\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
