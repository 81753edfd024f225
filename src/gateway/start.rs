//! Building every part before the first byte is taken, then starting them. What cannot be built is said, and nothing runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{mpsc, watch as seen};
use tokio_util::sync::CancellationToken;

use super::audits::Audits;
use super::care::Care;
use super::clock::Machine;
use super::core::Core;
use super::inbox::{Counter, Office, notice};
use super::orders::Window;
use super::outbox::{self, Debts};
use super::people::Reception;
use super::pipeline::{Inbox, Pipeline, Technical};
use super::probe::{self, Surveys};
use super::quota::Quota;
use super::recover::{Start, recover};
use super::worklist::Worklist;
use super::{Extra, Failed, Tasks, care, charts, clock, consents, deeds, records, registry, watch};
use crate::alarm::AlertEvent;
use crate::alert::Engine;
use crate::alert::notify::Signal;
use crate::alert::ruleset::{RuleError, Rules};
use crate::clock::Clock;
use crate::config::{Config, DestinationSettings, DeviceSettings, SourceSettings};
use crate::consent::Terms;
use crate::control::Desk;
use crate::control::serve::{ServeError, Sockets};
use crate::control::technician::Technicians;
use crate::control::view::{Link, LinkState};
use crate::control::witness::Witness;
use crate::custody::{Creditor, Why};
use crate::journal::{Act, Journal, JournalError, KeyError, OpenError, Vault};
use crate::limits;
use crate::nameplate::Nameplates;
use crate::page::{Page, PageError};
use crate::profile::{Catalogue, ProfileError};
use crate::reading::Frame;
use crate::sink::http::{HttpError, Peer};
use crate::sink::{Destination, DestinationStatus, Dice, Sink, SinkError, State, deliver};
use crate::source::mqtt::SourceError;
use crate::source::{Port, SourceStatus, mqtt};
use crate::telemetry::heartbeat::{self, Beat};
use crate::telemetry::{self, Pulse, Watchdog};
use crate::tls::Files;

