//! Arguments and exit codes: 0 done, 1 failed, 2 refused input (with a `WL-` code), 64 wrong usage.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before anything opens a TLS connection: the one provider in the tree.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match wardline::cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    wardline::cli::run(cli).unwrap_or_else(|e| {
        eprintln!("wardline: {e:#}");
        ExitCode::FAILURE
    })
}
