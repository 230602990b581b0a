//! Headers of the document, as the HTTP client takes them.

use http::{HeaderMap, HeaderValue};

use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::address::HeaderName;
use crate::pipeline::map::Map;
use crate::pipeline::secret::SecretText;

/// Makes a header map in which every value is marked as sensitive, since any of them may hold a secret.
///
/// # Errors
/// A name or a value that HTTP does not allow. The value is not shown.
pub fn headers(declared: &Map<HeaderName, SecretText>, what: &str) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in declared.iter() {
        let refused = |part: &str| {
            let message = format!("{what} has a header that can't be sent");
            Failure::new(ExitCode::PipelineInvalid, message)
                .caused_by(format!("HTTP does not allow {part} of `{}`", name.value.0))
        };
        let mut sensitive =
            HeaderValue::from_str(value.0.expose()).map_err(|_| refused("the value"))?;
        sensitive.set_sensitive(true);
        let name = http::HeaderName::from_bytes(name.value.0.as_bytes())
            .map_err(|_| refused("the name"))?;
        headers.append(name, sensitive);
    }
    Ok(headers)
}
