//! Benchmarks only; see `micro/`.
