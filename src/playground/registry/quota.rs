//! How much memory the content of a registry may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use super::refusal::{Code, Refusal};

/// A number of bytes that everything stored shares.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    used: Arc<AtomicU64>,
    limit: u64,
}

impl Quota {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            used: Arc::default(),
            limit,
        }
    }

    /// Sets bytes aside until the reservation is dropped.
    pub(super) fn reserve(&self, bytes: usize) -> Result<Reservation, Refusal> {
        let mut reservation = Reservation {
            quota: self.clone(),
            bytes: 0,
        };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes set aside; dropping gives them back.
#[derive(Debug)]
pub(super) struct Reservation {
    quota: Quota,
    bytes: u64,
}

impl Reservation {
    /// Sets further bytes aside, or none at all.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.quota.limit;
        self.quota
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes as u64)
                    .filter(|total| *total <= limit)
            })
            .map_err(|used| {
                Refusal::new(
                    StatusCode::FORBIDDEN,
                    Code::Denied,
                    format!("the registry holds at most {limit} bytes; {used} are taken, and {bytes} more were sent"),
                )
            })?;
        self.bytes += bytes as u64;
        Ok(())
    }

    /// Gives back what is more than `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes as u64);
        self.quota.used.fetch_sub(surplus, Ordering::Relaxed);
        self.bytes -= surplus;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
