//! The layer 4 benchmark's command line; `cargo xtask bench l4` calls it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anstream::{eprintln, print, println};
use clap::Parser;
use tollgate::demo::lab::missing_rights;
use tollgate_bench_l4::{
    Failure,
    cases::{self, Case},
    change::{self, Change},
    driver::Drivers,
    measure, plot,
    report::{self, Row},
    services,
    site::Site,
    stream,
};
use tollgate_tests::bpf::chain;

#[derive(Parser)]
#[command(
    about = "What a packet costs in the datapath",
    disable_version_flag = true
)]
struct Args {
    /// Few cases and few rounds
    #[arg(long)]
    quick: bool,
    /// Fail when a bar is missed
    #[arg(long)]
    check: bool,
    /// Only cases whose names contain this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Folder for l4.json and l4.svg
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(missed) if missed.is_empty() => ExitCode::SUCCESS,
        Ok(missed) => {
            eprintln!("bars missed:\n  {}", missed.join("\n  "));
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("bench l4: {}", chain(&failure));
            ExitCode::FAILURE
        }
    }
}

/// Measures and writes it all down; returns the bars that are missed, if they are to be met.
fn run(args: &Args) -> Result<Vec<String>, Failure> {
    if let Some(missing) = missing_rights() {
        return Err(Failure::new(
            "load programs and make namespaces",
            format!("this process lacks {missing}"),
        ));
    }
    measure::pin()?;
    let site = Site::lay()?;
    let mut drivers = Drivers::load()?;
    let mut bench = services::load(site.lb0, site.out0);
    let cases = chosen(args);
    let rows = rows(&site, &mut drivers, &mut bench, &cases, args.quick)?;
    print!("\n{}", report::table(&rows));
    let effort = stream::Effort {
        rounds: if args.quick { 2 } else { 5 },
        window: Duration::from_millis(if args.quick { 200 } else { 1000 }),
    };
    let rates = if args.only.is_some() {
        Vec::new()
    } else {
        stream::measure(&site, &mut drivers, &mut bench, effort)?
    };
    print!("\n{}", report::rates(&rates));
    let changes = if args.only.is_some() {
        Vec::new()
    } else {
        change::measure((site.lb0, site.out0), if args.quick { 21 } else { 101 })?
    };
    print!("\n{}", report::changes(&changes));

    fs::create_dir_all(&args.out)
        .map_err(|error| Failure::new(format!("make {}", args.out.display()), error))?;
    for (name, text) in [
        (
            "l4.json",
            format!("{:#}\n", report::json(&rows, &rates, &changes)),
        ),
        ("l4.svg", plot::svg(&rows, &rates)),
    ] {
        let path = args.out.join(name);
        fs::write(&path, text)
            .map_err(|error| Failure::new(format!("write {}", path.display()), error))?;
        println!("{}", path.display());
    }
    if !args.check {
        return Ok(Vec::new());
    }
    let mut missed: Vec<String> = rows.iter().flat_map(Row::missed).collect();
    missed.extend(rates.iter().filter_map(report::missed));
    missed.extend(changes.iter().filter_map(Change::missed));
    Ok(missed)
}

fn chosen(args: &Args) -> Vec<Case> {
    let mut cases = if args.quick {
        cases::quick()
    } else {
        cases::all()
    };
    if let Some(only) = &args.only {
        cases.retain(|case| case.name.contains(only));
    }
    cases
}

fn rows(
    site: &Site,
    drivers: &mut Drivers,
    bench: &mut tollgate_tests::bpf::Bench,
    cases: &[Case],
    quick: bool,
) -> Result<Vec<Row>, Failure> {
    let effort = measure::Effort {
        rounds: if quick { 7 } else { 21 },
        repeat: 200_000,
    };
    site.balancer
        .run(|| {
            // An interface has the queue that test runs come in by only while a program is attached.
            let link = drivers.attach("pass", "lb0")?;
            let mut rows = Vec::new();
            for case in cases {
                eprintln!("{} ...", case.name);
                let measured = measure::measure(drivers, bench, case, site.lb0, effort)?;
                rows.push(Row::new(case, measured));
            }
            drivers.detach("pass", link)?;
            Ok(rows)
        })
        .map_err(|error| Failure::new("enter the balancer's namespace", error))?
}
