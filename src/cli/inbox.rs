//! `wardline inbox`: what is stuck, by cause; try a fix on all of it, send it again, or give it up.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use serde_json::json;
use serde_json::value::RawValue;

use super::remote::Remote;
use super::text::{self, Table};
use crate::clock::{Clock, Stamp};
use crate::control::inbox::{Details, DryRun, Group, Settled, State, Trial, Verdict};

/// Arguments of `wardline inbox`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Groups of stuck items: what, why, whose work, until when.
    List(List),
    /// One group: cause, what would help, items, history.
    Show(Which),
    /// What would become of each item if it were sent again now. Changes nothing.
    DryRun(Which),
    /// Send the items of a group again, with the same identity: nothing is doubled.
    Replay(Replay),
    /// Give the items of a group up. They stay in the record with your name and the reason.
    Discard(Discard),
    /// Write down what is to be known.
    Note(Note),
    /// Say who sees to it, and by when.
    Assign(Assign),
    /// Say where it stands.
    State(SetState),
}

#[derive(clap::Args)]
struct List {
    /// Cleared ones too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
struct Which {
    /// Id of the group, or its beginning.
    id: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args)]
struct Replay {
    #[command(flatten)]
    which: Which,
    /// Who decides it.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Also what our own checks say would come back.
    #[arg(long)]
    anyway: bool,
}

#[derive(clap::Args)]
struct Discard {
    #[command(flatten)]
    which: Which,
    /// Who decides it.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why nobody needs them.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(clap::Args)]
struct Note {
    #[command(flatten)]
    which: Which,
    /// What is to be known. No patient data.
    text: String,
    /// Who writes it.
    #[arg(long, value_name = "NAME")]
    by: String,
}

#[derive(clap::Args)]
struct Assign {
    #[command(flatten)]
    which: Which,
    /// Who sees to it.
    #[arg(long, value_name = "NAME")]
    to: String,
    /// Who says so, if it is somebody else.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// By when, as 2026-11-24T08:00Z.
    #[arg(long, value_name = "TIME")]
    due: Option<jiff::Timestamp>,
}

#[derive(clap::Args)]
struct SetState {
    #[command(flatten)]
    which: Which,
    /// Where it stands.
    #[arg(value_parser = ["open", "in-work", "waiting"])]
    state: String,
    /// Who says so.
    #[arg(long, value_name = "NAME")]
    by: String,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        None => list(&args.list),
        Some(Command::List(args)) => list(args),
        Some(Command::Show(which)) => show(which),
        Some(Command::DryRun(which)) => dry_run(which),
        Some(Command::Replay(args)) => {
            let body = json!({ "by": args.by, "anyway": args.anyway });
            decide(&args.which, "replay", &body, |id, s| {
                let left = match s.left {
                    0 => String::new(),
                    n => format!(
                        "{n} stay: our own checks say that they would come back (`wardline inbox dry-run {id}`).\n"
                    ),
                };
                format!(
                    "{} on their way again. `wardline inbox show {id}` says what becomes of them.\n{left}",
                    items(s.items)
                )
            })
        }
        Some(Command::Discard(args)) => {
            let body = json!({ "by": args.by, "reason": args.reason });
            decide(&args.which, "discard", &body, |id, s| {
                format!("{} given up by {}. `wardline inbox show {id}` keeps the record.\n", items(s.items), args.by)
            })
        }
        Some(Command::Note(args)) => change(&args.which, &json!({ "by": args.by, "note": args.text })),
        Some(Command::Assign(args)) => {
            let by = args.by.as_ref().unwrap_or(&args.to);
            let due = args.due.map(jiff::Timestamp::as_millisecond);
            change(&args.which, &json!({ "by": by, "assignee": args.to, "due_ms": due }))
        }
        Some(Command::State(args)) => change(&args.which, &json!({ "by": args.by, "state": args.state })),
    }
}

fn items(n: u64) -> String {
    if n == 1 { "1 item is".into() } else { format!("{n} items are") }
}

