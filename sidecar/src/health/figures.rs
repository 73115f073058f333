//! `tollgate_health_*` of `/metrics`. Labels are what the configuration names.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::report::{GroupReport, MemberReport};

/// Reads what is known when it is asked for.
pub(super) fn collector(
    report: impl Fn() -> Vec<GroupReport> + Send + Sync + 'static,
) -> Box<dyn Collector> {
    Box::new(Figures(report))
}

struct Figures<R>(R);

impl<R> std::fmt::Debug for Figures<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Figures")
    }
}

type Labels = Vec<(&'static str, String)>;

impl<R: Fn() -> Vec<GroupReport> + Send + Sync + 'static> Collector for Figures<R> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let groups = self.0();
        if groups.is_empty() {
            return Ok(());
        }
        let gauge = ConstGauge::new(0_u64).metric_type();
        let help =
            "1 if a member is used by its checks, or nothing is known of it yet; 0: it is down";
        let mut metric = encoder.encode_descriptor("health_up", help, None, gauge)?;
        for (group, member) in each(&groups) {
            let up = u64::from(member.state != "down");
            ConstGauge::new(up).encode(metric.encode_family(&labels(group, member))?)?;
        }
        let help =
            "The part of its share that a member has by its checks: it grows after it came back";
        let mut metric = encoder.encode_descriptor("health_share", help, None, gauge)?;
        for (group, member) in each(&groups) {
            let share = f64::from(member.quarters) / 4.0;
            ConstGauge::new(share).encode(metric.encode_family(&labels(group, member))?)?;
        }
        let help = "1 if so few members are up that all are used, whatever their checks say";
        let mut metric = encoder.encode_descriptor("health_panic", help, None, gauge)?;
        for group in &groups {
            let panic = u64::from(group.panic);
            ConstGauge::new(panic).encode(metric.encode_family(&named(group))?)?;
        }
        let counter = ConstCounter::new(0_u64).metric_type();
        let help = "Checks by what came of them";
        let mut metric = encoder.encode_descriptor("health_checks", help, None, counter)?;
        for (group, member) in each(&groups) {
            let passed = ("passed", member.passed);
            for (word, count) in [passed].into_iter().chain(member.failed.iter().copied()) {
                let mut labels = labels(group, member);
                labels.push(("result", word.to_owned()));
                ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn each(groups: &[GroupReport]) -> impl Iterator<Item = (&GroupReport, &MemberReport)> {
    groups
        .iter()
        .flat_map(|group| group.members.iter().map(move |member| (group, member)))
}

fn named(group: &GroupReport) -> Labels {
    vec![
        ("kind", group.name.kind.word().to_owned()),
        ("name", group.name.name.to_string()),
    ]
}

fn labels(group: &GroupReport, member: &MemberReport) -> Labels {
    let mut labels = named(group);
    labels.push(("member", member.address.clone()));
    labels
}
