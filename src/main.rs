//! The doorway: everything is in the library.

fn main() -> std::process::ExitCode {
    shipgate::cli::main()
}