fn list(args: &List) -> anyhow::Result<ExitCode> {
    let query = [("all", args.all.to_string())];
    let raw: Box<RawValue> = args.remote.ask(async |client| client.get("/v1/inbox", &query).await)?;
    if args.remote.json {
        println!("{raw}");
    } else {
        let groups: Vec<Group> = serde_json::from_str(raw.get())?;
        print!("{}", table(&groups, Clock::system().now()));
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each group, and its words below: they matter more than a column allows.
fn table(groups: &[Group], now: Stamp) -> String {
    let mut table = Table::new(&["id", "priority", "state", "whose work", "due"]);
    for g in groups {
        let priority = format!("{:?}", g.priority).to_lowercase();
        let state =
            g.assignee.as_ref().map_or_else(|| g.state.phrase().into(), |a| format!("{}: {a}", g.state.phrase()));
        table.row([g.id.clone(), priority, state, g.owner.phrase().into(), due(g, now)]);
    }
    let lines = table.render("Nothing is stuck: whatever could be sent was sent, or is on its way.");
    let mut lines = lines.lines();
    let mut out = format!("{}\n", lines.next().unwrap_or_default());
    for (line, g) in lines.zip(groups) {
        out.push_str(&format!("{line}\n          {}\n", g.title));
        out.push_str(&wrapped(&format!("{}: {}", g.why.code, g.why.text), "          "));
        if g.sending > 0 {
            out.push_str(&format!("          {} on their way again.\n", items(g.sending)));
        }
    }
    if groups.iter().any(|g| g.items > 0) {
        out.push_str("\nThe gateway does not try these any more. `wardline inbox show ID` says what would help.\n");
    }
    out
}

fn due(group: &Group, now: Stamp) -> String {
    let left = (group.due_ms - now.wall_ms) / 1_000;
    match group.state {
        State::Cleared => "-".into(),
        _ if left < 0 => format!("OVERDUE {}", text::age(-left)),
        _ => format!("in {}", text::age(left)),
    }
}

fn show(which: &Which) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/inbox/{}", which.id);
    let raw: Box<RawValue> = which.remote.ask(async |client| client.get(&path, &[]).await)?;
    if which.remote.json {
        println!("{raw}");
    } else {
        print!("{}", page(&serde_json::from_str(raw.get())?, Clock::system().now()));
    }
    Ok(ExitCode::SUCCESS)
}

fn page(details: &Details, now: Stamp) -> String {
    let g = &details.group;
    let mut out = format!("Group {}: {}\n", g.id, g.title);
    let mut say = |name: &str, text: &str| out.push_str(&format!("{name:<11} {text}\n"));
    say("cause", &g.why.code);
    say("", &g.why.text);
    let who = g.assignee.as_ref().map_or_else(|| "nobody has taken it".into(), |a| format!("{a} sees to it"));
    match g.state {
        State::Cleared => say("state", "cleared"),
        state => say("state", &format!("{}, {who}", state.phrase())),
    }
    say("whose work", g.owner.phrase());
    if g.state != State::Cleared {
        say("due", &format!("{} ({})", text::time(g.due_ms), due(g, now)));
    }
    say("stuck since", &text::time(g.first_ms));
    if g.sending > 0 {
        say("sending", &format!("{} on their way again", items(g.sending)));
    }
    if let Some(note) = &g.note {
        say("note", note);
    }
    if g.items > 0 {
        out.push_str("\nWhat would help\n");
        out.push_str(&wrapped(&g.fix.words, "  "));
        g.fix.commands.iter().for_each(|c| out.push_str(&format!("  $ {c}\n")));
        out.push_str(&format!("\nItems: {}{}\n", g.items, shown_first(details)));
        for item in &details.items {
            let line = format!("  {}  {} ago  {}", item.id, text::ago(item.at_ms, now), item.what);
            out.push_str(&format!("{}\n", text::cut(&line, 80)));
        }
    }
    if !details.history.is_empty() {
        out.push_str("\nHistory, newest first\n");
    }
    for h in &details.history {
        let by = h.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
        let n = if h.items > 0 { format!(", {} items", h.items) } else { String::new() };
        let said = h.text.as_ref().map_or_else(String::new, |t| format!(": {t}"));
        out.push_str(&wrapped(&format!("{} {}{by}{n}{said}", text::time(h.at_ms), h.what), "  "));
    }
    out
}

fn shown_first(details: &Details) -> String {
    let shown = details.items.len();
    if details.group.items > shown as u64 { format!(", the first {shown} of them") } else { String::new() }
}

fn dry_run(which: &Which) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/inbox/{}/dry-run", which.id);
    let (mut trials, mut after, mut asked) = (Vec::new(), 0, String::new());
    loop {
        let part: DryRun =
            which.remote.ask_patiently(async |client| client.post(&path, &json!({ "after": after })).await)?;
        trials.extend(part.items);
        asked = if asked.is_empty() { part.asked } else { asked };
        match part.next {
            Some(next) => after = next,
            None => break,
        }
    }
    let count = |verdict| trials.iter().filter(|t| t.verdict == verdict).count();
    let (passes, unknown, fails) = (count(Verdict::Passes), count(Verdict::Unknown), count(Verdict::Fails));
    if which.remote.json {
        let total = json!({ "passes": passes, "unknown": unknown, "fails": fails });
        println!("{}", json!({ "items": trials, "total": total, "asked": asked }));
    } else {
        print!("{}", verdicts(&trials));
        println!("\nOf {}: {passes} would pass, {unknown} may pass, {fails} would come back.", trials.len());
        print!("{}", wrapped(&format!("Checked: {asked}. Nothing was changed or sent."), ""));
        if passes + unknown > 0 {
            println!("Send again what is not sure to come back: wardline inbox replay {} --by NAME", which.id);
        }
    }
    Ok(if fails == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Items with the same answer stand together.
fn verdicts(trials: &[Trial]) -> String {
    let mut out = String::new();
    let mut answers: Vec<(Verdict, &str)> = trials.iter().map(|t| (t.verdict, t.why.as_str())).collect();
    answers.sort_by_key(|(verdict, why)| (std::cmp::Reverse(*verdict as u8), *why));
    answers.dedup();
    for (verdict, why) in answers {
        let same: Vec<_> = trials.iter().filter(|t| t.verdict == verdict && t.why == why).collect();
        let word = match verdict {
            Verdict::Passes => "WOULD PASS",
            Verdict::Unknown => "MAY PASS",
            Verdict::Fails => "WOULD COME BACK",
        };
        out.push_str(&wrapped(&format!("{word} ({}): {why}", same.len()), ""));
        same.iter().take(SHOWN).for_each(|t| out.push_str(&format!("  {}\n", t.id)));
        if same.len() > SHOWN {
            out.push_str(&format!("  … and {} more (--json lists all)\n", same.len() - SHOWN));
        }
    }
    out
}

/// Items listed under one answer.
const SHOWN: usize = 10;

fn decide(
    which: &Which,
    verb: &str,
    body: &serde_json::Value,
    say: impl Fn(&str, &Settled) -> String,
) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/inbox/{}/{verb}", which.id);
    let raw: Box<RawValue> = which.remote.ask_patiently(async |client| client.post(&path, body).await)?;
    if which.remote.json {
        println!("{raw}");
    } else {
        print!("{}", say(&which.id, &serde_json::from_str(raw.get())?));
    }
    Ok(ExitCode::SUCCESS)
}

fn change(which: &Which, body: &serde_json::Value) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/inbox/{}", which.id);
    let raw: Box<RawValue> = which.remote.ask(async |client| client.post(&path, body).await)?;
    if which.remote.json {
        println!("{raw}");
    } else {
        println!("{}: noted", which.id);
    }
    Ok(ExitCode::SUCCESS)
}

/// Text in lines of at most 78 characters, each after `indent`.
pub fn wrapped(text: &str, indent: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.chars().count() + line.chars().count() + 1 + word.chars().count() > 78 {
            out.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        out.push_str(&format!("{indent}{line}\n"));
    }
    out
}