/// What the process gives the gateway beside its configuration.
pub struct Options {
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: PrometheusHandle,
    /// Hash of the files that the configuration came from, hex. `None`: it came from no file.
    pub configuration: Option<String>,
    /// Cancelled: the gateway ends in order.
    pub stop: CancellationToken,
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Correct the profiles.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Correct the rules.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules(Vec<RuleError>),
    /// Give the gateway its key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// See the journal's own remedy.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// See the journal's own remedy.
    #[error(transparent)]
    Disk(#[from] JournalError),
    /// Correct the destination.
    #[error("destination `{0}`: {1}")]
    Sink(String, SinkError),
    /// Correct the source.
    #[error("source `{0}`: {1}")]
    Source(String, SourceError),
    /// Correct the heartbeat.
    #[error("heartbeat: {0}")]
    Heartbeat(#[from] HttpError),
    /// Free the socket.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Free the port.
    #[error(transparent)]
    Page(#[from] PageError),
}

impl crate::fault::Explain for StartError {
    fn code(&self) -> &'static str {
        match self {
            Self::Profile(e) => e.code(),
            Self::Rules(_) => "WL-A001",
            Self::Key(e) => e.code(),
            Self::Journal(e) => e.code(),
            Self::Disk(e) => e.code(),
            Self::Sink(_, e) => e.code(),
            Self::Source(_, e) => e.code(),
            Self::Heartbeat(e) => e.code(),
            Self::Serve(e) => e.code(),
            Self::Page(e) => e.code(),
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Profile(e) => e.remedy(),
            Self::Rules(_) => "Correct the rules and run `wardline check`.",
            Self::Key(e) => e.remedy(),
            Self::Journal(e) => e.remedy(),
            Self::Disk(e) => e.remedy(),
            Self::Sink(_, e) => e.remedy(),
            Self::Source(_, e) => e.remedy(),
            Self::Heartbeat(e) => e.remedy(),
            Self::Serve(e) => e.remedy(),
            Self::Page(e) => e.remedy(),
        }
    }
}

/// Every part, built and not yet running.
pub(super) struct Parts {
    config: Config,
    options: Options,
    catalogue: Arc<Catalogue>,
    core: Core,
    rules: Arc<Rules>,
    /// Alert events of the start itself, to be committed first.
    ended: Vec<AlertEvent>,
    signal: Signal,
    /// Devices that were added at run time.
    before: Vec<DeviceSettings>,
    journal: Journal,
    sinks: Vec<(Arc<str>, Sink)>,
    /// What devices say of themselves, for the sinks.
    plates: Nameplates,
    heartbeat: Option<Peer>,
    sockets: Sockets,
    page: Option<Page>,
}

impl Parts {
    /// Opens the journal and builds the rest; nothing is taken from anywhere yet.
    pub(super) async fn build(config: Config, options: Options) -> Result<Self, StartError> {
        let catalogue = Arc::new(match &config.gateway.profiles {
            Some(folder) => Catalogue::with_folder(folder)?,
            None => Catalogue::built_in(),
        });
        let rules = Rules::load(&config.alerts.rules, &config.patients);
        let gateway: Arc<str> = config.gateway.id.as_str().into();
        let (mut sinks, plates) = (Vec::new(), Nameplates::default());
        for settings in &config.destinations {
            let sink = Sink::build(settings, &settings.fields().gateway(&gateway), &options.clock)
                .map_err(|e| StartError::Sink(settings.name().into(), e))?
                .naming(&plates);
            sinks.push((Arc::from(settings.name()), sink));
        }
        for source in &config.sources {
            let SourceSettings::Mqtt(settings) = source else { continue };
            mqtt::check(settings, &gateway, catalogue.topic_filters())
                .map_err(|e| StartError::Source(settings.name.clone(), e))?;
        }
        let rules = Arc::new(rules.map_err(StartError::Rules)?);
        let mut engine = Engine::new(Rules::clone(&rules), config.alerts.old_after());
        let heartbeat = config.heartbeat.as_ref().map(|h| {
            let files = Files { machine_too: true, authorities: h.ca_file.clone(), ..Files::default() };
            Peer::new(&h.url, files, Duration::from_secs(h.every_s))
        });
        let sockets = Sockets::bind(&config.control).await?;
        let page = match &config.page {
            Some(page) => Some(Page::bind(page.listen).await?),
            None => None,
        };
        let terms = config.destinations.iter().map(|d| config.terms(d));
        let creditors: Vec<_> =
            sinks.iter().zip(terms).map(|((name, sink), terms)| creditor(name, sink, terms)).collect();
        Machine::of(&config.gateway).judge(&options.clock);
        let vault = Vault::of(&config.gateway.state, &config.journal)?;
        let patience = telemetry::starting();
        let (journal, before) = Journal::open(&vault, &config.journal, &creditors, options.clock.clone())?;
        drop(patience);
        match journal.redress(tell(&config, &options, before.salvaged.is_some())).await {
            // A box without room still raises alerts; who wants to know what people do is noted with the next start.
            Err(JournalError::Full) => tracing::warn!("The start could not be noted in the chain of custody: no room."),
            noted => drop(noted?),
        }
        super::care::resume(&mut engine, &journal, (&rules, &config), &options.clock).await?;
        let Start { core, ended, devices: before, held } = recover(&config, before, &options.clock, &catalogue, engine);
        if !held.is_empty() {
            journal.redress(Act::Hold { held, by: None }).await?;
        }
        let (signal, heartbeat) = (Signal::default(), heartbeat.transpose()?);
        Ok(Self {
            config,
            options,
            catalogue,
            core,
            rules,
            ended,
            signal,
            before,
            journal,
            sinks,
            plates,
            heartbeat,
            sockets,
            page,
        })
    }

    /// Starts every part: what takes readings in, and what brings them out.
    pub(super) fn spawn(
        self,
        extras: Vec<Extra>,
        (inflow, stop): (&mut Tasks, &CancellationToken),
        (outflow, outflow_stop): (&mut Tasks, &CancellationToken),
    ) -> (Journal, Arc<Desk>, Signal) {
        let Self {
            config,
            options,
            catalogue,
            core,
            rules,
            ended,
            signal,
            before,
            journal,
            sinks,
            plates,
            heartbeat,
            sockets,
            page,
        } = self;
        let clock = options.clock;
        let watchdog = Watchdog::new(clock.clone());
        let (frames, arriving) = mpsc::channel(limits::FRAMES_WAITING_MAX);
        let (orders, ordered) = mpsc::channel(limits::ORDERS_WAITING_MAX);
        let (found, technical) = mpsc::channel(limits::CONDITIONS_WAITING_MAX);
        let gateway: Arc<str> = config.gateway.id.as_str().into();
        let mut links = Links::new(found);

        let past = (&journal, &before[..], &plates);
        let radio = super::radio::start(&config, &catalogue, &clock, &frames, stop, (&mut links, inflow), past);
        for source in config.sources.clone() {
            let SourceSettings::Mqtt(settings) = source else { continue };
            let port = links.source(settings.name.as_str().into(), "mqtt", &frames, &clock, stop, inflow);
            let (gateway, filters) = (gateway.clone(), catalogue.topic_filters());
            inflow.spawn(async move {
                let ended = mqtt::run(&settings, &gateway, filters, port).await;
                ended.map_err(|e| failed(&settings.name, &e))
            });
        }
        for extra in extras {
            let run = (extra.run)(links.source(extra.name, "sim", &frames, &clock, stop, inflow));
            inflow.spawn(async move {
                run.await;
                Ok(())
            });
        }
        links.keep(frames, (Machine::of(&config.gateway), &clock), stop, inflow);
        let roster = super::people::roster(&config, &journal);
        let surveys = Surveys::new(&config, &sinks, &clock, &journal, links.found.clone());
        let nightly = surveys.clone();
        inflow.spawn(async move {
            nightly.run().await;
            Ok(())
        });
        let care = Care::new(surveys.clone(), roster.clone(), rules, orders.clone());
        let follows = care.clone();
        inflow.spawn(async move {
            follows.run().await;
            Ok(())
        });
        let audits = Audits::new(&surveys);
        inflow.spawn(async move {
            audits.run().await;
            Ok(())
        });
        let worklist = Worklist::new(surveys.clone(), signal.watch(), orders.clone());
        inflow.spawn(async move {
            worklist.run().await;
            Ok(())
        });
        let fields = config.destinations.iter().map(|d| d.fields()).collect::<Vec<_>>();
        for ((name, mut sink), fields) in sinks.into_iter().zip(fields) {
            sink.asks(registry::who(&journal, &name));
            sink.gated(outbox::gate(&journal, &name, &clock));
            let outbox = Debts::new(&journal, &name, outbox::evidence_of(&journal), &clock).with(fields);
            let way = Way { name, sink, outbox, dice: Dice::default() };
            links.destination(way, &clock, inflow, (outflow, outflow_stop));
        }
        let waiting = consents::Waiting::new(&journal, &clock);
        let records = records::of(&config, &journal, &clock, waiting.clone());
        let registry = consents::Registry::new(&config, &clock, &journal, (waiting.clone(), &roster));
        let cabinet = charts::Cabinet::new(&config, &clock, &journal, catalogue.clone(), orders.clone());
        let behind = cabinet.clone();
        inflow.spawn(async move {
            behind.catch_up().await;
            Ok(())
        });
        let office = Office::new(&config, &clock, &journal, catalogue, orders.clone(), (surveys.clone(), &roster));
        let (watched, found) = (office.clone(), links.found.clone());
        inflow.spawn(async move {
            notice::run(watched, waiting, found).await;
            Ok(())
        });
        let (ledger, later) = deeds::ledger(&journal);
        let until = outflow_stop.clone();
        outflow.spawn(async move {
            later.run(until).await;
            Ok(())
        });
        let desk = Arc::new(Desk {
            witness: Witness::new(ledger, clock.clone()),
            gateway,
            started: clock.now(),
            clock: clock.clone(),
            patients: roster.clone(),
            thresholds: Arc::new(care::Counter(care)),
            register: Arc::new(registry::Registrar::new(&config, &clock, &journal, &roster)),
            people: Arc::new(Reception { surveys: surveys.clone(), roster }),
            records,
            inbox: Arc::new(Counter(office)),
            charts: Arc::new(charts::Counter(cabinet)),
            consents: Arc::new(consents::Counter(registry)),
            probes: Arc::new(probe::Desk(surveys)),
            alerts: signal.watch(),
            orders: Arc::new(Window(orders)),
            sources: links.sources,
            destinations: links.destinations,
            radio: radio.view,
            technicians: Technicians::new(page.as_ref().map(Page::url)),
            watchdog: watchdog.clone(),
            metrics: options.metrics,
        });
        let pipeline = Pipeline {
            core,
            quota: Quota::default(),
            ended,
            journal: journal.clone(),
            signal: signal.clone(),
            clock,
            linger: Duration::from_millis(config.journal.commit_linger_ms),
            kept: links.kept,
            known: radio.known,
            pulse: watchdog.pulse("pipeline", limits::PIPELINE_PATIENCE),
        };
        let (inbox, until) = (Inbox { frames: arriving, orders: ordered, technical }, stop.clone());
        inflow.spawn(async move { pipeline.run(inbox, until).await.map_err(|e| failed("journal", &e)) });
        let pulse = watchdog.pulse("journal", limits::JOURNAL_PATIENCE);
        outflow.spawn(feel(journal.clone(), pulse, outflow_stop.clone()));
        let around = Around { config, watchdog, heartbeat, sockets, page, desk: desk.clone() };
        around.spawn(outflow, outflow_stop);
        (journal, desk, signal)
    }
}

/// Feels the journal's pulse: an empty group goes through its thread and is answered, with nothing to sync.
pub(super) async fn feel(journal: Journal, pulse: Pulse, stop: CancellationToken) -> Result<(), Failed> {
    let mut turn = tokio::time::interval(pulse.every());
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            _ = turn.tick() => {}
        }
        match journal.commit(Arc::default()).await {
            Ok(_) | Err(JournalError::Full) => pulse.beat(),
            Err(_) if stop.is_cancelled() => return Ok(()),
            Err(e) => return Err(failed("journal", &e)),
        }
    }
}

