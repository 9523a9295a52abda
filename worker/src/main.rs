//! Entry point of the worker program. Only hands over to the library; never any logic.
use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_worker::run::main(std::env::args_os())
}
