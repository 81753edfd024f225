//! One story: lives of one gateway on one disk, in bad weather; then the weather clears, and everything must come right.

use std::cell::RefCell;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wardline::alert::Engine;
use wardline::alert::notify::Signal;
use wardline::alert::ruleset::Rules;
use wardline::clock::{Clock, Stamp};
use wardline::config::{BundleKind, Config, FhirSettings, Idempotency};
use wardline::gateway::Extra;
use wardline::gateway::bare::{Bare, owed};
use wardline::journal::{Driven, Journal, OpenError, Recovered, Vault};
use wardline::profile::Catalogue;
use wardline::sink::fhir::FhirSink;
use wardline::sink::{Dice, Sink};
use wardline_disk::{Disk, Image};

use super::centre::Way;
use super::devices::PATIENTS;
use super::disk::{Under, look, memory};
use super::link;
use super::weather::{Plan, direct};
use super::world::{Flaw, HOUR, MINUTE, SECOND, Seen, World};

/// Writes that the disk remembers, some more if they are not durable.
const LOG_MAX: usize = 4_000;

/// How a life ended.
#[derive(Debug)]
pub enum End {
    /// The process was killed.
    Killed,
    /// The power went, at this place of the disk's log.
    Cut(usize),
    /// It was told to stop, and did.
    Stopped,
    /// It ended by itself, or did not start.
    Failed(String),
    /// The story is over.
    Finished,
}

/// What a story is told with.
pub struct Story {
    pub world: Arc<World>,
    pub disk: Disk,
    pub folder: tempfile::TempDir,
    pub plan: RefCell<Plan>,
    pub settings: Config,
    pub catalogue: Arc<Catalogue>,
    rules: Rules,
    pub idempotency: Idempotency,
    pub bundle: BundleKind,
    synchronous: &'static str,
    /// Of the machine, at its boot: microseconds and milliseconds since.
    booted_ms: i64,
    /// Where the turn that runs, or ran last, began in the disk's log.
    turn: RefCell<Turn>,
}

#[derive(Default)]
pub struct Turn {
    pub from: usize,
    /// The disk's log begins anew when it is so long.
    forget_at: usize,
    /// Cut the power in the next turn that writes.
    pub cut: bool,
}

/// What came of it.
pub struct Told {
    pub seed: u64,
    pub wrong: Vec<String>,
    pub hash: u64,
    pub events: u64,
    pub hours: f64,
    pub facts: usize,
    pub lives: usize,
    pub cuts: usize,
}

fn config(folder: &Path, keep_days: u32, reserve_mib: u64) -> Config {
    let devices: String = super::devices::Device::ward(&mut wardline_disk::Random::new(1))
        .iter()
        .filter_map(|d| Some(format!("[[device]]\nid = \"{}\"\npatient = \"{}\"\n", d.id, d.patient?)))
        .collect();
    let patients: String = PATIENTS.iter().map(|p| format!("[[patient]]\nreference = \"{p}\"\n")).collect();
    let text = format!(
        "[gateway]\nid = \"box\"\nstate = \"{}\"\n[journal]\nkeep_settled_days = {keep_days}\n\
         {patients}{devices}",
        folder.display()
    );
    let mut config = Config::parse(&text, Path::new("simulation.toml")).unwrap();
    // None at all: then the disk itself is what is full.
    config.journal.reserve_mib = reserve_mib;
    config
}

/// Tells the story of this seed.
pub fn tell(seed: u64, hours: i64, flaw: Flaw, catalogue: &Arc<Catalogue>) -> Told {
    let world = World::new(seed, flaw);
    let folder = tempfile::tempdir_in(memory()).unwrap();
    let (plan, keep_days, reserve_mib, idempotency, bundle) = {
        let mut state = world.lock();
        let plan = Plan::new(&mut state, hours);
        let idempotency = if state.random.one_in(2) { Idempotency::Update } else { Idempotency::ConditionalCreate };
        let bundle = if state.random.one_in(4) { BundleKind::Transaction } else { BundleKind::Batch };
        (plan, 1 + state.random.below(3) as u32, state.random.below(2) as u64, idempotency, bundle)
    };
    let mut story = Story {
        rules: Rules::load(&[], &[]).unwrap(),
        settings: config(folder.path(), keep_days, reserve_mib),
        disk: Disk::new(Image::new()),
        folder,
        plan: RefCell::new(plan),
        catalogue: catalogue.clone(),
        idempotency,
        bundle,
        synchronous: if flaw == Flaw::NoSync { "NORMAL" } else { "FULL" },
        booted_ms: super::world::BEGINNING_MS,
        turn: RefCell::default(),
        world,
    };
    let (mut lives, mut cuts) = (0, 0);
    loop {
        lives += 1;
        let end = story.life();
        cuts += usize::from(matches!(end, End::Cut(_)));
        let over = matches!(end, End::Finished);
        story.after(end);
        if over || !story.world.lock().wrong.is_empty() || lives > 5_000 {
            break;
        }
    }
    story.judge();
    Disk::unmount(story.folder.path());
    let state = story.world.lock();
    let hours = (state.now() - super::world::BEGINNING_MS) as f64 / HOUR as f64;
    let (hash, events, facts) = (state.hash(), state.events, state.facts.len());
    Told { seed, wrong: state.wrong.clone(), hash, events, hours, facts, lives, cuts }
}

