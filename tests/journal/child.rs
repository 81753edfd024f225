//! This test program again, as a process that can be killed, or whose disk can fail.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use wardline::clock::Clock;
use wardline::custody::Lane;
use wardline::journal::{Journal, JournalError};

use super::support::*;

/// What the child says of itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Readings from the first to the last are acknowledged.
    Kept(u64, u64),
    /// A reading's delivery is acknowledged.
    Settled(u64),
    /// It was refused: `full`, `fatal`, `closed`.
    Refused(String),
    /// All was done.
    Done,
}

/// Starts the child; `rounds` groups, then it ends in order.
pub fn start(folder: &Path, first: u64, rounds: u64, with: impl FnOnce(&mut Command)) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child::works_until_it_is_stopped", "--ignored", "--nocapture"])
        .env("JOURNAL_CHILD", format!("{}\n{first}\n{rounds}", folder.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    with(&mut command);
    Running(command.spawn().unwrap())
}

/// A child that does not outlive its test.
pub struct Running(Child);

impl Running {
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
    }

    /// All that it said, until it ended.
    pub fn said(&mut self) -> Vec<Said> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let said = lines.map_while(Result::ok).filter_map(|l| parse(&l)).collect();
        self.0.wait().unwrap();
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn parse(line: &str) -> Option<Said> {
    // A line that was cut off by the kill has no full stop.
    let mut words = line.strip_suffix('.')?.split(' ');
    Some(match words.next()? {
        "kept" => Said::Kept(words.next()?.parse().ok()?, words.next()?.parse().ok()?),
        "settled" => Said::Settled(words.next()?.parse().ok()?),
        "refused" => Said::Refused(words.next()?.into()),
        "done" => Said::Done,
        _ => return None,
    })
}

#[tokio::test]
#[ignore = "started by other tests"]
async fn works_until_it_is_stopped() {
    let Ok(task) = std::env::var("JOURNAL_CHILD") else { return };
    let parts: Vec<_> = task.lines().collect();
    let (first, rounds): (u64, u64) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
    let opened = Journal::open(Path::new(parts[0]), &settings(), &creditors(&["centre"]), Clock::system());
    let Ok((journal, _)) = opened else { return say("refused open.") };
    if let Err(e) = work(&journal, first, rounds).await {
        say(match e {
            JournalError::Full => "refused full.",
            JournalError::Fatal(_) => "refused fatal.",
            JournalError::Closed => "refused closed.",
        });
        // Refused for good: nothing may be acknowledged afterwards.
        if let Ok(()) = work(&journal, first + 500_000, 1).await {
            say("kept after.");
        }
    }
    journal.close().await;
}

async fn work(journal: &Journal, first: u64, rounds: u64) -> Result<(), JournalError> {
    let mut next = first;
    for round in 0..rounds {
        let last = next + round % 7;
        journal.commit(group((next..=last).map(|n| reading(n, &format!("d{}", n % 3))))).await?;
        say(&format!("kept {next} {last}."));
        next = last + 1;
        for lane in [Lane::Fresh, Lane::Backlog] {
            let items = journal.lease("centre", lane, 3).await?;
            journal.settle("centre", items.iter().map(delivered).collect()).await?;
            numbers(&items).iter().for_each(|n| say(&format!("settled {n}.")));
        }
    }
    say("done.");
    Ok(())
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
