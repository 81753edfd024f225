//! `wardline lab`: virtual devices, patients and servers with bad manners.
#![allow(clippy::print_stdout)]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::clock::Clock;
use crate::lab::endpoint::{self, Endpoint, Manners, Settings};
use crate::lab::mqtt::{self, Target};
use crate::lab::patient::DAY;
use crate::lab::peripheral;
use crate::lab::ward::{Tempo, Ward};

/// Arguments of `wardline lab`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// A FHIR endpoint on loopback that counts duplicates, and misbehaves as told.
    Endpoint(EndpointArgs),
    /// Virtual patients and their devices, publishing to an MQTT broker.
    Devices(DevicesArgs),
    /// Virtual Bluetooth peripherals, as JSON: what each offers over the air and has measured.
    Peripherals(PeripheralsArgs),
}

#[derive(clap::Args)]
struct PeripheralsArgs {
    /// Hours of measurements in each.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    hours: u32,
}

#[derive(clap::Args)]
struct DevicesArgs {
    /// The broker, like mqtt://127.0.0.1:1883.
    #[arg(long, required_unless_present = "config")]
    mqtt: Option<String>,
    /// User name at the broker.
    #[arg(long, requires = "password_file")]
    user: Option<String>,
    /// File with the password.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// How many patients.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    patients: u32,
    /// In how many seconds a day of theirs passes.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How often each chest strap reports, milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    strap_ms: u64,
    /// Seed: the same ward again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print patients and devices as they stand in a gateway's configuration, and publish nothing.
    #[arg(long)]
    config: bool,
}

#[derive(clap::Args)]
struct EndpointArgs {
    /// Port of the FHIR endpoint; 0: any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port of `GET /counts` and `GET, PUT /manners`; 0: any free one.
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// HTTPS, with a certificate made for this run.
    #[arg(long)]
    tls: bool,
    /// Write the certificate of this run's authority here (PEM).
    #[arg(long, requires = "tls")]
    ca_file: Option<PathBuf>,
    /// Seed of the misfortunes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the bodies, to be read and searched.
    #[arg(long)]
    keep: bool,
    /// Ask for this bearer token.
    #[arg(long)]
    token: Option<String>,
    #[command(flatten)]
    manners: Manners,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Endpoint(args) => serve(args),
        What::Devices(args) => publish(args),
        What::Peripherals(args) => {
            println!("{}", serde_json::to_string(&peripheral::table(args.hours)?)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn publish(args: &DevicesArgs) -> anyhow::Result<ExitCode> {
    let ward = Ward::new(args.seed, args.patients);
    let Some(url) = args.mqtt.as_deref().filter(|_| !args.config) else {
        print!("{}", mqtt::config(&ward));
        return Ok(ExitCode::SUCCESS);
    };
    let mut target = Target::parse(url)?;
    if let (Some(user), Some(file)) = (&args.user, &args.password_file) {
        let password = std::fs::read_to_string(file).context("the password file cannot be read")?;
        target.credentials = Some((user.clone(), password.trim_end().to_owned()));
    }
    let clock = Clock::system();
    let real = Duration::from_secs(args.seconds);
    let speed = DAY.as_secs_f64() / real.as_secs_f64();
    let strap = Duration::from_millis(args.strap_ms);
    // An oximeter's clock shows whole seconds.
    let oximeter = (strap * 5).max(Duration::from_secs(1));
    let (strap, oximeter) = (strap.mul_f64(speed), oximeter.mul_f64(speed));
    let tempo = Tempo { life: Duration::ZERO..DAY, real, strap, oximeter };
    let (play, _) = ward.play(tempo, clock.now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            published = mqtt::publish(&target, play, &clock) => {
                println!("{}", serde_json::to_string(&published?)?);
                Ok(ExitCode::SUCCESS)
            }
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::FAILURE),
        }
    })
}

fn serve(args: &EndpointArgs) -> anyhow::Result<ExitCode> {
    let endpoint = Arc::new(Endpoint::start(Settings {
        port: args.port,
        tls: args.tls,
        ca_file: args.ca_file.clone(),
        seed: args.seed,
        manners: args.manners,
        keep: args.keep,
        token: args.token.clone(),
    })?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let control = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, args.control_port)).await;
        let control = control.context("the control port is taken")?;
        // One line for people and scripts: where it is.
        let line = serde_json::json!({
            "fhir": endpoint.url(),
            "control": format!("http://{}", control.local_addr()?),
            "ca_file": args.ca_file,
        });
        println!("{line}");
        tokio::select! {
            served = axum::serve(control, endpoint::control(endpoint.clone())) => served?,
            signal = tokio::signal::ctrl_c() => signal?,
        }
        println!("{}", serde_json::to_string(&endpoint.counts())?);
        Ok(ExitCode::SUCCESS)
    })
}
