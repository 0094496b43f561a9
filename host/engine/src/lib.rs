//! The wasmtime side of Modelet: compile, cache, limits, instances, the WIT host side
