//! `verify`: checks the signatures of images by the rules under `trust`.

use crate::pipeline::address::ImageName;
use crate::pipeline::record::record;

record! {
    /// Verifies the signatures of images by the rules under `trust`.
    pub struct Verify("`verify`") {
        /// The images, by their names under `images`.
        images: Vec<ImageName>,
    }
    check = |verify, _, context| crate::pipeline::validate::distinct_images(&verify.images, context);
}
