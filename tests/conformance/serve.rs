//! Serves one quirk of a registry until its standard input ends, then says what the client did wrong.
//!
//! `cargo run --example quirks` lists them, `cargo run --example quirks -- NAME` serves one.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "a tool for tests, which use more of what it shares with them"
)]

#[path = "../fault/mod.rs"]
mod fault;
mod quirk;

use std::io::Read as _;
use std::process::ExitCode;

use self::quirk::{LOGIN, Quirk, REGISTRY, files};

fn main() -> ExitCode {
    let quirks: Vec<Quirk> = files().iter().map(|path| Quirk::read(path)).collect();
    let Some(name) = std::env::args().nth(1) else {
        for quirk in quirks {
            println!("{:<36} {}", quirk.name, said(&quirk, "title"));
        }
        return ExitCode::SUCCESS;
    };
    let Some(quirk) = quirks.into_iter().find(|quirk| quirk.name == name) else {
        println!("no quirk is called {name}");
        return ExitCode::from(2);
    };
    let served = quirk.serve();
    let quirk = served.quirk();
    println!("{name}: {}", said(quirk, "title"));
    println!("a sound client: {}", said(quirk, "sound"));
    println!("  HTTP_PROXY=http://{}", served.proxy.address());
    println!("  pull {} over plain HTTP", quirk.reference());
    if let Some(platform) = quirk.file["client"]["platform"].as_str() {
        println!("  for {platform}");
    }
    if quirk.has_login() {
        let (user, password) = LOGIN;
        println!("  log in to {REGISTRY} as {user} with {password}");
    }
    println!("  it is to end {}", quirk.file["expect"]["outcome"]);
    println!("End the input (Ctrl-D) when the client has ended.");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    for exchange in served.proxy.exchanges() {
        let status = exchange
            .status
            .map_or("no answer".to_owned(), |it| it.to_string());
        println!("  {} -> {status}", exchange.line());
    }
    let found = served.faults_of_the_client();
    for fault in &found {
        println!("not sound: {fault}");
    }
    println!("{} of the requests' rules were broken", found.len());
    ExitCode::from(u8::from(!found.is_empty()))
}

fn said(quirk: &Quirk, key: &str) -> String {
    quirk.file[key].as_str().unwrap_or_default().to_owned()
}
