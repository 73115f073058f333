//! The figures as bars, in an SVG file that needs nothing else.

use std::fmt::Write as _;

use crate::report::Row;
use crate::stream::{Rate, Way};

const WIDTH: f64 = 900.0;
/// Where bars begin: names stand before it.
const LEFT: f64 = 250.0;
/// Room for the numbers behind the bars.
const RIGHT: f64 = 90.0;
const BAR: f64 = 12.0;
const GAP: f64 = 8.0;

const OURS: &str = "#2f6f9f";
const FLOOR: &str = "#b9c4cc";
const LIMIT: &str = "#c0392b";

/// The plot: nanoseconds a packet above, packets a second below.
#[must_use]
pub fn svg(rows: &[Row], rates: &[Rate]) -> String {
    let mut plot = Plot {
        body: String::new(),
        y: 30.0,
    };
    plot.title("ns per packet, median (grey: stateless floor; red: bar)");
    let most = |row: &Row| {
        let floor = row.measured.stateless.map_or(0.0, |net| net.median);
        row.measured
            .ours
            .median
            .max(floor)
            .max(row.bar.ns.unwrap_or_default())
    };
    let scale = scale(rows.iter().map(most));
    for row in rows {
        let floor = row.measured.stateless.map(|net| (net.median, FLOOR));
        let bars = [Some((row.measured.ours.median, OURS)), floor];
        plot.group(row.name, bars.into_iter().flatten(), row.bar.ns, scale);
    }
    plot.y += 40.0;
    plot.title("millions of packets a second through veth, one CPU");
    let scale = self::scale(
        rates
            .iter()
            .filter_map(|rate| rate.mpps.map(|(most, _)| most)),
    );
    for rate in rates {
        let colour = if rate.way == Way::Ours { OURS } else { FLOOR };
        let bars = rate.mpps.map(|(most, _)| (most, colour));
        plot.group(rate.way.name(), bars.into_iter(), None, scale);
    }
    let height = plot.y + 20.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
        plot.body
    )
}

/// Pixels for one unit.
fn scale(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(1.0, f64::max);
    (WIDTH - LEFT - RIGHT) / most
}

struct Plot {
    body: String,
    y: f64,
}

impl Plot {
    fn title(&mut self, title: &str) {
        let y = self.y;
        self.put(&format!(
            "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{title}</text>"
        ));
        self.y += 16.0;
    }

    fn group(
        &mut self,
        name: &str,
        bars: impl Iterator<Item = (f64, &'static str)>,
        limit: Option<f64>,
        scale: f64,
    ) {
        let top = self.y;
        let x = LEFT - 8.0;
        let base = top + BAR - 2.0;
        self.put(&format!(
            "<text x=\"{x}\" y=\"{base}\" text-anchor=\"end\">{name}</text>"
        ));
        for (value, colour) in bars {
            let (y, width) = (self.y, (value * scale).max(1.0));
            let (x, base) = (LEFT + width + 5.0, y + BAR - 2.0);
            self.put(&format!(
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
                 <text x=\"{x:.1}\" y=\"{base}\">{value:.1}</text>"
            ));
            self.y += BAR;
        }
        self.y = self.y.max(top + BAR);
        if let Some(limit) = limit {
            let (x, end) = (LEFT + limit * scale, self.y + 2.0);
            let start = top - 2.0;
            self.put(&format!(
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{start}\" y2=\"{end}\" stroke=\"{LIMIT}\" stroke-width=\"2\"/>"
            ));
        }
        self.y += GAP;
    }

    fn put(&mut self, element: &str) {
        let _infallible = writeln!(self.body, "{element}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Bar;
    use crate::measure::{Measured, Net};

    #[test]
    fn every_case_and_way_has_its_bar_inside_the_picture() {
        let net = |median| Net {
            min: median,
            median,
        };
        let row = |name, median| Row {
            name,
            bar: Bar::default(),
            measured: Measured {
                ours: net(median),
                stateless: Some(net(10.0)),
                lru: None,
            },
        };
        let rate = Rate {
            way: Way::Ours,
            mpps: Some((4.2, 4.1)),
            note: None,
        };
        let picture = svg(&[row("first", 20.0), row("second", 600.0)], &[rate]);
        assert_eq!(picture.matches("<rect x=").count(), 5);
        for word in ["first", "second", "tollgate"] {
            assert!(picture.contains(word), "{word}");
        }
        let widths = picture.split("width=\"").skip(1);
        let widest = widths
            .filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok())
            .fold(0.0, f64::max);
        assert!(widest <= WIDTH - LEFT - RIGHT, "{widest}");
    }
}