/// Who wants to know what people do here, and which configuration this is.
fn tell(config: &Config, options: &Options, all: bool) -> Act {
    let wants = |d: &&DestinationSettings| matches!(d, DestinationSettings::Fhir(fhir) if fhir.audit);
    let destinations = config.destinations.iter().filter(wants).map(|d| d.name().to_owned()).collect();
    Act::Tell { destinations, all, configuration: options.configuration.clone() }
}

pub(super) fn creditor(name: &Arc<str>, sink: &Sink, terms: Terms) -> Creditor {
    let (readings, alerts, evidence) = (sink.takes_readings(), sink.takes_alerts(), sink.brings_evidence());
    Creditor { name: name.clone(), readings, alerts, evidence, terms }
}

pub(super) fn failed(part: &str, why: &dyn std::fmt::Display) -> Failed {
    Failed { part: part.into(), why: why.to_string() }
}

/// The ends of the links, as they are made.
pub(super) struct Links {
    pub(super) kept: HashMap<Arc<str>, mpsc::Sender<u64>>,
    sources: Vec<crate::control::Probe>,
    destinations: Vec<crate::control::Probe>,
    pub(super) found: mpsc::Sender<Technical>,
}

/// The way to one destination.
pub(super) struct Way {
    pub(super) name: Arc<str>,
    pub(super) sink: Sink,
    pub(super) outbox: Debts,
    pub(super) dice: Dice,
}

