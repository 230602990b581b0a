//! What is under way at a moment: downloads with their rate, waits, the step. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Detail, Event, words};
use crate::oci::Digest;

/// How far back the rate looks.
const WINDOW: Duration = Duration::from_secs(5);
/// The least time between two points of the rate.
const GRAIN: Duration = Duration::from_millis(100);

/// What is under way.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    step: Option<Running>,
    wait: Option<Wait>,
    images: Vec<Image>,
    blobs: Vec<Blob>,
    /// Bytes that came over the network in this step, as far as this process saw them come.
    arrived: u64,
    points: VecDeque<(Duration, u64)>,
}

/// The step under way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Running {
    /// Its id.
    pub id: String,
    /// When it began, from the beginning of the run.
    pub since: Duration,
}

/// A wait under way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wait {
    /// For what.
    pub on: String,
    /// Since when, from the beginning of the run.
    pub since: Duration,
}

/// A blob under way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blob {
    /// The image's name.
    pub image: String,
    /// The blob's digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes so far.
    pub received: u64,
    /// Whether a progress event has come. The first one may count bytes of an earlier process.
    measured: bool,
}

#[derive(Clone, Debug)]
struct Image {
    name: String,
    bytes: u64,
    done: u64,
}

/// All downloads of a step together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Download {
    /// Bytes that are there, those of the cache included.
    pub received: u64,
    /// Bytes that there will be.
    pub total: u64,
    /// Bytes a second over the last five seconds, once they can be told.
    pub rate: Option<u64>,
    /// Time that is left at this rate.
    pub left: Option<Duration>,
}

impl Download {
    /// Returns how far it is, how fast and how long it will take.
    #[must_use]
    pub fn words(&self) -> String {
        let percent = words::percent(self.received, self.total);
        let (received, total) = (words::size(self.received), words::size(self.total));
        let mut said = format!("{percent:>2} %  {received} of {total}");
        if let Some(rate) = self.rate {
            said += &format!(", {}", words::rate(rate));
        }
        if let Some(left) = self.left {
            said += &format!(", about {} left", words::seconds(left));
        }
        said
    }
}

impl Progress {
    /// Takes notice of an event.
    pub fn apply(&mut self, event: &Event) {
        let now = event.elapsed;
        match &event.detail {
            Detail::StepStarted { .. } => {
                *self = Self::default();
                self.step = event.step.clone().map(|id| Running { id, since: now });
            }
            Detail::StepFinished { .. } | Detail::RunFinished { .. } => *self = Self::default(),
            Detail::StepRetried { .. } => {
                let step = self.step.take();
                *self = Self {
                    step,
                    ..Self::default()
                };
            }
            Detail::GateJudged { .. } => self.wait = None,
            Detail::Waiting { on } => {
                if self.wait.as_ref().is_none_or(|wait| wait.on != *on) {
                    let on = on.clone();
                    self.wait = Some(Wait { on, since: now });
                }
            }
            Detail::ImageResolved { image, bytes, .. } => {
                self.wait = None;
                self.images.push(Image {
                    name: image.clone(),
                    bytes: *bytes,
                    done: 0,
                });
            }
            Detail::ImageDelivered { .. } => self.wait = None,
            Detail::ImagePreloaded { image, .. } => {
                self.wait = None;
                self.blobs.retain(|blob| blob.image != *image);
                for known in self.images.iter_mut().filter(|known| known.name == *image) {
                    known.done = known.bytes;
                }
            }
            Detail::BlobStarted {
                image,
                digest,
                size,
            } => {
                self.wait = None;
                self.blobs.retain(|blob| blob.digest != *digest);
                self.blobs.push(Blob {
                    image: image.clone(),
                    digest: *digest,
                    size: *size,
                    received: 0,
                    measured: false,
                });
                self.point(now);
            }
            Detail::BlobProgressed { digest, received } => {
                self.wait = None;
                let blob = self.blobs.iter_mut().find(|blob| blob.digest == *digest);
                if let Some(blob) = blob {
                    if blob.measured {
                        self.arrived += received.saturating_sub(blob.received);
                    }
                    blob.measured = true;
                    blob.received = (*received).min(blob.size);
                }
                self.point(now);
            }
            Detail::BlobFinished {
                image,
                digest,
                size,
                cached,
                ..
            } => {
                self.wait = None;
                let place = self.blobs.iter().position(|blob| blob.digest == *digest);
                let received = place.map_or(0, |place| self.blobs.remove(place).received);
                if !cached {
                    self.arrived += size.saturating_sub(received);
                }
                if let Some(image) = self.images.iter_mut().find(|known| known.name == *image) {
                    image.done = image.bytes.min(image.done + size);
                }
                self.point(now);
            }
            _ => {}
        }
    }

    /// Returns the step under way.
    #[must_use]
    pub fn step(&self) -> Option<&Running> {
        self.step.as_ref()
    }

    /// Returns the wait under way. A wait ends when bytes come again or the step ends.
    #[must_use]
    pub fn wait(&self) -> Option<&Wait> {
        self.wait.as_ref()
    }

