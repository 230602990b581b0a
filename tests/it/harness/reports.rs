//! What two reports of one pipeline have in common, wherever it ran.

use serde_json::{Value, json};

use super::sandbox::without_chance;

/// The fields of `report.json` that differ from run to run, and how. docs/reports.md lists them.
pub const DIFFERS: [(&str, &str); 19] = [
    ("run", "a new id for every run"),
    ("started", "a time"),
    ("finished", "a time"),
    ("*_ms", "times from the beginning of the run, and durations"),
    ("file", "as it was named; the name of the file is the same"),
    (
        "files[]",
        "as they were named; the names of the files are the same",
    ),
    (
        "images[]",
        "the order: those of one step are asked for at the same time",
    ),
    (
        "images[].fetched",
        "which of two images fetches a blob that both have, and what the cache held",
    ),
    ("images[].cached", "the same"),
    ("images[].served", "ports of hosts, and the same"),
    (
        "signatures[]",
        "the order: those of one step are looked for at the same time",
    ),
    (
        "signatures[].digest",
        "a signature that is made anew, as in the playground, has a digest of its own",
    ),
    ("gates[].probes[].good", "a count of samples"),
    ("gates[].probes[].bad", "a count of samples"),
    ("gates[].probes[].unknown", "a count of samples"),
    (
        "gates[].probes[].samples",
        "how many of the same there are in a row",
    ),
    ("gates[].probes[].dropped", "a count of samples"),
    (
        "requests",
        "a gate asks as often as it has time; the hosts are the same",
    ),
    (
        "any text",
        "run ids, times, durations, keys and signatures of the playground, rows of samples, and ports on 127.0.0.1",
    ),
];

/// Returns a report without what differs from run to run ([`DIFFERS`]).
pub fn comparable(report: &Value) -> Value {
    let mut report = masked("", report);
    for gate in items(&mut report["gates"]) {
        for probe in items(&mut gate["probes"]) {
            for count in ["good", "bad", "unknown", "dropped"] {
                probe[count] = json!("[COUNT]");
            }
            if let Value::Array(samples) = &mut probe["samples"] {
                samples.dedup();
            }
        }
    }
    for image in items(&mut report["images"]) {
        image["served"] = json!("[HOSTS]");
        for bytes in ["fetched", "cached"] {
            if image[bytes].is_number() {
                image[bytes] = json!("[BYTES]");
            }
        }
    }
    for signature in items(&mut report["signatures"]) {
        signature["digest"] = json!("[DIGEST]");
    }
    for list in ["images", "signatures"] {
        if let Value::Array(items) = &mut report[list] {
            items.sort_by_key(ToString::to_string);
        }
    }
    let requests = &mut report["requests"];
    if !requests.is_null() {
        requests["total"] = json!("[COUNT]");
        for host in items(&mut requests["hosts"]) {
            for count in ["requests", "failed", "received"] {
                host[count] = json!("[COUNT]");
            }
        }
        // They are sorted by name, of which the port was a part.
        if let Value::Array(hosts) = &mut requests["hosts"] {
            hosts.sort_by_key(|host| host["host"].to_string());
        }
    }
    report
}

fn items(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

fn masked(name: &str, value: &Value) -> Value {
    match value {
        Value::Number(_) if name.ends_with("_ms") => json!("[TIME]"),
        Value::String(_) if ["run", "started", "finished"].contains(&name) => {
            json!(format!("[{}]", name.to_uppercase()))
        }
        Value::String(path) if ["file", "files"].contains(&name) => {
            json!(path.rsplit(['/', '\\']).next())
        }
        Value::String(text) => json!(text_of(text)),
        Value::Array(items) => items.iter().map(|item| masked(name, item)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), masked(name, field)))
            .collect(),
        other => other.clone(),
    }
}

fn text_of(text: &str) -> String {
    let further = [
        (r"<?\b\d+(\.\d+)? ?(ms|µs|s|min|h)\b", "[TIME]"),
        (r"key sha256:[0-9a-f]{64}", "key [KEY]"),
        (r"bundle, sha256:[0-9a-f]{64}", "bundle, [DIGEST]"),
        (r"^[GB?-]+, last", "[SAMPLES], last"),
    ];
    without_chance(text, &further)
}
