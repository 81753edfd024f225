//! Logs without patient data, metrics, panics, and the word to the service manager.
//!
//! Redaction by construction: our own types redact themselves, other crates are held at `warn` whatever the level (their
//! debug output may print payloads), and a panic's message, which may quote a value, is never printed: its place is.
//! Must never: log, count or label by anything that is a patient's.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::LogSettings;
use crate::limits;

pub mod heartbeat;
mod watchdog;

pub use watchdog::{Pulse, Watchdog};

/// Starts logging to standard error; a second call changes nothing.
pub fn start_logs(settings: &LogSettings) {
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(true);
    // The system's journal stamps each line itself.
    let stamped_elsewhere = std::env::var_os("JOURNAL_STREAM").is_some() && !std::io::stderr().is_terminal();
    let layer = match (settings.json, stamped_elsewhere) {
        (true, _) => layer.json().flatten_event(true).with_current_span(false).boxed(),
        (false, true) => layer.without_time().boxed(),
        (false, false) => layer.boxed(),
    };
    let registry = tracing_subscriber::registry().with(layer.with_filter(targets(&settings.level)));
    if registry.try_init().is_err() {
        tracing::debug!("Logging was started before.");
    }
}

/// Our modules at the level asked for (`info`, or `info,source=debug` by module); everything else at `warn`.
fn targets(levels: &str) -> Targets {
    let mut targets = Targets::new().with_default(LevelFilter::WARN).with_target("wardline", LevelFilter::INFO);
    for part in levels.split(',').map(str::trim) {
        let (target, level) = match part.split_once('=') {
            Some((module, level)) => (format!("wardline::{module}"), level),
            None => ("wardline".to_owned(), part),
        };
        if let Ok(level) = level.parse::<LevelFilter>() {
            targets = targets.with_target(target, level);
        }
    }
    targets
}

/// Counters of this process; rendered by the status socket. Call once.
pub fn start_metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().install_recorder()
}

/// Counters for tests and for a second gateway in one process: nothing records into them.
pub fn idle_metrics() -> PrometheusHandle {
    PrometheusBuilder::new().build_recorder().handle()
}

/// From now on a panic is logged by its place, and one in our own code ends the process in order through `stop`.
///
/// A panic inside a dependency's own task unwinds that task only; one in a dependency called by a task of ours is
/// seen by `gateway.rs` when the task ends. Returns whether there was one: the exit code then says failure.
pub fn end_on_panic(stop: CancellationToken) -> Arc<AtomicBool> {
    let panicked = Arc::new(AtomicBool::new(false));
    let flag = panicked.clone();
    std::panic::set_hook(Box::new(move |info| {
        let ours = log_panic(info);
        if ours {
            flag.store(true, Ordering::Release);
            stop.cancel();
        }
    }));
    panicked
}

/// Logs where; answers whether that is in this crate. The compiler names our files relative to the package.
fn log_panic(info: &PanicHookInfo<'_>) -> bool {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let Some(place) = info.location() else { return true };
    let ours = !std::path::Path::new(place.file()).is_absolute();
    tracing::error!(
        code = "WL-O012",
        file = place.file(),
        line = place.line(),
        thread,
        ours,
        "A part of the gateway panicked."
    );
    ours
}

/// Tells the service manager, if there is one, that the gateway is ready.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// While it lives, the service manager waits for the gateway, at most [`limits::START_MAX`]: a long salvage, or a journal
/// that is written anew, is no hang.
pub struct Starting {
    _end: SyncSender<()>,
}

/// Asks the service manager for patience from now on.
pub fn starting() -> Starting {
    let (end, ended) = sync_channel(0);
    let extend = || notify(&[NotifyState::ExtendTimeoutUsec(limits::START_EXTENDED_US)]);
    extend();
    let times = limits::START_MAX.as_secs() / limits::START_EXTENDED_EVERY.as_secs();
    let go_on = move || {
        for _ in 0..times {
            match ended.recv_timeout(limits::START_EXTENDED_EVERY) {
                Err(RecvTimeoutError::Timeout) => extend(),
                _ => return,
            }
        }
    };
    if let Err(e) = std::thread::Builder::new().name("starting".into()).spawn(go_on) {
        tracing::warn!(error = %e, "The service manager may lose its patience with a long start.");
    }
    Starting { _end: end }
}

/// Tells the service manager that the gateway is stopping.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::warn!(error = %e, "The service manager could not be notified.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_never_log_below_warn() {
        let targets = targets("trace,source=debug");
        assert!(targets.would_enable("wardline::alert", &tracing::Level::TRACE));
        assert!(targets.would_enable("wardline::source::mqtt", &tracing::Level::DEBUG));
        assert!(!targets.would_enable("wardline::source::mqtt", &tracing::Level::TRACE));
        assert!(!targets.would_enable("rumqttc", &tracing::Level::INFO));
        assert!(targets.would_enable("rumqttc", &tracing::Level::WARN));
    }
}
