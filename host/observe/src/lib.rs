//! Metrics, function logs and the usage ledger
