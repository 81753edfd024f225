//! `wardline thresholds`: limits and measurements that the centre ordered; a person accepts or refuses them.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;
use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::careplan::{Event, Order, State};
use crate::control::thresholds::Asked;

/// Arguments of `wardline thresholds`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Also those that have no force any more.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Subcommand)]
enum Command {
    /// One order with all that happened to it.
    Show(One),
    /// Bring an order into force.
    Accept(Accept),
    /// Not this order, or: its refusal was seen.
    Refuse(Refuse),
    /// Who changed what, newest first.
    History(Plain),
    /// Ask the centres now.
    Ask(Plain),
}

#[derive(clap::Args)]
struct Plain {
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
struct One {
    /// Its id, or the beginning of it.
    id: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
struct Accept {
    #[command(flatten)]
    one: One,
    /// Who decides it.
    #[arg(long, value_name = "NAME")]
    by: String,
}

#[derive(clap::Args)]
struct Refuse {
    #[command(flatten)]
    one: One,
    /// Who decides it.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why. No patient data.
    #[arg(long)]
    reason: String,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        None => {
            let raw = orders(&args.remote, args.all)?;
            args.remote.print(&raw, |orders: &Vec<Order>| list(orders))?;
        }
        Some(Command::Show(one)) => show(one)?,
        Some(Command::Accept(a)) => decide(&a.one, "accept", &json!({ "by": a.by }))?,
        Some(Command::Refuse(r)) => decide(&r.one, "refuse", &json!({ "by": r.by, "reason": r.reason }))?,
        Some(Command::History(Plain { remote })) => {
            let raw: Box<RawValue> = remote.ask(async |client| client.get("/v1/thresholds/history", &[]).await)?;
            remote.print(&raw, |events: &Vec<Event>| lines(events.iter()))?;
        }
        Some(Command::Ask(Plain { remote })) => {
            let path = "/v1/thresholds/ask";
            let asked: Box<RawValue> = remote.ask_patiently(async |client| client.post(path, &json!({})).await)?;
            let all: Vec<Asked> = remote.print(&asked, |all: &Vec<Asked>| {
                let line = |a: &Asked| match &a.why {
                    None => format!("{}: asked about {} patients.\n", a.destination, a.patients),
                    Some(why) => format!("{}: {why}\n", a.destination),
                };
                all.iter().map(line).collect()
            })?;
            if all.iter().any(|a| a.why.is_some()) {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn orders(remote: &Remote, all: bool) -> anyhow::Result<Box<RawValue>> {
    remote.ask(async |client| client.get("/v1/thresholds", &[("all", all.to_string())]).await)
}

/// The one order whose id begins so.
fn meant(one: &One) -> anyhow::Result<Order> {
    let all: Vec<Order> = serde_json::from_str(orders(&one.remote, true)?.get())?;
    let mut meant = all.into_iter().filter(|o| !one.id.is_empty() && o.id.starts_with(&one.id));
    match (meant.next(), meant.next()) {
        (Some(order), None) => Ok(order),
        (Some(_), Some(_)) => bail!("several orders begin with `{}`: give more of the id", one.id),
        (None, _) => bail!("no order begins with `{}`", one.id),
    }
}

fn list(orders: &[Order]) -> String {
    let mut table = Table::new(&["id", "state", "patient", "order", "from", "by"]);
    for o in orders {
        let from = format!("{} {}", o.destination, o.resource);
        let state = o.state.word().to_owned();
        table.row([o.id.clone(), state, o.patient.reveal().into(), o.words(), text::cut(&from, 30), o.by.clone()]);
    }
    let mut out = table.render("The centre ordered nothing (destinations with `care_plan` are asked).");
    for o in orders {
        if let State::Refused { code, why } = &o.state {
            out.push_str(&format!("{}: {why}; what was before stays in force ({code})\n", o.id));
        }
    }
    if orders.iter().any(|o| o.state == State::Proposed) {
        out.push_str(
            "\nTo be decided: `wardline thresholds accept ID --by NAME`, or `refuse ID --by NAME --reason TEXT`.\n",
        );
    }
    out
}

fn show(one: &One) -> anyhow::Result<()> {
    let order = meant(one)?;
    let raw: Box<RawValue> = one.remote.ask(async |client| client.get("/v1/thresholds/history", &[]).await)?;
    let mut events: Vec<Event> = serde_json::from_str(raw.get())?;
    events.retain(|e| e.order == order.id);
    if one.remote.json {
        println!("{}", json!({ "order": order, "events": events }));
        return Ok(());
    }
    print!("{}", list(std::slice::from_ref(&order)));
    print!("\n{}", lines(events.iter()));
    Ok(())
}

fn lines<'a>(events: impl Iterator<Item = &'a Event>) -> String {
    let mut table = Table::new(&["when", "order", "what", "by", "before", "after", "why"]);
    let rule = |words: &str| if words.is_empty() { "the rule's own".to_owned() } else { words.to_owned() };
    for e in events {
        let after = rule(&e.new);
        table.row([
            text::minute(e.at_ms),
            e.order.clone(),
            e.what.clone(),
            e.by.clone(),
            rule(&e.old),
            after,
            e.why.clone(),
        ]);
    }
    table.render("Nothing happened yet.")
}

fn decide(one: &One, verb: &str, body: &serde_json::Value) -> anyhow::Result<()> {
    let path = format!("/v1/thresholds/{}/{verb}", meant(one)?.id);
    let raw: Box<RawValue> = one.remote.ask(async |client| client.post(&path, body).await)?;
    one.remote.print(&raw, |o: &Order| format!("{}: {} ({}).\n", o.id, o.state.word(), o.words()))?;
    Ok(())
}
