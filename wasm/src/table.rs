//! The grants as a table, for people.

use shipgate::cli::environment::Environment;
use shipgate::pipeline::scalar::{Size, duration_text};

use crate::bounds::Bounds;
use crate::cage::Cage;
use crate::stage::Carry;

/// Returns the table, with a line for each grant.
pub fn table(cage: &Cage, bounds: &Bounds, environment: &Environment) -> String {
    let mut rows: Vec<(&str, String, String)> = Vec::new();
    for (granted, reason) in &cage.hosts {
        rows.push(("connect", granted.host.to_string(), reason.clone()));
    }
    for (host, reason) in &cage.between {
        let reason = format!("{reason}, by the launcher alone");
        rows.push(("connect", host.to_string(), reason));
    }
    // A link may lead where nobody looks for it.
    let led = |path: &str, reason: &str| {
        let real = cage.real(path);
        let plain = shipgate::sandbox::pattern::flat(&cage.working_folder.join(path));
        if real == plain {
            reason.to_owned()
        } else {
            format!("{reason} (it is {})", real.display())
        }
    };
    for (path, reason) in &cage.files {
        let reason = if cage.real(path).exists() {
            led(path, reason)
        } else {
            format!("{reason} (not there)")
        };
        rows.push(("read", path.clone(), reason));
    }
    for (path, reason) in &cage.trusted {
        rows.push(("trust", path.clone(), led(path, reason)));
    }
    for mount in &cage.folders {
        let kind = if mount.read_only { "read" } else { "write" };
        let folder = format!("{}/", mount.shown.trim_end_matches('/'));
        rows.push((kind, folder, led(&mount.shown, &mount.reason)));
    }
    for (path, reason, how) in &cage.carried {
        let kind = match how {
            Carry::Append => "append",
            Carry::Replace => "write",
        };
        rows.push((kind, path.clone(), led(path, reason)));
    }
    for (name, reason) in &cage.variables {
        let unset = environment.variable(name).is_none();
        let reason = if unset {
            format!("{reason} (not set)")
        } else {
            reason.clone()
        };
        rows.push(("variable", name.clone(), reason));
    }
    let mut text = String::from("sandbox: the component gets\n");
    let width = rows
        .iter()
        .map(|(_, name, _)| name.chars().count())
        .max()
        .unwrap_or_default()
        .min(56);
    for (kind, name, reason) in rows {
        let line = format!("  {kind:<9} {name:<width$}  {reason}");
        text += line.trim_end();
        text.push('\n');
    }
    if !cage.front.is_empty() {
        text += &format!("  {:<9} {}\n", "front", cage.front.join(" "));
    }
    text += &format!(
        "  {:<9} {} of memory, {}, {} of output",
        "at most",
        Size(bounds.memory as u64),
        duration_text(bounds.time),
        Size(bounds.output),
    );
    text
}
