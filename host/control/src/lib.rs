//! The control plane: deploys, activation, deletion, the routing table
