//! `preload`: fetches images, every byte checked against its digest.

use crate::pipeline::address::ImageName;
use crate::pipeline::record::{choice, record};
use crate::pipeline::scalar::Platform;

record! {
    /// Fetches images, every byte checked against its digest.
    pub struct Preload("`preload`") {
        /// The images, by their names under `images`.
        images: Vec<ImageName>,
        /// The platform to take of images for several, where the image itself names none.
        platform: Option<Platform>,
        /// Where the images go.
        to: Vec<Destination> = vec![Destination::Cache],
    }
    check = |preload, _, context| crate::pipeline::validate::distinct_images(&preload.images, context);
}

choice! {
    /// A place for images.
    pub enum Destination("a destination", later = ["engine", "archive", "registry", "cluster", "docker", "containerd"]) {
        /// The content-addressed cache.
        Cache = "cache",
    }
}
