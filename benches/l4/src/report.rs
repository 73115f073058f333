//! What was measured, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::{Bar, Case};
use crate::change::{self, Change};
use crate::measure::{Measured, Net};
use crate::stream::{self, Rate, Way};

/// A case and its figures.
#[derive(Clone, Debug)]
pub struct Row {
    /// What people call the case.
    pub name: &'static str,
    /// What it may cost.
    pub bar: Bar,
    /// What it cost.
    pub measured: Measured,
}

impl Row {
    /// The figures of a case.
    #[must_use]
    pub const fn new(case: &Case, measured: Measured) -> Self {
        Self {
            name: case.name,
            bar: case.bar,
            measured,
        }
    }

    /// Times the floor without a flow table, by the medians.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let floor = self.measured.stateless?;
        Some(self.measured.ours.median / floor.median)
    }

    /// Which bars are missed, in words.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let least = self.measured.ours.min;
        if let Some(bar) = self.bar.ns.filter(|&bar| least > bar) {
            missed.push(format!("{}: {least:.1} ns, over {bar}", self.name));
        }
        if let Some((ratio, bar)) = self.ratio().zip(self.bar.ratio)
            && ratio > bar
        {
            missed.push(format!(
                "{}: {ratio:.2} times the floor, over {bar}",
                self.name
            ));
        }
        missed
    }
}

/// The table of nanoseconds a packet.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<34} {:>13} {:>13} {:>13} {:>6} {:>14}\n",
        "ns/packet, min / median", "stateless", "LRU", "tollgate", "ratio", "bar"
    );
    for row in rows {
        let Measured {
            ours,
            stateless,
            lru,
        } = row.measured;
        let ratio = row.ratio();
        let bars = [
            row.bar.ns.map(|bar| format!("{bar}")),
            row.bar.ratio.map(|bar| format!("{bar}x")),
        ];
        let bars: Vec<String> = bars.into_iter().flatten().collect();
        let judged = match (bars.is_empty(), row.missed().is_empty()) {
            (true, _) => "",
            (false, true) => "ok",
            (false, false) => "OVER",
        };
        let _infallible = writeln!(
            text,
            "{:<34} {:>13} {:>13} {:>13} {:>6} {:>9} {judged:>4}",
            row.name,
            stateless.map(pair).unwrap_or_default(),
            lru.map(pair).unwrap_or_default(),
            pair(ours),
            ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            bars.join(" "),
        );
    }
    text
}

/// The table of packets a second.
#[must_use]
pub fn rates(rates: &[Rate]) -> String {
    let mut text = format!("{:<34} {:>13}\n", "Mpps through veth", "max / median");
    for rate in rates {
        let figures = rate
            .mpps
            .map(|(most, median)| format!("{most:.2} / {median:.2}"));
        let judged = match (rate.way, missed(rate)) {
            (Way::Ours, None) => format!("bar {}: ok", stream::BAR),
            (Way::Ours, Some(_)) => format!("bar {}: UNDER", stream::BAR),
            _ => String::new(),
        };
        let _infallible = writeln!(
            text,
            "{:<34} {:>13} {judged}{}",
            rate.way.name(),
            figures.unwrap_or_default(),
            rate.note.as_deref().unwrap_or_default(),
        );
    }
    text
}

/// The table of changes.
#[must_use]
pub fn changes(changes: &[Change]) -> String {
    let mut text = format!(
        "{:<34} {:>18} {:>18}\n",
        "65 537 slots, min / median", "planned", "written"
    );
    let pair = |(min, median): (Duration, Duration)| {
        format!("{} / {} us", min.as_micros(), median.as_micros())
    };
    for one in changes {
        let judged = one.missed().map_or("ok", |_| "OVER");
        let _infallible = writeln!(
            text,
            "{:<34} {:>18} {:>18} bar {:?}: {judged}",
            one.name,
            pair(one.planned),
            pair(one.written),
            change::BAR,
        );
    }
    text
}

/// Whether a rate is below its bar, in words.
#[must_use]
pub fn missed(rate: &Rate) -> Option<String> {
    let (most, _) = rate.mpps.filter(|_| rate.way == Way::Ours)?;
    (most < stream::BAR).then(|| format!("{most:.2} Mpps, under {}", stream::BAR))
}

/// All of it as JSON.
#[must_use]
pub fn json(rows: &[Row], rates: &[Rate], changes: &[Change]) -> Value {
    let net = |net: Net| json!({ "min": round(net.min), "median": round(net.median) });
    let cases = rows.iter().map(|row| {
        json!({
            "case": row.name,
            "tollgate": net(row.measured.ours),
            "stateless": row.measured.stateless.map(net),
            "lru": row.measured.lru.map(net),
            "ratio": row.ratio().map(round),
            "bar": { "ns": row.bar.ns, "ratio": row.bar.ratio },
            "missed": row.missed(),
        })
    });
    let streams = rates.iter().map(|rate| {
        json!({
            "way": rate.way.name(),
            "max": rate.mpps.map(|(most, _)| round(most)),
            "median": rate.mpps.map(|(_, median)| round(median)),
            "note": rate.note,
        })
    });
    let micros = |time: Duration| round(time.as_secs_f64() * 1e6);
    let pair = |(min, median)| json!({ "min": micros(min), "median": micros(median) });
    let changes = changes.iter().map(|one| {
        json!({
            "change": one.name,
            "planned": pair(one.planned),
            "written": pair(one.written),
            "missed": one.missed(),
        })
    });
    json!({
        "ns_per_packet": cases.collect::<Vec<_>>(),
        "mpps": streams.collect::<Vec<_>>(),
        "us_per_change": changes.collect::<Vec<_>>(),
    })
}

fn pair(net: Net) -> String {
    format!("{:.1} / {:.1}", net.min, net.median)
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(min: f64, median: f64) -> Row {
        let net = |min, median| Net { min, median };
        Row {
            name: "some",
            bar: Bar {
                ns: Some(30.0),
                ratio: Some(1.5),
            },
            measured: Measured {
                ours: net(min, median),
                stateless: Some(net(18.0, 20.0)),
                lru: None,
            },
        }
    }

    #[test]
    fn nanoseconds_are_judged_by_the_least_and_ratios_by_the_median() {
        assert_eq!(row(30.0, 30.0).missed(), Vec::<String>::new());
        assert_eq!(row(30.1, 30.0).missed(), ["some: 30.1 ns, over 30"]);
        assert_eq!(
            row(20.0, 30.2).missed(),
            ["some: 1.51 times the floor, over 1.5"]
        );
    }

    #[test]
    fn the_table_says_which_case_is_over() {
        assert!(
            table(&[row(20.0, 22.0)])
                .trim_end()
                .ends_with("30 1.5x   ok")
        );
        assert!(
            table(&[row(40.0, 42.0)])
                .trim_end()
                .ends_with("30 1.5x OVER")
        );
    }

    #[test]
    fn only_the_product_has_a_rate_to_come_to() {
        let rate = |way, most| Rate {
            way,
            mpps: Some((most, most)),
            note: None,
        };
        assert_eq!(missed(&rate(Way::Ours, 4.0)), None);
        assert!(missed(&rate(Way::Ours, 3.9)).is_some());
        assert_eq!(missed(&rate(Way::Routed, 0.9)), None);
    }
}
