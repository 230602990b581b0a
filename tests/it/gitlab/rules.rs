//! What holds of every template, checked without a runner.

use std::fs;

use regex::Regex;
use serde_json::{Value, json};

use super::template::{Input, Template, blocks, project};

/// Keywords that would reach beyond the component's own jobs.
const GLOBAL: [&str; 10] = [
    "after_script",
    "before_script",
    "cache",
    "default",
    "image",
    "include",
    "services",
    "stages",
    "variables",
    "workflow",
];

#[test]
fn a_template_holds_jobs_and_nothing_global() {
    // Two includes of one template must not share a key.
    let named = Regex::new(r"^\.?\$\[\[ inputs\.([a-z]+-)?job \]\]").unwrap();
    for template in Template::all() {
        for key in template.body.keys() {
            assert!(!GLOBAL.contains(&&**key), "{}: {key}", template.name);
            assert!(named.is_match(key), "{}: {key}", template.name);
        }
    }
}

#[test]
fn no_input_stands_in_a_script() {
    for template in Template::all() {
        for (name, job) in &template.body {
            for part in ["script", "before_script", "after_script", "hooks"] {
                let text = job[part].to_string();
                assert!(!text.contains("$[["), "{}: {name}: {part}", template.name);
            }
        }
    }
}

#[test]
fn every_job_runs_the_same_script() {
    let parts: Vec<_> = Template::all().iter().flat_map(scripts).collect();
    for part in PARTS {
        let same: Vec<_> = parts.iter().filter(|(name, _)| *name == part).collect();
        assert_eq!(same.len(), 5, "{part}");
        for pair in same.windows(2) {
            assert_eq!(pair[0], pair[1]);
        }
    }
    for line in parts.iter().flat_map(|(_, text)| text.lines()) {
        assert!(line.len() <= 100, "a log shows it in one piece: {line}");
    }
}

const PARTS: [&str; 2] = ["script", "after_script"];

/// Returns what each job runs, and what it runs afterwards.
pub fn scripts(template: &Template) -> Vec<(&'static str, String)> {
    let jobs = template
        .body
        .values()
        .filter(|job| job.get("script").is_some());
    jobs.flat_map(|job| {
        PARTS.map(|part| {
            let commands = job[part].as_array().unwrap();
            let lines: Vec<_> = commands.iter().map(|line| line.as_str().unwrap()).collect();
            (part, lines.join("\n"))
        })
    })
    .collect()
}

#[test]
fn there_is_no_fixed_host() {
    // A file's name may look like a host: only known ends count.
    let host =
        Regex::new(r"(?i)://|\b[a-z0-9-]+\.(com|dev|io|net|org|example)\b|\blocalhost\b").unwrap();
    for template in Template::all() {
        let path = project().join(format!("templates/{}.yml", template.name));
        for line in fs::read_to_string(path).unwrap().lines() {
            assert!(!host.is_match(line), "{}: {line}", template.name);
        }
    }
}

#[test]
fn names_and_number_of_components_fit() {
    let templates = Template::all();
    assert!(templates.len() <= 30, "GitLab takes 30");
    let name = Regex::new("^[a-z][a-z0-9-]*$").unwrap();
    for template in templates {
        assert!(name.is_match(&template.name));
        assert!(
            !template.about.is_empty(),
            "{} begins with what it is",
            template.name
        );
        for input in &template.inputs {
            assert!(
                name.is_match(&input.name),
                "{}: {}",
                template.name,
                input.name
            );
        }
    }
}

#[test]
fn every_input_is_described_used_and_consistent() {
    for template in Template::all() {
        let whole = Value::Object(template.body.clone()).to_string();
        let used = blocks(&whole);
        for input in &template.inputs {
            let place = format!("{}: {}", template.name, input.name);
            assert!(input.description.ends_with('.'), "{place}");
            assert!(used.contains(&input.name), "{place} is not used");
            if let Some(default) = &input.default {
                input
                    .check(default)
                    .unwrap_or_else(|why| panic!("{place}: {why}"));
            }
            if let Some(regex) = &input.regex {
                assert!(
                    regex.starts_with('^') && regex.ends_with('$'),
                    "{place} matches parts"
                );
            }
        }
        for name in used {
            assert!(
                template.inputs.iter().any(|input| input.name == name),
                "{name}"
            );
        }
    }
}

