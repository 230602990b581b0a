//! The doorway of the component that is made for the launcher: everything is in the library.

fn main() -> std::process::ExitCode {
    shipgate::cli::main()
}
