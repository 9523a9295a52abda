//! The `tidegate` command. Only the entry: parsing, wiring and exit codes are in the library.

fn main() -> std::process::ExitCode {
    tidegate::cli::main()
}
