//! The way of a reading with nothing around it: no sockets, no page, no service manager, no network; the same parts, joined
//! as `start.rs` joins them. For the simulation, which brings the journal, the destinations and the sources itself.
//!
//! Must never: hold a decision of its own; what it does beside joining belongs into the parts.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::clock::Machine;
use super::orders::Window;
use super::outbox::Debts;
pub use super::outbox::Evidence;
use super::pipeline::{Inbox, Pipeline};
use super::quota::Quota;
use super::recover::{Start, recover};
use super::start::{Links, Way, creditor, failed, feel};
use super::{Extra, Tasks, Work};
use crate::alert::Engine;
use crate::alert::notify::Signal;
use crate::clock::Clock;
use crate::config::Config;
use crate::consent::Terms;
use crate::control::Orders;
use crate::custody::Creditor;
use crate::journal::{Journal, Recovered};
use crate::limits;
use crate::profile::Catalogue;
use crate::sink::{Dice, Sink};
use crate::telemetry::Watchdog;

/// What it is made of.
pub struct Bare {
    /// Devices, patients, and the pipeline's settings; the rest of it is not looked at.
    pub config: Config,
    /// Time.
    pub clock: Clock,
    /// The open journal, and what it kept of the past.
    pub journal: (Journal, Recovered),
    /// Profiles.
    pub catalogue: Arc<Catalogue>,
    /// Alert rules.
    pub engine: Engine,
    /// Where readings go.
    pub destinations: Vec<(Arc<str>, Sink)>,
    /// Where the readings that alerts point to are found.
    pub evidence: Evidence,
    /// Dice of the deliveries.
    pub dice: Dice,
    /// Where frames come from.
    pub sources: Vec<Extra>,
    /// How long pipeline and journal may be quiet: no service manager waits here.
    pub patience: Duration,
}

/// What a destination is owed.
pub fn owed(name: &Arc<str>, sink: &Sink) -> Creditor {
    creditor(name, sink, Terms::open())
}

impl Bare {
    /// Starts every part.
    pub fn start(self, stop: CancellationToken) -> (Work, Signal, Arc<dyn Orders>) {
        let Self { config, clock, journal, catalogue, engine, destinations, evidence, dice, sources, patience } = self;
        let (journal, before) = journal;
        let (mut inflow, mut outflow, outflow_stop) = (Tasks::new(), Tasks::new(), CancellationToken::new());
        let Start { core, ended, .. } = recover(&config, before, &clock, &catalogue, engine);
        let (frames, arriving) = mpsc::channel(limits::FRAMES_WAITING_MAX);
        let (orders, ordered) = mpsc::channel(limits::ORDERS_WAITING_MAX);
        let (found, technical) = mpsc::channel(limits::CONDITIONS_WAITING_MAX);
        let mut links = Links::new(found);
        for Extra { name, run } in sources {
            let run = run(links.source(name, "sim", &frames, &clock, &stop, &mut inflow));
            inflow.spawn(async move {
                run.await;
                Ok(())
            });
        }
        links.keep(frames, (Machine::of(&config.gateway), &clock), &stop, &mut inflow);
        for (name, mut sink) in destinations {
            sink.gated(super::outbox::gate(&journal, &name, &clock));
            let outbox = Debts::new(&journal, &name, evidence.clone(), &clock);
            let way = Way { name, sink, outbox, dice: dice.clone() };
            links.destination(way, &clock, &mut inflow, (&mut outflow, &outflow_stop));
        }
        let signal = Signal::default();
        let watchdog = Watchdog::new(clock.clone());
        let pulse = watchdog.pulse("pipeline", patience);
        outflow.spawn(feel(journal.clone(), watchdog.pulse("journal", patience), outflow_stop.clone()));
        let linger = Duration::from_millis(config.journal.commit_linger_ms);
        let (kept, told) = (links.kept, signal.clone());
        let (known, _) = watch::channel(Arc::default());
        let (quota, journal_too) = (Quota::default(), journal.clone());
        let pipeline =
            Pipeline { core, ended, journal: journal_too, signal: told, clock, linger, kept, quota, known, pulse };
        let (inbox, until) = (Inbox { frames: arriving, orders: ordered, technical }, stop.clone());
        inflow.spawn(async move { pipeline.run(inbox, until).await.map_err(|e| failed("journal", &e)) });
        (Work { stop, inflow, outflow, outflow_stop, journal }, signal, Arc::new(Window(orders)))
    }
}
