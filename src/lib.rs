//! shipgate takes a container image from a healthy registry to live, and proves that what is
//! live is the digest that was verified.
//!
//! This page is the map. Data flows one way: document, tasks, engine, step, domain module, event,
//! report. Only [`cli`] reads variables, home and the clock, prints, and knows exit codes of the
//! process; everything else is told.
//!
//! | module | is | may not |
//! | --- | --- | --- |
//! | [`authority`] | a host and port as they are written | look anything up |
//! | [`cache`] | a content-addressed OCI image layout | know where bytes come from |
//! | [`cli`] | command line, environment, printer | decide what a report does not show |
//! | [`clock`] | the wall clock, passed in | be asked by a gate |
//! | [`destination`] | from the cache to layouts, archives, engines and registries | know document or terminal |
//! | [`engine`] | order, deadlines, cancellation, lock file, plan | speak a protocol |
//! | [`failure`] | what went wrong, as data | hold a secret |
//! | [`gate`] | samples into a verdict, pure | do input or output |
//! | [`net`] | HTTP/1.1 over our own connector | redirect, retry, add credentials |
//! | [`notice`] | what people are told, and its delivery | change a verdict |
//! | [`oci`] | references, manifests, credentials, one transport | know document or terminal |
//! | [`outcome`] | exit codes and their precedence | change the meaning of a number |
//! | [`pipeline`] | the document: tree, templates, types, schema, masks | know the network |
//! | [`platform`] | clients for what others run: engines | know document or terminal |
//! | [`playground`] | a registry and a service on loopback | be reached from elsewhere |
//! | [`probe`] | one question, asked once | judge what the answer means |
//! | [`pull`] | from registries into the cache, over many connections | know document or terminal |
//! | [`report`] | one event type, many renderers | ask the domain for anything |
//! | [`sandbox`] | what a component can do, and what a policy takes away | touch anything |
//! | [`serve`] | the cache as a read-only registry on loopback | write, be reached from elsewhere |
//! | [`state`] | what outlives a process: the journal of a run | know the document, run a step |
//! | [`step`] | one file a verb | speak a protocol |
//! | [`trust`] | policy, discovery, Cosign, verdicts | fetch but through a trait |

#![forbid(unsafe_code)]

pub mod authority;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod destination;
pub mod engine;
pub mod failure;
pub mod gate;
pub mod net;
pub mod notice;
pub mod oci;
pub mod outcome;
pub mod pipeline;
pub mod platform;
pub mod playground;
pub mod probe;
pub mod pull;
pub mod report;
pub mod sandbox;
pub mod serve;
pub mod state;
pub mod step;
pub mod trust;

#[cfg(test)]
mod tests {
    #[test]
    fn both_maps_name_every_module_once() {
        let source = include_str!("lib.rs");
        let page = include_str!("../docs/architecture.md");
        let declared = source
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        for module in declared {
            let row = format!("//! | [`{module}`] |");
            assert_eq!(source.matches(&row).count(), 1, "{module}");
            let places = [format!("`src/{module}/`"), format!("`src/{module}.rs`")];
            let rows = page.lines().filter(|line| line.starts_with('|'));
            let named = rows.filter(|row| places.iter().any(|place| row.contains(place)));
            assert_eq!(named.count(), 1, "{module} in docs/architecture.md");
        }
    }
}
