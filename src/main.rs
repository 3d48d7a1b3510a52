//! The `diskferry` binary: hands the arguments to [`diskferry::app`] and turns its verdict into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    diskferry::app::main()
}
