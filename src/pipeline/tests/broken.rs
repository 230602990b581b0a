//! Broken
use super::support::*;
#[test]
fn show() {
    let mut names: Vec<_> = std::fs::read_dir("/tmp/broken")
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.sort();
    for n in names {
        println!(
            "######## {}\n{}\n",
            n.display(),
            findings(&std::fs::read_to_string(&n).unwrap())
        );
    }
}
