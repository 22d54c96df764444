//! Nothing: the benchmarks are in `benches/`, the harness for whole processes in `harness/`.
