//! `wardline lab`: virtual devices, patients and servers with bad manners.
#![allow(clippy::print_stdout)]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use crate::lab::endpoint::{self, Endpoint, Manners, Settings};

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
    }
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
