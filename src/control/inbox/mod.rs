//! The inbox as people see it: groups of stuck items by cause, what would help, and what somebody decided.
//!
//! One set of handlers for command line and page. Must never: change anything itself, or let a decision go without a name.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::Fault;
use crate::alarm::Priority;
use crate::custody::Why;

mod routes;

pub(super) use routes::{DECISION_MAX, name, routes, text, within};

/// A group: all that is stuck for one cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Eight hex digits, the same whenever the cause comes back.
    pub id: String,
    /// `refused`, `alert`, `notice`, `undecodable`, `unassigned`.
    pub kind: String,
    /// Destination, source, or device.
    pub place: Arc<str>,
    /// Code and cause, common to all its items.
    pub why: Why,
    /// One sentence: what happened to how many.
    pub title: String,
    /// Items that nobody tries any more.
    pub items: u64,
    /// Items that were sent again and are not settled yet.
    pub sending: u64,
    /// When the first of them got stuck.
    pub first_ms: i64,
    /// And the last.
    pub last_ms: i64,
    /// How soon a person must act.
    pub priority: Priority,
    /// Where it stands.
    pub state: State,
    /// Whose work it is.
    pub owner: Owner,
    /// Who has taken it.
    pub assignee: Option<String>,
    /// When it began.
    pub opened_ms: i64,
    /// When somebody should have seen to it.
    pub due_ms: i64,
    /// That time is over.
    pub overdue: bool,
    /// When its last item was settled.
    pub cleared_ms: Option<i64>,
    /// What a person wrote.
    pub note: Option<String>,
    /// What would help.
    pub fix: Fix,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nobody has taken it.
    Open,
    /// Somebody sees to it.
    InWork,
    /// Somebody else has to do something first.
    Waiting,
    /// Nothing is stuck any more.
    Cleared,
}

impl State {
    /// As the journal has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InWork => "in-work",
            Self::Waiting => "waiting",
            Self::Cleared => "cleared",
        }
    }

    /// The state of this name.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Open, Self::InWork, Self::Waiting, Self::Cleared].into_iter().find(|s| s.word() == word)
    }

    /// For people.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InWork => "in work",
            Self::Waiting => "waiting for a fix",
            Self::Cleared => "cleared",
        }
    }
}

/// Whose work a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Devices and their links.
    Technician,
    /// The box itself, and what must not wait.
    Operator,
    /// Mapping and destinations.
    IntegrationEngineer,
    /// Whose device it is.
    CareManager,
}

impl Owner {
    /// For people.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Technician => "technician",
            Self::Operator => "operator",
            Self::IntegrationEngineer => "integration engineer",
            Self::CareManager => "care manager",
        }
    }
}

/// What would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// In words.
    pub words: String,
    /// As commands, in order.
    pub commands: Vec<String>,
}

/// `GET /v1/inbox/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// The group.
    pub group: Group,
    /// Its first items.
    pub items: Vec<StuckItem>,
    /// What happened to it, newest first.
    pub history: Vec<Happened>,
}

/// One stuck item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StuckItem {
    /// Key of the reading, id of the alert, or number of the frame.
    pub id: String,
    /// When it got stuck.
    pub at_ms: i64,
    /// What it is: vital sign and device, alert event, topic and length.
    pub what: String,
    /// Why.
    pub why: Why,
}

/// A line of a group's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// When.
    pub at_ms: i64,
    /// `opened`, `changed`, `replayed`, `discarded`, `cleared`.
    pub what: String,
    /// Who; `None`: the gateway.
    pub by: Option<String>,
    /// How many items it concerned.
    pub items: u64,
    /// A reason or a note.
    pub text: Option<String>,
}

/// `POST /v1/inbox/{id}/dry-run`: a part of the group; nothing is changed or sent for good.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// One for each item.
    pub items: Vec<Trial>,
    /// Where the next part begins; `None`: this was the last.
    pub next: Option<i64>,
    /// Whether the destination itself was asked (`$validate`), and if not, why.
    pub asked: String,
}

/// What would become of one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Key of the reading, id of the alert, or number of the frame.
    pub id: String,
    /// Whether it would pass.
    pub verdict: Verdict,
    /// Why, or what was checked.
    pub why: String,
}

/// Whether an item would pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Our checks and, where it could be asked, the destination's.
    Passes,
    /// Our checks find nothing; only the destination can say more.
    Unknown,
    /// It would come back.
    Fails,
}

/// How many items a decision concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Items.
    pub items: u64,
    /// Items of the group that it did not concern.
    pub left: u64,
}

/// What a person says about a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Who says it.
    pub by: String,
    /// Where it stands.
    #[serde(default)]
    pub state: Option<State>,
    /// Who sees to it.
    #[serde(default)]
    pub assignee: Option<String>,
    /// By when, milliseconds since 1970.
    #[serde(default)]
    pub due_ms: Option<i64>,
    /// What is to be known.
    #[serde(default)]
    pub note: Option<String>,
}

/// The inbox of the running gateway. `id` may be the beginning of a group's id.
pub trait Inbox: Send + Sync {
    /// Groups: first what is overdue and urgent. `all`: cleared ones too.
    fn groups(&self, _all: bool) -> BoxFuture<'_, Result<Vec<Group>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// One group with its items and its history.
    fn group(&self, _id: String) -> BoxFuture<'_, Result<Details, Fault>> {
        missing()
    }
    /// What would become of the items above the row `after`.
    fn dry_run(&self, _id: String, _after: i64) -> BoxFuture<'_, Result<DryRun, Fault>> {
        missing()
    }
    /// Sends again what passes our checks; with `anyway` the rest too.
    fn replay(&self, _id: String, _by: String, _anyway: bool) -> BoxFuture<'_, Result<Settled, Fault>> {
        missing()
    }
    /// Gives all items up.
    fn discard(&self, _id: String, _by: String, _reason: String) -> BoxFuture<'_, Result<Settled, Fault>> {
        missing()
    }
    /// Keeps what a person says.
    fn change(&self, _id: String, _change: Change) -> BoxFuture<'_, Result<(), Fault>> {
        missing()
    }
}

fn missing<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, Fault>> {
    Box::pin(async { Err(Fault::Missing("group in the inbox")) })
}

/// An inbox without a gateway: nothing is ever stuck.
pub struct Empty;

impl Inbox for Empty {}
