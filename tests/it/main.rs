//! The one integration binary: each module is a theme, `harness` is what they stand on.
//!
//! Tests that need real peers are ignored by a plain `cargo test`, which says so beside each name;
//! `tests/run` sets the peers up and runs them all.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that can't go on has to stop its test"
)]

mod access;
mod action;
mod cancel;
mod cli;
mod component;
mod conformance;
mod destinations;
mod docker;
mod document;
mod faults;
mod finish;
mod formats;
mod gate;
mod gitlab;
mod harness;
mod mirrors;
mod notify;
mod peers;
mod plan;
mod playground;
mod preload;
mod puller;
mod report;
mod verify;
mod ways;
