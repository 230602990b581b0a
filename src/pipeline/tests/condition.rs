use std::collections::BTreeSet;

use super::*;
use crate::pipeline::Kind;
use crate::pipeline::convert::Context;
use crate::pipeline::interpolate::{Declared, InputText, Scope};
use crate::pipeline::names::Names;
use crate::pipeline::scalar::InputType;
use crate::pipeline::tree;
use crate::pipeline::{Diagnostic, Source};

struct Told {
    failed: BTreeSet<&'static str>,
    standing: Standing,
}

impl Facts for Told {
    fn ended(&self, step: &str, ending: Ending) -> bool {
        match ending {
            Ending::Failed => self.failed.contains(step),
            Ending::Passed => !self.failed.contains(step),
            Ending::Inconclusive | Ending::Skipped => false,
        }
    }

    fn stands(&self, standing: Standing) -> bool {
        self.standing == standing
    }
}

fn read(text: &str) -> Result<Condition, Vec<Diagnostic>> {
    let source = Source::new("p.yml", text);
    let node = tree::parse(&source, &mut Vec::new()).unwrap();
    let mut scope = Scope {
        names: Names {
            complete: true,
            steps: vec!["a".into(), "b-2".into(), "c".into()],
            ..Names::default()
        },
        ..Scope::default()
    };
    for (name, value, of) in [
        ("wait", "true", InputType::Boolean),
        ("where", "staging", InputType::String),
    ] {
        scope
            .inputs
            .insert(name.into(), InputText::Known(value.into()));
        let options = Vec::new();
        scope.input_types.insert(
            name.into(),
            Declared {
                of: Some(of),
                options,
            },
        );
    }
    let mut context = Context::new(&source, scope);
    context.step = Some(2);
    let condition = Condition::from_node(&node, &mut context);
    condition.ok_or_else(|| context.into_diagnostics())
}

#[test]
fn conditions_are_decided_by_facts() {
    let facts = Told {
        failed: BTreeSet::from(["a"]),
        standing: Standing::Failure,
    };
    for (text, expected) in [
        ("failed(a)", true),
        ("passed(a)", false),
        ("failed('b-2')", false),
        ("passed(b-2) and failed(a)", true),
        ("not failed(a) or failure()", true),
        ("not (failed(a) or failure())", false),
        ("success()", false),
        ("cancelled() or true", true),
        ("false", false),
        ("input.wait", true),
        ("input.where == 'staging'", true),
        ("input.where != staging", false),
        (
            "input.where == \"production\" or skipped(a) or inconclusive(a)",
            false,
        ),
        ("failed(a) or failed(b-2) and false", true),
        ("not not failed(a)", true),
    ] {
        let condition = read(&format!("\"{}\"", text.replace('"', "\\\""))).unwrap();
        assert_eq!(condition.holds(&facts), expected, "{text}");
        assert_eq!(condition.text(), text);
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("\"{}failed(a){}\"", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(read(&deep).unwrap_err()[0].kind, Kind::Condition);
    let deep = format!("\"{}failed(a)\"", "not ".repeat(5000));
    assert_eq!(read(&deep).unwrap_err()[0].kind, Kind::Condition);
}

#[test]
fn the_caret_is_under_the_fault() {
    let found = read("\"failed(a) and faild(b-2)\"").unwrap_err();
    let place = found[0].place.as_ref().unwrap();
    assert_eq!((place.start.column, place.end.column), (16, 21));
}
