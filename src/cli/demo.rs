//! `wardline demo`: virtual patients through an outage: nothing lost.
#![allow(clippy::print_stdout)]

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use crate::lab::demo::{Demo, Phase, Progress, Settings, Summary};

/// Arguments of `wardline demo`.
#[derive(clap::Args)]
pub struct Args {
    /// How long the devices send: a third of it each before, in and after the outage.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    seconds: u64,
    /// Seed: the same ward again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Port of the live page; 0: any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How many patients.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=200))]
    patients: u32,
    /// Only the summary, as one JSON object.
    #[arg(long)]
    json: bool,
    /// Keep the page until Ctrl-C.
    #[arg(long)]
    stay: bool,
    /// Break something on purpose, to see that it is noticed.
    #[arg(long, value_enum)]
    fault: Option<FaultArg>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FaultArg {
    /// The endpoint forgets one Observation that it answered for.
    DropOne,
}

/// Runs it. Exit code 1: something was lost, doubled or left waiting.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(play(args))
}

async fn play(args: &Args) -> anyhow::Result<ExitCode> {
    let demo = Demo::start(Settings {
        length: Duration::from_secs(args.seconds),
        seed: args.seed,
        port: args.port,
        patients: args.patients,
        drop_one: args.fault == Some(FaultArg::DropOne),
    });
    let demo = demo.await?;
    if !args.json {
        println!("Wardline demo: a day of {} virtual patients in {} s.", args.patients, args.seconds);
        println!("Live page: {}\n", demo.page());
    }
    let mut line = Line::new(args.json);
    let stay = async |summary: &Summary| {
        if args.stay {
            report(args, summary);
            eprintln!("The page stays until Ctrl-C.");
            told_to_stop().await;
        }
    };
    let summary = tokio::select! {
        summary = demo.play(|progress| line.show(&progress), stay) => summary?,
        () = told_to_stop(), if !args.stay => anyhow::bail!("stopped before the end: nothing was counted"),
    };
    line.end();
    if !args.stay {
        report(args, &summary);
    }
    Ok(summary.exit_code())
}

/// Ctrl-C, or the word of a service manager or `timeout`: either way the folder goes away with us.
pub(super) async fn told_to_stop() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

fn report(args: &Args, summary: &Summary) {
    if args.json {
        println!("{}", serde_json::to_string(summary).unwrap_or_default());
        return;
    }
    let ms = |latency: Option<f64>| latency.map_or("–".into(), |ms| format!("{ms} ms"));
    println!("\n\nCustody of every reading, counted by the lab at both ends");
    for (name, number, note) in [
        ("committed", summary.committed, "the devices were told: this is safe"),
        ("delivered", summary.delivered, "found at the centre"),
        ("settled", summary.settled, "receipts of the centre, alert events included"),
        ("rejected", summary.rejected, "broken packets, kept with their reason"),
        ("waiting", summary.waiting, ""),
        ("duplicates", summary.duplicates, "at the centre"),
        ("lost", summary.lost, "committed − delivered − rejected − waiting"),
        ("altered", summary.altered, "patients and codes whose values differ from what was measured"),
    ] {
        println!("  {name:<12}{number:>9}   {note}");
    }
    println!(
        "\n  alerts      {} raised, {} at the centre; frame to signal p50 {}, p99 {}",
        summary.alerts_raised,
        summary.alerts_delivered,
        ms(summary.alert_latency_ms_p50),
        ms(summary.alert_latency_ms_p99)
    );
    println!(
        "  outage      {} readings waited; first one delivered {} ms after its end, then {} per second",
        summary.backlog_max,
        summary.first_after_outage_ms.unwrap_or(0),
        summary.drain_per_s
    );
    println!("  bad manners {} answers lost after the centre had stored the readings\n", summary.lost_answers);
    println!(
        "{}",
        if summary.is_good() { "Nothing lost, nothing doubled, nothing waiting." } else { "NOT GOOD: see above." }
    );
}

/// One line that is updated; on anything but a terminal, one line for each phase.
struct Line {
    json: bool,
    terminal: bool,
    phase: Option<Phase>,
}

impl Line {
    fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stdout().is_terminal(), phase: None }
    }

    fn show(&mut self, p: &Progress) {
        let changed = self.phase.replace(p.phase) != Some(p.phase);
        if self.json || !(self.terminal || changed) {
            return;
        }
        let alerts = if p.alerts == 1 { "alert" } else { "alerts" };
        let text = format!(
            "{:>5.1} s  {:<28} committed {:>6}  delivered {:>6}  waiting {:>6}  {} open {alerts}",
            p.elapsed.as_secs_f64(),
            p.phase.words(),
            p.committed,
            p.delivered,
            p.waiting,
            p.alerts
        );
        if self.terminal {
            print!("\r\x1b[2K{text}");
            let _ = std::io::stdout().flush();
        } else {
            println!("{text}");
        }
    }

    fn end(&self) {
        if self.terminal && !self.json {
            println!();
        }
    }
}
