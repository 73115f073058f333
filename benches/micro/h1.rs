//! What HTTP/1.1 itself costs a request: heads read and written on both sides, a body framed, and a whole exchange.
//!
//! `cargo bench -p tollgate-benches --bench h1`; `cargo bench -p tollgate-benches --bench allocations` shows that none of it
//! allocates.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput};
use tollgate_benches::Outcome;
use tollgate_benches::exchange::{Exchange, request, response};
use tollgate_http::h1::{Body, Framing, Limits, Part};

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    heads(&mut criterion)?;
    bodies(&mut criterion);
    criterion.final_summary();
    Ok(())
}

/// The floor is httparse alone, which checks less, keeps nothing and knows nothing of framing.
fn heads(criterion: &mut Criterion) -> Outcome<()> {
    let (request, response) = (request()?, response());
    let mut group = criterion.benchmark_group("h1");
    group.bench_function(
        format!("floor: httparse, request of {} bytes", request.len()),
        |b| {
            b.iter(|| {
                let mut lines = [httparse::EMPTY_HEADER; 32];
                let mut parsed = httparse::Request::new(&mut lines);
                parsed
                    .parse(black_box(&request))
                    .is_ok_and(|s| s.is_complete())
            });
        },
    );
    let mut exchange = Exchange::new(&request, &response);
    let bare = Exchange::bare()?;
    exchange.run()?;
    group.bench_function("request read, bare answer written", |b| {
        b.iter(|| exchange.request_read().unwrap_or_default());
    });
    group.bench_function(
        format!(
            "bare request written, response of {} bytes read",
            response.len()
        ),
        |b| b.iter(|| exchange.response_read(&bare).unwrap_or_default()),
    );
    group.bench_function("both read and written, as a proxy does", |b| {
        b.iter(|| exchange.run().unwrap_or_default());
    });
    group.finish();
    Ok(())
}

/// A MiB in chunks of 16 KiB, and in chunks of 16 bytes; with the copy that a socket would make.
fn bodies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("h1, chunked MiB");
    for size in [16 << 10, 16_usize] {
        let chunk = [
            format!("{size:x}\r\n").as_bytes(),
            &vec![b'x'; size],
            b"\r\n",
        ]
        .concat();
        let mut bytes = chunk.repeat((1 << 20) / size);
        bytes.extend_from_slice(b"0\r\n\r\n");
        let mut buffer = BytesMut::new();
        group.throughput(Throughput::Bytes(1 << 20));
        group.bench_function(format!("chunks of {size} read"), |b| {
            b.iter(|| {
                let mut body = Body::new(Framing::Chunked, &Limits::default());
                buffer.clear();
                buffer.reserve(bytes.len());
                buffer.extend_from_slice(black_box(&bytes));
                while let Ok(Part::Data(_) | Part::Trailers(_)) = body.next(&mut buffer) {}
                body.received()
            });
        });
    }
    group.finish();
}
