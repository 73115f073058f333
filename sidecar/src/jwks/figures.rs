//! What `/metrics` says of keys and of the issuers' clocks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::snapshot::Snapshot;
use crate::snapshot::issuer::{IssuerState, KeyState};
use crate::snapshot::skew::ClockSource;

/// Reads the issuers of the moment when asked.
pub fn collector(snapshot: Arc<ArcSwap<Snapshot>>) -> Box<dyn Collector> {
    Box::new(Figures { snapshot })
}

#[derive(Debug)]
struct Figures {
    snapshot: Arc<ArcSwap<Snapshot>>,
}

type Row<N> = (Vec<(&'static str, String)>, N);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshot = self.snapshot.load_full();
        let keys: Vec<_> = snapshot
            .issuers
            .iter()
            .map(|issuer| (&**issuer, issuer.keys()))
            .collect();
        let by_issuer = |value: fn(&KeyState) -> u64| -> Vec<Row<u64>> {
            keys.iter()
                .map(|(issuer, keys)| (labels(issuer), value(keys)))
                .collect()
        };
        let usable = by_issuer(|keys| keys.set.as_ref().map_or(0, |set| set.len() as u64));
        let help = "Keys of the last good set that can be used";
        gauges(&mut encoder, "keys", help, None, usable)?;
        let skipped = by_issuer(|keys| keys.skipped().len() as u64);
        let help = "Keys of the last good set that cannot be used";
        gauges(&mut encoder, "keys_skipped", help, None, skipped)?;
        let ages = keys.iter().filter_map(|(issuer, keys)| {
            let age = keys.age()?.as_secs_f64();
            Some((labels(issuer), age))
        });
        let help = "Since the last good set was fetched or confirmed";
        gauges(&mut encoder, "keys_age", help, Some(&Unit::Seconds), ages)?;
        let fetches = by_issuer(|keys| keys.fetches);
        counters(&mut encoder, "keys_fetches", "Fetches of keys", fetches)?;
        let failures = by_issuer(|keys| keys.failures);
        let help = "Fetches of keys that failed";
        counters(&mut encoder, "keys_fetch_failures", help, failures)?;

        let offsets = keys.iter().flat_map(|(issuer, _)| {
            [ClockSource::Date, ClockSource::IssuedAt]
                .into_iter()
                .filter_map(|source| {
                    let offset = issuer.clock_offset_by(source)?;
                    let mut labels = labels(issuer);
                    labels.push(("source", source.word().to_owned()));
                    Some((labels, offset.seconds))
                })
        });
        let help = "How far the issuer's clock is ahead of ours; negative: behind";
        gauges(
            &mut encoder,
            "clock_skew",
            help,
            Some(&Unit::Seconds),
            offsets,
        )
    }
}

fn labels(issuer: &IssuerState) -> Vec<(&'static str, String)> {
    vec![("issuer", issuer.rules.name.to_string())]
}

fn gauges<N: EncodeGaugeValue + Default>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    rows: impl IntoIterator<Item = Row<N>>,
) -> Result<(), std::fmt::Error> {
    let kind = ConstGauge::new(N::default()).metric_type();
    let mut metric = encoder.encode_descriptor(name, help, unit, kind)?;
    for (labels, value) in rows {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: Vec<Row<u64>>,
) -> Result<(), std::fmt::Error> {
    let kind = ConstCounter::new(0_u64).metric_type();
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in rows {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