impl Links {
    /// None yet. What they find of themselves goes to `found`.
    pub(super) fn new(found: mpsc::Sender<Technical>) -> Self {
        Self { kept: HashMap::new(), sources: Vec::new(), destinations: Vec::new(), found }
    }

    /// What must be there whichever sources there are.
    pub(super) fn keep(
        &self,
        frames: mpsc::Sender<Frame>,
        (machine, clock): (Machine, &Clock),
        stop: &CancellationToken,
        tasks: &mut Tasks,
    ) {
        // Without a source, or when the last one is done, people's orders are still carried out.
        let until = stop.clone();
        tasks.spawn(async move {
            until.cancelled().await;
            drop(frames);
            Ok(())
        });
        let watched = clock::watch(machine, clock.clone(), self.found.clone(), stop.clone());
        tasks.spawn(async move {
            watched.await;
            Ok(())
        });
    }

    pub(super) fn source(
        &mut self,
        name: Arc<str>,
        kind: &'static str,
        frames: &mpsc::Sender<Frame>,
        clock: &Clock,
        stop: &CancellationToken,
        tasks: &mut Tasks,
    ) -> Port {
        let (told, kept) = mpsc::channel(limits::TOLD_WAITING_MAX);
        let (status, seen) = seen::channel(SourceStatus::default());
        self.kept.insert(name.clone(), told);
        self.watch(format!("source-down:{name}"), seen.clone(), source_down, tasks);
        self.sources.push(Box::new(move || source_link(&name, kind, &seen.borrow())));
        Port { frames: frames.clone(), kept, status, clock: clock.clone(), stop: stop.clone() }
    }

    pub(super) fn destination(
        &mut self,
        way: Way,
        clock: &Clock,
        tasks: &mut Tasks,
        (outflow, stop): (&mut Tasks, &CancellationToken),
    ) {
        let Way { name, sink, outbox, dice } = way;
        let (status, seen) = seen::channel(DestinationStatus::default());
        self.watch(format!("destination-down:{name}"), seen.clone(), destination_down, tasks);
        let (shown, kind) = (name.clone(), sink.kind());
        self.destinations.push(Box::new(move || destination_link(&shown, kind, &seen.borrow())));
        let (clock, stop) = (clock.clone(), stop.clone());
        outflow.spawn(async move {
            deliver::run(name, sink, outbox, clock, stop, status, dice).await;
            Ok(())
        });
    }

