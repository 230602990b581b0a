//! Clients for what others run: container engines.

pub mod containerd;
pub mod docker;
