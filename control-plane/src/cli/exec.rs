//! `tidegate exec-child`: what stands between `up` and each of its children. It asks the kernel to end this process when `up` is gone
//! (also by kill -9), and then becomes the child. Only a process can ask that for itself, so it takes a program of its own.
use std::{ffi::OsString, os::unix::process::CommandExt as _};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::error::Error;

#[derive(Clone, Debug, clap::Args)]
pub struct ExecArgs {
    /// Process id of `up`; anybody else as parent means that it has died already
    #[arg(long)]
    pub parent: i32,
    /// What to send when the parent dies: KILL or INT
    #[arg(long, default_value = "KILL")]
    pub signal: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<OsString>,
}

/// Returns only when it fails.
pub fn exec(args: &ExecArgs) -> Result<u8, Error> {
    let signal = if args.signal == "INT" { Signal::INT } else { Signal::KILL };
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Error::Usage("no program was given".to_owned()));
    };
    let failed = |source: std::io::Error| Error::Spawn { name: program.to_string_lossy().into_owned(), source };
    set_parent_process_death_signal(Some(signal)).map_err(|e| failed(e.into()))?;
    if getppid().map(rustix::process::Pid::as_raw_pid) != Some(args.parent) {
        return Ok(1);
    }
    Err(failed(std::process::Command::new(program).args(rest).exec()))
}
