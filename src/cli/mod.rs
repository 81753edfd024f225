//! One file per subcommand: arguments in, exit code out. The only place that prints.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod alerts;
mod assign;
mod backup;
mod check;
mod consent;
mod correct;
mod custody;
mod decode;
mod demo;
mod destination;
mod devices;
mod example;
mod explain;
mod export;
mod factory_reset;
mod generate;
mod identify;
mod inbox;
mod key;
mod lab;
mod mapping;
mod offline;
mod outbox;
mod pairing;
mod patient;
mod profile;
mod readings;
mod record;
mod relay;
mod remote;
mod replay;
mod run;
mod status;
mod storage;
mod text;
mod thresholds;
mod unassigned;
mod users;

/// Edge gateway for remote patient monitoring.
#[derive(Parser)]
#[command(name = "wardline", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Run(run::Args),
    /// Bring what a fleet's gateways put into a NATS stream to a FHIR server, beside others of its kind.
    Relay(relay::Args),
    /// Check configuration, profiles and rules.
    Check(check::Args),
    /// What the gateway is doing now.
    Status(status::Args),
    /// List stored readings.
    Readings(readings::Args),
    /// Everything about one reading: bytes, rule, resource, attempts, receipt.
    Explain(explain::Args),
    /// List and acknowledge alerts.
    Alerts(alerts::Args),
    /// What waits for each destination, and why.
    Outbox(outbox::Args),
    /// What was taken in each day and where it stands; `verify` checks the chain of custody.
    Custody(custody::Args),
    /// What the journal takes of the disk, and how long there is room.
    Storage(storage::Args),
    /// A checked copy of the journal, while the gateway runs.
    Backup(backup::BackupArgs),
    /// Readings for analysis, as CSV or NDJSON.
    Export(export::Args),
    /// Put a copy back; the gateway must not run.
    Restore(backup::RestoreArgs),
    /// The key that encrypts the journal: make one, change it.
    Key(key::Args),
    /// Destroy the key and all that the gateway keeps.
    FactoryReset(factory_reset::Args),
    /// What is stuck, by cause: try a fix on all of it, send it again, or give it up.
    Inbox(inbox::Args),
    /// What a FHIR destination can, and finding out.
    Destination(destination::Args),
    /// Who is a patient of this box; match a new one at the centre.
    Patient(patient::Args),
    /// Limits and measurements that the centre ordered: see, accept, refuse.
    Thresholds(thresholds::Args),
    /// Which device belongs to whom.
    Devices(devices::Args),
    /// Hand a device to a patient, take it back, see who had it when.
    Assign(assign::Args),
    /// Readings that are nobody's: why, and whose they are.
    Unassigned(unassigned::Args),
    /// Who consented to what: give, withdraw, and what waits for one.
    Consent(consent::Args),
    /// Readings that were sent and are wrong: take them back everywhere, and send the right ones.
    Correct(correct::Args),
    /// Firmware profiles: list, show, test.
    Profile(profile::Args),
    /// Run a capture of a device through a gateway that is thrown away.
    Replay(replay::Args),
    /// Decode bytes of a characteristic, or check a file of vectors.
    Decode(decode::Args),
    /// Virtual devices, patients and servers with bad manners.
    Lab(lab::Args),
    /// Virtual patients through an outage: nothing lost.
    Demo(demo::Args),
    /// Shell completions and man pages.
    Generate(generate::Args),
}

/// Runs the chosen subcommand.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Relay(args) => relay::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Readings(args) => readings::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Outbox(args) => outbox::run(&args),
        Command::Custody(args) => custody::run(&args),
        Command::Storage(args) => storage::run(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Export(args) => export::run(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Key(args) => key::run(&args),
        Command::FactoryReset(args) => factory_reset::run(&args),
        Command::Inbox(args) => inbox::run(&args),
        Command::Destination(args) => destination::run(&args),
        Command::Patient(args) => patient::run(&args),
        Command::Thresholds(args) => thresholds::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Assign(args) => assign::run(&args),
        Command::Unassigned(args) => unassigned::run(&args),
        Command::Consent(args) => consent::run(&args),
        Command::Correct(args) => correct::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Decode(args) => decode::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Generate(args) => generate::run(&args),
    }
}
