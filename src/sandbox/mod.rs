//! The component's cage as data: what a component can do, what it is given by hand, what a policy allows.
//!
//! The launcher in `wasm/` enforces it; nothing here touches files, network or processes.

pub mod capability;
pub mod component;
pub mod front;
pub mod given;
pub mod pattern;
pub mod policy;

pub use component::{Artifact, Component};
pub use given::{Folder, Host};
pub use policy::{Kind, Policy};

#[cfg(test)]
mod tests {
    use super::capability::CAPABILITIES;
    use super::front;

    /// Parts of the page are generated: run the test with `SHIPGATE_BLESS=1` to write them anew.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the test suite, not of the library"
    )]
    fn the_page_about_the_sandbox_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sandbox.md");
        let page = std::fs::read_to_string(path).unwrap();
        let mut current = page;
        let mut table =
            String::from("| | natively | in the sandbox | how |\n| --- | --- | --- | --- |\n");
        for row in CAPABILITIES {
            let provider = row.provider.word();
            table += &format!(
                "| {} | {} | {provider} | {} |\n",
                row.what, row.natively, row.how
            );
        }
        let mut list = String::from("| variable | what for |\n| --- | --- |\n");
        for (name, what) in front::VARIABLES {
            list += &format!("| `{name}` | {what} |\n");
        }
        for (name, text) in [("capabilities", table), ("front", list)] {
            let begin = format!("<!-- {name}: generated -->\n");
            let end = format!("<!-- {name}: end -->\n");
            let (before, rest) = current.split_once(&begin).unwrap();
            let (_, after) = rest.split_once(&end).unwrap();
            current = format!("{before}{begin}\n{text}\n{end}{after}");
        }
        if std::env::var("SHIPGATE_BLESS").is_ok() {
            std::fs::write(path, &current).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == current, "bless docs/sandbox.md");
    }
}
