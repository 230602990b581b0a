//! Turns samples of probes into a verdict: passed, failed or inconclusive.
//!
//! May do no input or output and read no clock: times are durations since the gate began, and
//! whoever asks the probes hands the answers in, a [`Round`] at a time. `docs/gates.md` has the
//! rules in plain words; [`Judge`] has them in full.

mod history;
mod judge;
mod reason;
mod sample;
mod spec;
#[cfg(test)]
mod tests;
mod track;
mod words;

pub use self::history::{History, Kind, Run, Seen, Summary};
pub use self::judge::{Decision, Judge};
pub use self::sample::{Round, Sample, Value};
pub use self::spec::{CONTROL, Pass, Rule, Settings, Spec, SpecError};
