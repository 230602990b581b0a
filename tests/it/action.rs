//! The GitHub Action: what its files promise, its scripts as the runner starts them, and whole
//! workflows in the real `act`.

mod cancelled;
mod jobs;
mod logs;
mod manifest;
mod scripts;