    /// Returns the blobs under way, the oldest first.
    #[must_use]
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs
    }

    /// Returns all downloads together while blobs are under way.
    #[must_use]
    pub fn download(&self, now: Duration) -> Option<Download> {
        if self.blobs.is_empty() {
            return None;
        }
        let under_way: u64 = self.blobs.iter().map(|blob| blob.received).sum();
        let sizes: u64 = self.blobs.iter().map(|blob| blob.size).sum();
        let done: u64 = self.images.iter().map(|image| image.done).sum();
        let announced: u64 = self.images.iter().map(|image| image.bytes).sum();
        let received = done + under_way;
        // Blobs may begin before anybody said how large their image is.
        let total = announced.max(done + sizes);
        let rate = self.rate(now);
        Some(Download {
            received,
            total,
            rate,
            left: rate
                .filter(|rate| *rate > 0)
                .map(|rate| Duration::from_secs((total - received.min(total)).div_ceil(rate))),
        })
    }

    fn point(&mut self, now: Duration) {
        let fresh = |(at, _): &(Duration, u64)| now.saturating_sub(*at) < GRAIN;
        if self.points.len() > 1 && self.points.back().is_some_and(fresh) {
            self.points.pop_back();
        }
        self.points.push_back((now, self.arrived));
        // The point just outside of the window stays: the rate begins with it.
        while self.points.len() > 2 && now.saturating_sub(self.points[1].0) > WINDOW {
            self.points.pop_front();
        }
    }

    fn rate(&self, now: Duration) -> Option<u64> {
        let (since, bytes) = *self.points.front().filter(|_| self.arrived > 0)?;
        let milliseconds = now.saturating_sub(since).as_millis();
        if milliseconds < GRAIN.as_millis() {
            return None;
        }
        let arrived = u128::from(self.arrived - bytes);
        u64::try_from(arrived * 1_000 / milliseconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64, detail: Detail) -> Event {
        Event {
            elapsed: Duration::from_millis(milliseconds),
            step: Some("preload".into()),
            detail,
        }
    }

    fn started(milliseconds: u64, blob: &[u8], size: u64) -> Event {
        let detail = Detail::BlobStarted {
            image: "web".into(),
            digest: Digest::of(blob),
            size,
        };
        at(milliseconds, detail)
    }

    fn progressed(milliseconds: u64, blob: &[u8], received: u64) -> Event {
        let detail = Detail::BlobProgressed {
            digest: Digest::of(blob),
            received,
        };
        at(milliseconds, detail)
    }

    #[test]
    fn the_rate_counts_what_arrived_and_not_what_was_resumed() {
        let mut progress = Progress::default();
        progress.apply(&started(0, b"a", 100_000_000));
        // 60 MB were on the disk from an earlier process.
        progress.apply(&progressed(100, b"a", 60_000_000));
        for tenth in 2..=20 {
            progress.apply(&progressed(
                tenth * 100,
                b"a",
                60_000_000 + (tenth - 1) * 1_000_000,
            ));
        }
        let download = progress.download(Duration::from_secs(2)).unwrap();
        assert_eq!(download.received, 79_000_000);
        assert_eq!(download.total, 100_000_000);
        assert_eq!(download.rate, Some(9_500_000));
        assert_eq!(download.left, Some(Duration::from_secs(3)));
    }

    #[test]
    fn the_rate_forgets_and_falls_to_nothing_in_a_stall() {
        let mut progress = Progress::default();
        progress.apply(&started(0, b"a", 1_000_000_000));
        for second in 1..=20 {
            progress.apply(&progressed(second * 1_000, b"a", second * 10_000_000));
        }
        let rate = |seconds| {
            progress
                .download(Duration::from_secs(seconds))
                .unwrap()
                .rate
        };
        assert_eq!(rate(20), Some(10_000_000));
        assert!(rate(60).unwrap() < 1_500_000);
        assert!(progress.points.len() < 10);
    }

    #[test]
    fn bytes_end_a_wait_and_the_step_ends_everything() {
        let mut progress = Progress::default();
        progress.apply(&at(
            0,
            Detail::Waiting {
                on: "a turn".into(),
            },
        ));
        assert_eq!(progress.wait().unwrap().on, "a turn");
        progress.apply(&started(1, b"a", 10));
        assert_eq!(progress.wait(), None);
        progress.apply(&at(
            2,
            Detail::GateJudged {
                verdict: "passed".into(),
                reason: String::new(),
            },
        ));
        assert_eq!(progress.blobs().len(), 1);
        let finished = Detail::StepFinished {
            outcome: crate::report::event::StepOutcome::Passed,
            took: Duration::ZERO,
            failure: None,
            continued: false,
        };
        progress.apply(&at(3, finished));
        assert!(progress.download(Duration::from_secs(9)).is_none());
    }

    #[test]
    fn the_same_wait_said_again_goes_on() {
        let mut progress = Progress::default();
        for second in [1_000, 9_000] {
            progress.apply(&at(
                second,
                Detail::Waiting {
                    on: "a turn".into(),
                },
            ));
        }
        assert_eq!(progress.wait().unwrap().since, Duration::from_secs(1));
    }
}
