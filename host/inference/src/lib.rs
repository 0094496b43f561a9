//! Backends, sessions and model residency