impl Story {
    /// From the start of the process to its end.
    fn life(&self) -> End {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let end = self.run().await;
            let mut state = self.world.lock();
            let now = state.now();
            state.note("end", self.disk.position() as u64, 0);
            state.pause(now, 0);
            end
        })
    }

    async fn run(&self) -> End {
        let clock = {
            let mut state = self.world.lock();
            state.begin();
            let up = (state.now() - self.booted_ms).max(0).unsigned_abs() * 1_000;
            let wall_ms = state.now() + state.offset();
            let boot = state.boot;
            state.note("start", boot, up);
            Clock::of_runtime(Stamp { wall_ms, mono_us: up, boot, trusted: true })
        };
        self.disk.mount(self.folder.path());
        let under = Under { disk: self.disk.clone(), synchronous: self.synchronous };
        let sink = Sink::Fhir(Box::new(self.sink()));
        let creditors = [owed(&"centre".into(), &sink)];
        let (opened, is_open) = oneshot::channel();
        let mut opened = Some(opened);
        let told = |told: Driven| self.turned(told, &mut opened);
        let settings = &self.settings.journal;
        // Not encrypted: SQLCipher's octets are other ones each time, and the same seed tells the same story.
        let vault = Vault::new(self.folder.path(), None);
        let mut writer = pin!(Journal::drive_on(Arc::new(under), &vault, settings, &creditors, clock.clone(), told));
        let mut gateway = pin!(async {
            match is_open.await {
                Ok((journal, recovered)) => self.gateway(journal, recovered, sink, clock).await,
                Err(_) => std::future::pending().await,
            }
        });
        let written = tokio::select! {
            biased;
            written = &mut writer => written,
            end = &mut gateway => return end,
            () = self.world.end.notified() => return End::Cut(self.disk.position()),
        };
        match written {
            _ if self.is_cut_in_turn() => End::Cut(self.place_in_turn()),
            Err(e) => self.refused(e),
            // Closed in order: the rest ends by itself.
            Ok(()) => gateway.await,
        }
    }

    fn sink(&self) -> FhirSink {
        let settings = FhirSettings {
            consent: None,
            fields: None,
            name: "centre".into(),
            url: "http://centre".into(),
            idempotency: self.idempotency,
            bundle: self.bundle,
            bundle_max: 20,
            requests_per_min: 0,
            gzip: false,
            linger_ms: 50,
            timeout_s: 30,
            ca_file: None,
            crl_file: None,
            client_certificate_file: None,
            client_key_file: None,
            token_file: None,
            auth: None,
            profile: None,
            us_core: Default::default(),
            phd: false,
            devices: Default::default(),
            uncoded: Default::default(),
            mapping_file: None,
            alert_owner: None,
            care_plan: None,
            follow_tasks: None,
            audit: false,
            device_metrics: false,
            references: Default::default(),
        };
        FhirSink::new(&settings, &"box".into()).unwrap().over(Arc::new(Way(self.world.clone())))
    }

    /// The journal's turns: the power may go in the middle of one, before anybody heard its answers.
    fn turned(&self, told: Driven, opened: &mut Option<oneshot::Sender<(Journal, Recovered)>>) -> bool {
        let mut turn = self.turn.borrow_mut();
        match told {
            Driven::Open(journal, recovered) => {
                let mut state = self.world.lock();
                let run = state.random.next();
                if let Some(salvaged) = &recovered.salvaged {
                    state.wrong(format!("safety: what was left was taken for damage: {salvaged:?}"));
                }
                if let Some(opened) = opened.take() {
                    let _ = opened.send((journal, Recovered { run, ..*recovered }));
                }
                true
            }
            Driven::Begins => {
                // Else the log of a long life would fill the memory.
                if self.disk.position() > turn.forget_at.max(LOG_MAX) {
                    self.disk.forget();
                    turn.forget_at = 2 * self.disk.position();
                }
                turn.from = self.disk.position();
                true
            }
            Driven::Ended => !(turn.cut && self.disk.position() > turn.from),
        }
    }

    fn is_cut_in_turn(&self) -> bool {
        let turn = self.turn.borrow();
        turn.cut && self.disk.position() > turn.from
    }

    fn place_in_turn(&self) -> usize {
        let (from, to) = (self.turn.borrow().from, self.disk.position());
        from + 1 + self.world.lock().random.below(to - from)
    }

    /// A disk that fails may keep the gateway from starting; nothing else may.
    fn refused(&self, e: OpenError) -> End {
        if !self.disk.failed() && !matches!(e, OpenError::NoSpace { .. }) && self.disk.free() > 1 << 20 {
            self.world.lock().wrong(format!("liveness: the journal does not open: {e}"));
        }
        End::Failed(e.to_string())
    }

    async fn gateway(&self, journal: Journal, recovered: Recovered, sink: Sink, clock: Clock) -> End {
        let stop = CancellationToken::new();
        let source = |at: usize| {
            let world = self.world.clone();
            let name = self.world.lock().links[at].name.into();
            Extra { name, run: Box::new(move |port| Box::pin(link::run(port, world, at))) }
        };
        let dice = Dice::seeded(self.world.lock().random.next());
        let disk = self.disk.clone();
        let bare = Bare {
            config: self.settings.clone(),
            clock: clock.clone(),
            journal: (journal.clone(), recovered),
            catalogue: self.catalogue.clone(),
            engine: Engine::new(self.rules.clone(), self.settings.alerts.old_after()),
            destinations: vec![("centre".into(), sink)],
            evidence: Arc::new(move |keys| {
                let found = look(&disk.image(), |_, reader| reader.with_keys(&keys).unwrap_or_default());
                Box::pin(async { found.into_iter().map(Arc::new).collect() })
            }),
            dice,
            sources: vec![source(0), source(1)],
            patience: std::time::Duration::from_secs(20 * 60),
        };
        let (work, signal, orders) = bare.start(stop.clone());
        let mut work = pin!(work.wait());
        let end = tokio::select! {
            biased;
            never = self.watch(&signal) => never,
            ended = &mut work => return End::Failed(ended.err().map_or("it ended".into(), |e| e.to_string())),
            end = direct(self, &clock, &*orders, &signal) => end,
        };
        if matches!(end, End::Stopped | End::Finished) {
            stop.cancel();
            let asked = tokio::time::Instant::now();
            let ended = work.await;
            let mut state = self.world.lock();
            if asked.elapsed() > wardline::limits::SHUTDOWN_MAX {
                state.wrong(format!("liveness: the orderly end took {:?}", asked.elapsed()));
            }
            if matches!(end, End::Finished) && ended.is_err() {
                state.wrong(format!("liveness: the end was not in order: {ended:?}"));
            }
        }
        end
    }

    /// What is signalled on the box.
    async fn watch(&self, signal: &Signal) -> End {
        let mut seen = signal.watch();
        loop {
            {
                let open = seen.borrow_and_update();
                let mut state = self.world.lock();
                let now = state.now();
                state.conditions = open.iter().filter(|a| a.patient.is_none()).map(|a| a.rule.to_string()).collect();
                state.alerted.values_mut().for_each(|seen| seen.open = false);
                let alive = state.flaw != Flaw::Silent;
                for alert in open.iter().filter(|_| alive) {
                    if let (Some(patient), Some(vital)) = (&alert.patient, alert.vital) {
                        let about = (patient.reveal().to_owned(), vital.id);
                        *state.alerted.entry(about).or_default() = Seen { last_ms: now, open: true };
                    }
                }
                state.note("signal", open.len() as u64, 0);
            }
            if seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is left for the next life.
    fn after(&mut self, end: End) {
        let away = {
            let mut state = self.world.lock();
            match end {
                End::Cut(_) => state.between(10 * SECOND, 20 * MINUTE),
                _ => state.between(SECOND, 30 * SECOND),
            }
        };
        if std::env::var_os("SIM_TELL").is_some() {
            match &end {
                End::Failed(why) => eprintln!("-- it ended by itself: {why}; away {away} ms"),
                end => eprintln!("-- {end:?}; away {away} ms"),
            }
        }
        let now = self.world.lock().now();
        self.world.lock().pause(now, away);
        *self.turn.borrow_mut() = Turn::default();
        let mut plan = self.plan.borrow_mut();
        if let End::Cut(at) = end {
            let mut state = self.world.lock();
            let image = self.disk.cut(at, &mut state.random);
            self.disk = Disk::new(image);
            state.boot += 1;
            self.booted_ms = state.now();
            plan.reboot(&mut state);
        }
        plan.repair(&self.disk, &mut self.world.lock());
    }
}

impl Story {
    /// Cuts the power in the next turn that writes.
    pub fn cut_in_turn(&self) {
        self.turn.borrow_mut().cut = true;
    }

    /// No cut any more.
    pub fn fine(&self) {
        self.turn.borrow_mut().cut = false;
    }
}
