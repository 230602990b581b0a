//! What a job that comes after a run wants to know of it, in a handful of values.

use std::collections::BTreeMap;

use crate::report::event::StepOutcome;
use crate::report::{Mask, Report};

/// The results of a run as outputs of a CI job carry them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Results {
    /// The name of the exit code. Empty while the run goes on.
    pub status: String,
    /// The number of the exit code. Absent while the run goes on.
    pub exit_code: Option<u8>,
    /// The digests of the images that were resolved or that the lock file pins, by their names in the document.
    pub digests: BTreeMap<String, String>,
    /// Whether a deploy was taken back.
    pub rolled_back: bool,
    /// Whether images were preloaded, and nothing of them had to be fetched.
    pub cache_hit: bool,
}

impl Results {
    /// Draws the results from a report.
    #[must_use]
    pub fn of(report: &Report, mask: &dyn Mask) -> Self {
        let pinned = report.pinned.iter();
        let pinned = pinned.map(|image| (&image.name, &image.digest));
        let resolved = report.images.iter();
        let resolved = resolved.map(|image| (&image.name, &image.digest));
        let digests = pinned
            .chain(resolved)
            .map(|(name, digest)| (mask.mask(name), mask.mask(digest)));
        let mut fetched = report.images.iter().filter_map(|image| image.fetched);
        let first = fetched.next();
        Self {
            status: report
                .exit
                .map(|exit| exit.name.name().to_owned())
                .unwrap_or_default(),
            exit_code: report.exit.map(|exit| exit.code),
            digests: digests.collect(),
            rolled_back: report
                .steps
                .iter()
                .any(|step| step.verb == "rollback" && step.outcome == Some(StepOutcome::Passed)),
            cache_hit: first == Some(0) && fetched.all(|bytes| bytes == 0),
        }
    }

    /// Returns the digests as one line of JSON, a map from names to digests.
    #[must_use]
    pub fn digests_json(&self) -> String {
        // A map of texts can't fail to serialise.
        serde_json::to_string(&self.digests).unwrap_or_default()
    }
}
