//! Parts of a run: which of a document's steps are asked for.

use std::collections::BTreeSet;

/// Which steps a run is asked to do. `on-failure` and `finally` are never left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Selection {
    /// Every step.
    #[default]
    All,
    /// These steps, in the order of the document.
    Only(BTreeSet<String>),
    /// The steps between two, both included.
    Range {
        /// The first step, the document's first if none is named.
        from: Option<String>,
        /// The last step, the document's last if none is named.
        until: Option<String>,
    },
}

/// A selection that does not fit the document.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SelectionError {
    /// `from` stands behind `until`.
    #[error("step `{from}` comes after step `{until}`")]
    Backwards {
        /// The first step asked for.
        from: String,
        /// The last step asked for.
        until: String,
    },
    /// No step has this id.
    #[error("no step has the id `{id}`")]
    Unknown {
        /// The id that was asked for.
        id: String,
        /// The ids that there are.
        known: Vec<String>,
    },
}

impl SelectionError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Backwards { .. } => "swap --from and --until".into(),
            Self::Unknown { id, known } => {
                let close = known
                    .iter()
                    .map(|name| (strsim::damerau_levenshtein(id, name), name))
                    .filter(|(distance, _)| *distance <= 2)
                    .min();
                match close {
                    Some((_, name)) => format!("did you mean `{name}`?"),
                    None => format!("the steps are: {}", known.join(", ")),
                }
            }
        }
    }
}

impl Selection {
    /// Says for each step, in order, whether it is asked for.
    ///
    /// # Errors
    /// When an id is unknown or the range runs backwards.
    pub fn resolve(&self, ids: &[&str]) -> Result<Vec<bool>, SelectionError> {
        let place = |id: &String| {
            ids.iter()
                .position(|known| known == id)
                .ok_or_else(|| SelectionError::Unknown {
                    id: id.clone(),
                    known: ids.iter().map(ToString::to_string).collect(),
                })
        };
        match self {
            Self::All => Ok(vec![true; ids.len()]),
            Self::Only(wanted) => {
                let mut selected = vec![false; ids.len()];
                for id in wanted {
                    selected[place(id)?] = true;
                }
                Ok(selected)
            }
            Self::Range { from, until } => {
                let first = from.as_ref().map_or(Ok(0), place)?;
                let last = until.as_ref().map_or(Ok(ids.len()), place)?;
                if let (Some(from), Some(until)) = (from, until)
                    && first > last
                {
                    return Err(SelectionError::Backwards {
                        from: from.clone(),
                        until: until.clone(),
                    });
                }
                Ok((0..ids.len())
                    .map(|place| (first..=last).contains(&place))
                    .collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 4] = ["check", "preload", "verify", "live"];

    fn range(from: Option<&str>, until: Option<&str>) -> Selection {
        Selection::Range {
            from: from.map(Into::into),
            until: until.map(Into::into),
        }
    }

    #[test]
    fn selects_what_is_named() {
        let only = Selection::Only(["live".to_owned(), "check".to_owned()].into());
        assert_eq!(only.resolve(&IDS).unwrap(), [true, false, false, true]);
        assert_eq!(Selection::All.resolve(&IDS).unwrap(), [true; 4]);
    }

    #[test]
    fn ranges_include_both_ends() {
        assert_eq!(
            range(Some("preload"), Some("verify"))
                .resolve(&IDS)
                .unwrap(),
            [false, true, true, false]
        );
        assert_eq!(
            range(Some("verify"), None).resolve(&IDS).unwrap(),
            [false, false, true, true]
        );
        assert_eq!(
            range(None, Some("check")).resolve(&IDS).unwrap(),
            [true, false, false, false]
        );
    }

    #[test]
    fn refuses_what_is_not_there() {
        let error = range(Some("prelaod"), None).resolve(&IDS).unwrap_err();
        assert_eq!(error.hint(), "did you mean `preload`?");
        let error = range(Some("live"), Some("check"))
            .resolve(&IDS)
            .unwrap_err();
        assert_eq!(error.to_string(), "step `live` comes after step `check`");
    }
}