    fn watch<S: Send + Sync + 'static>(
        &self,
        name: String,
        seen: seen::Receiver<S>,
        down: fn(&S) -> Option<String>,
        tasks: &mut Tasks,
    ) {
        let found = self.found.clone();
        tasks.spawn(async move {
            watch::link(name.into(), seen, down, found).await;
            Ok(())
        });
    }
}

fn source_down(status: &SourceStatus) -> Option<String> {
    let why = || status.trouble.as_ref().map_or("not connected yet".into(), |t| t.sentence.to_string());
    status.connected_since.is_none().then(why)
}

fn destination_down(status: &DestinationStatus) -> Option<String> {
    let why = || status.why.as_ref().map_or(String::new(), |w| w.text.clone());
    (status.state == State::Down).then(why)
}

fn source_link(name: &Arc<str>, kind: &str, status: &SourceStatus) -> Link {
    let state = match (&status.connected_since, &status.trouble) {
        (Some(_), _) => LinkState::Up,
        (None, Some(_)) => LinkState::Down,
        (None, None) => LinkState::Starting,
    };
    let why = status.trouble.as_ref().map(|t| Why::new(t.code, &*t.sentence));
    Link { name: name.clone(), kind: kind.into(), state, since_ms: status.connected_since.map(|s| s.wall_ms), why }
}

fn destination_link(name: &Arc<str>, kind: &str, status: &DestinationStatus) -> Link {
    let state = match status.state {
        State::Starting => LinkState::Starting,
        State::Up => LinkState::Up,
        State::Down => LinkState::Down,
    };
    let since_ms = status.since.map(|s| s.wall_ms);
    Link { name: name.clone(), kind: kind.into(), state, since_ms, why: status.why.clone() }
}

/// What stands around the way of a reading: it must be there as long as deliveries go on.
struct Around {
    config: Config,
    watchdog: Arc<Watchdog>,
    heartbeat: Option<Peer>,
    sockets: Sockets,
    page: Option<Page>,
    desk: Arc<Desk>,
}

impl Around {
    fn spawn(self, tasks: &mut Tasks, stop: &CancellationToken) {
        let Self { config, watchdog, heartbeat: peer, sockets, page, desk } = self;
        let until = stop.clone();
        tasks.spawn(async move {
            watchdog.run(until).await;
            Ok(())
        });
        if let (Some(settings), Some(peer)) = (config.heartbeat, peer) {
            let (desk, until) = (desk.clone(), stop.clone());
            tasks.spawn(async move {
                heartbeat::run(peer.client, settings, || beat(&desk), until).await;
                Ok(())
            });
        }
        if let Some(page) = page {
            let (desk, until) = (desk.clone(), stop.clone());
            let zone = TimeZone::get(&config.gateway.time_zone).unwrap_or(TimeZone::UTC);
            tasks.spawn(async move {
                page.serve(desk, &config.patients, zone, until).await.map_err(|e| failed("page", &e))
            });
        }
        let until = stop.clone();
        tasks.spawn(async move { sockets.serve(desk, until).await.map_err(|e| failed("control", &e)) });
    }
}

async fn beat(desk: &Arc<Desk>) -> Beat {
    let (records, now) = (desk.records.clone(), desk.clock.now());
    let asked = tokio::task::spawn_blocking(move || (records.outbox(None), records.seal())).await.ok();
    let (boxes, custody) = asked.map_or_else(Default::default, |(b, s)| (b.unwrap_or_default(), s.ok().flatten()));
    let oldest_ms = boxes.iter().filter_map(|o| o.oldest_ms).min().unwrap_or(now.wall_ms);
    let links = desk.sources.iter().chain(&desk.destinations).map(|probe| probe());
    Beat {
        gateway: desk.gateway.clone(),
        version: env!("CARGO_PKG_VERSION"),
        sent_ms: now.wall_ms,
        clock_trusted: now.trusted,
        uptime_s: now.since(desk.started).as_secs(),
        backlog: boxes.iter().map(|o| o.waiting).sum(),
        oldest_s: u64::try_from(now.wall_ms.saturating_sub(oldest_ms) / 1_000).unwrap_or(0),
        rejected: boxes.iter().map(|o| o.rejected).sum(),
        inbox: desk.inbox.groups(false).await.map_or(0, |groups| groups.len()),
        custody,
        open_alerts: desk.alerts.borrow().len(),
        down: links.filter(|l| l.state == LinkState::Down).map(|l| l.name).collect(),
        stalled: desk.watchdog.stalled(),
    }
}