/// Every block is a whole value, or stands beside text in a key or path. There GitLab gives a list another
/// form than JSON: only empty or not must matter.
#[test]
fn a_list_stands_alone_or_in_a_hidden_name() {
    for template in Template::all() {
        let lists: Vec<_> = template
            .inputs
            .iter()
            .filter(|input| input.kind == "array")
            .collect();
        each_text(&Value::Object(template.body.clone()), &mut |text| {
            for input in &lists {
                if text.contains(&format!("inputs.{} ", input.name)) {
                    let alone = text == format!("$[[ inputs.{} ]]", input.name);
                    assert!(
                        alone || text.starts_with(".$[[ inputs."),
                        "{}: {text}",
                        template.name
                    );
                }
            }
        });
    }
}

#[test]
fn hostile_values_leave_the_structure_as_it_is() {
    for template in Template::all() {
        let given = required(&template);
        let usual = shape(&Value::Object(template.jobs(&given)));
        for input in &template.inputs {
            // Names of jobs become keys, and lists and switches are structure by their meaning.
            let structural = input.name.ends_with("job") || input.kind != "string";
            for value in HOSTILE {
                let given = with(&given, input, value);
                if input.check(&json!(value)).is_err() || structural {
                    continue;
                }
                let jobs = Value::Object(template.jobs(&given));
                let optional = ["environment", "id-token-audience", "lock"].contains(&&*input.name);
                if !optional {
                    assert_eq!(
                        shape(&jobs),
                        usual,
                        "{}: {}: {value}",
                        template.name,
                        input.name
                    );
                }
                for job in jobs.as_object().unwrap().values() {
                    assert!(!job["script"].to_string().contains(value), "{value}");
                }
            }
        }
    }
}

/// Values as somebody would choose them who wants more than a value.
pub const HOSTILE: [&str; 9] = [
    "it's \"quoted\" \\ `tick` \\n",
    "$(touch owned)",
    "`touch owned`",
    "x; touch owned; rm -rf .",
    "a\nowned:\n  script: [touch owned]\n",
    "x\nINPUTS\ntouch owned\n",
    "\u{1b}[0Ksection_start:1:owned[collapsed=true]\r\u{1b}[0Kowned",
    "--help",
    "$[[ inputs.image ]]",
];

fn required<'a>(template: &Template) -> Vec<(&'a str, Value)> {
    let given = [
        ("image", json!("tools/shipgate:1")),
        ("deploy-job", json!("deploy")),
    ];
    let known = |name: &str| template.inputs.iter().any(|input| input.name == name);
    given.into_iter().filter(|(name, _)| known(name)).collect()
}

fn with<'a>(given: &[(&'a str, Value)], input: &'a Input, value: &str) -> Vec<(&'a str, Value)> {
    let mut given = given.to_vec();
    given.retain(|(name, _)| *name != input.name);
    given.push((&input.name, json!(value)));
    given
}

/// Returns the paths of all values, with the keys on the way.
fn shape(value: &Value) -> Vec<String> {
    match value {
        Value::Object(entries) => {
            let below = entries
                .iter()
                .map(|(key, value)| (key.clone(), shape(value)));
            below.flat_map(prefixed).collect()
        }
        Value::Array(items) => {
            let below = items
                .iter()
                .enumerate()
                .map(|(at, item)| (at.to_string(), shape(item)));
            below.flat_map(prefixed).collect()
        }
        _ => vec![String::new()],
    }
}

fn prefixed((key, below): (String, Vec<String>)) -> impl Iterator<Item = String> {
    below.into_iter().map(move |rest| format!("{key}/{rest}"))
}

fn each_text(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, visit)),
        Value::Object(entries) => {
            for (key, value) in entries {
                visit(key);
                each_text(value, visit);
            }
        }
        _ => {}
    }
}
