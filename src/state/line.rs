//! What of an event goes into a journal, and in what form.

use serde_json::{Map, Value};

use crate::report::{Detail, Event, Mask};

/// The most bytes of one text in an event.
pub(super) const LONGEST_TEXT: usize = 16 * 1024;

/// Fields that hold words of ours and digests. A secret that is such a word must not make the line unreadable.
const TYPED: [&str; 5] = ["digest", "event", "exit", "manifest", "outcome"];

/// How much an event matters to whoever finishes the run.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Weight {
    /// Nothing: it only shows that something moves.
    None,
    /// The report shows it.
    Told,
    /// What is left to do depends on it.
    Decisive,
}

/// Weighs an event.
pub(super) fn weight(detail: &Detail) -> Weight {
    match detail {
        Detail::BlobProgressed { .. } | Detail::BlobStarted { .. } | Detail::Waiting { .. } => {
            Weight::None
        }
        Detail::BlobFinished { .. }
        | Detail::GateJudged { .. }
        | Detail::ImageDelivered { .. }
        | Detail::ImagePinned { .. }
        | Detail::ImagePreloaded { .. }
        | Detail::ImageVerified { .. }
        | Detail::RegistryChecked { .. }
        | Detail::RegistryLogin { .. }
        | Detail::RequestsCounted { .. }
        | Detail::Sampled { .. }
        | Detail::SignatureChecked { .. }
        | Detail::StepRetried { .. }
        | Detail::Warned { .. } => Weight::Told,
        Detail::ImageResolved { .. }
        | Detail::NoticeSent { .. }
        | Detail::RunFinished { .. }
        | Detail::RunResumed { .. }
        | Detail::RunStarted { .. }
        | Detail::StepFinished { .. }
        | Detail::StepSkipped { .. }
        | Detail::StepStarted { .. } => Weight::Decisive,
    }
}

/// Returns an event as a line with its line break, every text masked and bounded.
pub(super) fn line(event: &Event, mask: &dyn Mask) -> serde_json::Result<String> {
    let mut line = bounded(serde_json::to_value(event)?, mask).to_string();
    line.push('\n');
    Ok(line)
}

fn bounded(value: Value, mask: &dyn Mask) -> Value {
    match value {
        // Masked first: a secret that was cut is no longer found.
        Value::String(text) => Value::String(cut(mask.mask(&text))),
        Value::Array(items) => items.into_iter().map(|item| bounded(item, mask)).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| {
                let typed = value.is_string() && TYPED.contains(&name.as_str());
                let value = if typed { value } else { bounded(value, mask) };
                (name, value)
            };
            fields.into_iter().map(field).collect::<Map<_, _>>().into()
        }
        plain => plain,
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT - '…'.len_utf8()));
        text.push('…');
    }
    text
}
