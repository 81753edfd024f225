//! `wardline relay`: brings what is in a stream to a FHIR server, until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::RelayConfig;
use crate::fault::{Explain, sentence};
use crate::relay::{self, Options, RelayError};
use crate::telemetry;

/// Arguments of `wardline relay`.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration file of the relay.
    #[arg(long, value_name = "FILE", default_value = "/etc/wardline/relay.toml")]
    config: PathBuf,
    /// Check the configuration and end.
    #[arg(long)]
    check: bool,
}

/// Runs it. Exit code 2: the configuration or what it names is refused; 1: a part failed while running.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match RelayConfig::load(&args.config) {
        Ok(config) => config,
        Err(e) => return Ok(refused(&e)),
    };
    if args.check {
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::start_logs(&config.log);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: RelayConfig) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let panicked = telemetry::end_on_panic(stop.clone());
    let options = Options { clock: Clock::system(), metrics: telemetry::start_metrics()?, stop: stop.clone() };
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    };
    let running = relay::run(config, options);
    tokio::pin!(running);
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = told => running.await,
    };
    let well = !panicked.load(std::sync::atomic::Ordering::Acquire);
    Ok(match ended {
        Ok(()) if well => ExitCode::SUCCESS,
        Ok(()) | Err(RelayError::Part(_)) => ExitCode::FAILURE,
        Err(e) => refused(&e),
    })
}

/// One line on standard error, for the person or the service manager who started it.
fn refused(error: &dyn Explain) -> ExitCode {
    eprintln!("{}", sentence(error));
    ExitCode::from(2)
}
