//! Signers of the Notary Project: their trust policies and certificates, read from files and folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::clients::read;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::notary::Notation;
use crate::trust::notation::{
    self, Notary, NotaryError, Scope, Statement, StoreError, StoreKind, TrustStore,
};

/// Makes a signer of what a document says, with paths relative to a folder.
///
/// # Errors
/// A file that can't be read, or is no certificate or trust policy that can be used.
pub fn of_document(name: &str, signer: &Notation, folder: &Path) -> Result<Notary, Failure> {
    if let (Some(policy), Some(store)) = (&signer.policy, &signer.store) {
        return of_policy(&folder.join(&policy.value), &folder.join(&store.value));
    }
    let unusable = |cause: String| {
        Failure::new(
            ExitCode::PipelineInvalid,
            format!("the signer `{name}` can't be used"),
        )
        .caused_by(cause)
    };
    let mut stores = BTreeMap::new();
    for (kind, files) in signer.stores() {
        let mut store = TrustStore::default();
        for file in files {
            add(&mut store, kind, &folder.join(&file.value))
                .map_err(|error| refused(&folder.join(&file.value), &error))?;
        }
        stores.insert(kind, store);
    }
    let metadata = signer.metadata.iter().flat_map(|metadata| metadata.iter());
    let identities = notation::identities(&signer.identities());
    Ok(Notary::new(Statement {
        name: name.to_owned(),
        scope: Scope::Every,
        strictness: signer.strictness().map_err(|it| unusable(it.to_owned()))?,
        time_stamps: signer.time_stamps(),
        stores,
        identities: identities.map_err(|error| {
            let message = format!("the signer `{name}` can't be used");
            Failure::explained(ExitCode::PipelineInvalid, message, &error)
        })?,
        metadata: metadata
            .map(|(key, value)| (key.value.clone(), value.value.clone()))
            .collect(),
    }))
}

/// Makes a signer of a `trustpolicy.json` and the folder `truststore` that belongs to it.
///
/// # Errors
/// As [`of_document`].
pub fn of_policy(policy: &Path, store: &Path) -> Result<Notary, Failure> {
    let message = format!("the trust policy {} can't be used", policy.display());
    let json = read(policy, &message)?;
    let named = |kind: StoreKind, name: &str| {
        let folder = store.join("x509").join(kind.name()).join(name);
        let mut found = TrustStore::default();
        let missing = |reason: String| NotaryError::StoreMissing {
            kind,
            name: name.to_owned(),
            reason,
        };
        // As notation has it, links are not followed: who may write into the store says what is trusted.
        match fs::symlink_metadata(&folder) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => return Err(missing(format!("{} is no folder", folder.display()))),
            Err(error) => return Err(missing(format!("{}: {error}", folder.display()))),
        }
        add(&mut found, kind, &folder)?;
        if found.is_empty() {
            return Err(missing(format!("{} is empty", folder.display())));
        }
        Ok(found)
    };
    Notary::from_json(&json, named)
        .map_err(|error| Failure::explained(ExitCode::InputInvalid, message, &error))
}

/// Returns the files that a signer rests on, those of its folders one by one: a sandbox is given files, not folders.
#[must_use]
pub fn files(signer: &Notation) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting: Vec<(PathBuf, usize)> = signer.files().map(|it| (it.to_owned(), 0)).collect();
    while let Some((path, depth)) = waiting.pop() {
        if path.is_dir()
            && depth < DEEPEST
            && let Ok(entries) = fs::read_dir(&path)
        {
            let entries = entries.filter_map(Result::ok).take(TrustStore::MOST);
            waiting.extend(entries.map(|entry| (entry.path(), depth + 1)));
        }
        found.push(path);
        if found.len() == TrustStore::MOST {
            break;
        }
    }
    found.sort();
    found
}

/// A store has the folders `x509`, a kind, and a name.
const DEEPEST: usize = 4;

/// Adds a file, or every file of a folder.
fn add(store: &mut TrustStore, kind: StoreKind, path: &Path) -> Result<(), NotaryError> {
    let shown = path.display().to_string();
    let failed = |reason: String| {
        NotaryError::Store(StoreError {
            file: shown.clone(),
            kind,
            reason,
        })
    };
    let files = if path.is_dir() {
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| failed(error.to_string()))? {
            let entry = entry.map_err(|error| failed(error.to_string()))?;
            let kind = entry
                .file_type()
                .map_err(|error| failed(error.to_string()))?;
            if !kind.is_file() {
                let what = entry.path();
                return Err(failed(format!(
                    "{} is a folder or a link, which notation does not follow either",
                    what.display()
                )));
            }
            files.push(entry.path());
        }
        files.sort();
        files
    } else {
        vec![path.to_owned()]
    };
    for file in files {
        let shown = file.display().to_string();
        let bytes = read(&file, &shown).map_err(|failure| {
            let reason = failure.causes.first().cloned().unwrap_or_default();
            NotaryError::Store(StoreError {
                file: shown.clone(),
                kind,
                reason,
            })
        })?;
        store.add(kind, &shown, &bytes)?;
    }
    Ok(())
}

fn refused(path: &Path, error: &NotaryError) -> Failure {
    let message = format!("the certificates {} can't be used", path.display());
    Failure::explained(ExitCode::InputInvalid, message, error)
}
