//! shipgate takes a container image from a healthy registry to live, and proves that what is
//! live is the digest that was verified.

#![forbid(unsafe_code)]

pub mod cache;
pub mod cli;
pub mod clock;
pub mod engine;
pub mod failure;
pub mod gate;
pub mod net;
pub mod notice;
pub mod oci;
pub mod outcome;
pub mod pipeline;
pub mod playground;
pub mod probe;
pub mod report;
pub mod step;
pub mod trust;
