//! `wardline run`: the gateway itself, until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::fault::{Explain, sentence};
use crate::gateway::{self, Options};
use crate::telemetry;

/// Arguments of `wardline run`.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = super::remote::CONFIG)]
    config: PathBuf,
}

/// Runs it. Exit code 2: the configuration or what it names is refused; 1: a part failed while running.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(e) => return Ok(refused(&e)),
    };
    telemetry::start_logs(&config.log);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build()?;
    let configuration = crate::config::fingerprint(&args.config, &config);
    runtime.block_on(serve(config, Some(configuration)))
}

async fn serve(config: Config, configuration: Option<String>) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let panicked = telemetry::end_on_panic(stop.clone());
    let options =
        Options { clock: Clock::system(), metrics: telemetry::start_metrics()?, configuration, stop: stop.clone() };
    let running = match gateway::start(config, options, Vec::new()).await {
        Ok(running) => running,
        Err(e) => return Ok(refused(&e)),
    };
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    };
    let wait = running.wait();
    tokio::pin!(wait);
    let ended = tokio::select! {
        ended = &mut wait => ended,
        () = told => wait.await,
    };
    if let Err(failed) = &ended {
        tracing::error!(code = "WL-O016", part = &*failed.part, why = failed.why, "The gateway ends: a part failed.");
    }
    let well = ended.is_ok() && !panicked.load(std::sync::atomic::Ordering::Acquire);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line on standard error, for the person or the service manager who started it.
fn refused(error: &dyn Explain) -> ExitCode {
    eprintln!("{}", sentence(error));
    ExitCode::from(2)
}
