//! What GitLab alone reads: `gitlab.env` (`artifacts:reports:dotenv`) and `gitlab-annotations.json`
//! (`artifacts:reports:annotations`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use url::Url;

use super::{JUNIT, REPORT, Results, SUMMARY, Surroundings};
use crate::report::{Mask, Report, words};

/// The most variables of a file: what an instance takes unless its administrator says otherwise. GitLab.com takes
/// 50 and more. A file with more is refused whole.
const VARIABLES: usize = 20;
/// The file must be smaller than this many bytes, or it is refused whole.
const BYTES: usize = 5 * 1024;
/// Characters of a value besides letters and digits. GitLab expands `$`; other readers of such files know quotes and
/// comments, GitLab does not.
const PLAIN: &str = "._:/@+,=~%- \\";

/// Returns the text of `gitlab.env`, and what had to be left out of it.
///
/// GitLab takes no empty lines, comments, quotes and line breaks in values.
#[must_use]
pub fn variables(report: &Report, around: &Surroundings, mask: &dyn Mask) -> (String, Vec<String>) {
    let results = Results::of(report, mask);
    let path = |path: &Path| mask.mask(&below(around, path));
    let report = around
        .folder
        .as_ref()
        .map(|folder| path(&folder.join(REPORT)));
    let mut given = vec![
        ("STATUS".to_owned(), results.status),
        (
            "EXIT_CODE".to_owned(),
            results
                .exit_code
                .map(|code| code.to_string())
                .unwrap_or_default(),
        ),
        ("ROLLED_BACK".to_owned(), results.rolled_back.to_string()),
        ("CACHE_HIT".to_owned(), results.cache_hit.to_string()),
    ];
    given.extend(report.map(|report| ("REPORT".to_owned(), report)));
    given.extend(
        around
            .lock
            .iter()
            .map(|lock| ("LOCK".to_owned(), path(lock))),
    );
    let mut file = Variables::default();
    for (name, value) in given.iter().filter(|(_, value)| !value.is_empty()) {
        file.add(name, value);
    }
    for (name, images) in named(&results.digests) {
        match &images[..] {
            [(_, digest)] => file.add(&format!("DIGEST_{name}"), digest),
            // Nobody could tell whose digest it is.
            images => {
                let images: Vec<_> = images.iter().map(|(image, _)| *image).collect();
                file.left_out.push(format!(
                    "SHIPGATE_DIGEST_{name} is not in gitlab.env: it would stand for {}",
                    images.join(" and ")
                ));
            }
        }
    }
    let text = std::mem::take(&mut file.text);
    (text, file.finish())
}

/// Returns the text of `gitlab-annotations.json`: links on the page of the job to the files that are among its artifacts.
#[must_use]
pub fn annotations(around: &Surroundings, mask: &dyn Mask) -> String {
    let links = links(around, mask);
    let lists = if links.is_empty() {
        json!({})
    } else {
        json!({ "shipgate": links })
    };
    format!("{lists:#}\n")
}

fn links(around: &Surroundings, mask: &dyn Mask) -> Vec<serde_json::Value> {
    let page = around.gitlab.as_ref().and_then(|job| job.page.as_ref());
    let page = page.and_then(|page| Url::parse(page).ok());
    let folder = around.folder.as_deref();
    // What is not below the project's folder can't be an artifact.
    let folder = folder.and_then(|folder| around.roots.below_project(folder));
    let (Some(page), Some(folder)) = (page, folder) else {
        return Vec::new();
    };
    let files = [("Summary", SUMMARY), ("Report", REPORT), ("Tests", JUNIT)];
    let link = |(label, name): (&str, &str)| {
        let mut url = page.clone();
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(["artifacts", "file"])
            .extend(folder.split('/').filter(|part| !part.is_empty()))
            .push(name);
        Some(json!({"external_link": {"label": label, "url": mask.mask(url.as_str())}}))
    };
    files.into_iter().filter_map(link).collect()
}

/// Returns a path as a later job finds it: from the root of the repository, where artifacts are put back.
fn below(around: &Surroundings, path: &Path) -> String {
    around
        .roots
        .below_project(path)
        .unwrap_or_else(|| around.roots.absolute(path).display().to_string())
}

/// Puts the images under the names that their variables would have.
fn named(digests: &BTreeMap<String, String>) -> BTreeMap<String, Vec<(&str, &str)>> {
    let mut named: BTreeMap<String, Vec<(&str, &str)>> = BTreeMap::new();
    for (image, digest) in digests {
        let letter = |letter: char| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' => letter.to_ascii_uppercase(),
            _ => '_',
        };
        let name = image.chars().map(letter).collect();
        named.entry(name).or_default().push((image, digest));
    }
    named
}

#[derive(Default)]
struct Variables {
    text: String,
    number: usize,
    too_many: u64,
    left_out: Vec<String>,
}

impl Variables {
    fn add(&mut self, name: &str, value: &str) {
        let plain = |character: char| character.is_alphanumeric() || PLAIN.contains(character);
        if !value.chars().all(plain) || value.trim() != value {
            self.left_out.push(format!(
                "SHIPGATE_{name} is not in gitlab.env: GitLab would not read its value as it is"
            ));
            return;
        }
        let line = format!("SHIPGATE_{name}={value}\n");
        if self.number == VARIABLES || self.text.len() + line.len() >= BYTES {
            self.too_many += 1;
            return;
        }
        self.number += 1;
        self.text += &line;
    }

    fn finish(mut self) -> Vec<String> {
        if self.too_many > 0 {
            let variables = words::count(self.too_many, "variable", "variables");
            self.left_out.push(format!(
                "{variables} more would not fit into gitlab.env, of which GitLab takes {VARIABLES} variables and {} KiB; \
                 {REPORT} has all digests",
                BYTES / 1024
            ));
        }
        self.left_out
    }
}
