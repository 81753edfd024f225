//! Whether the machine's own clock can be believed: by a battery-backed clock at boot, or set by a time server since.
//!
//! Promises: a clock that may have been restored from a file dates nothing until it was set; one that stays so, or that is
//! set anew by more than a minute, becomes an alert. Must never: doubt a clock for good where the machine tells nothing of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zbus::zvariant::OwnedValue;

use super::pipeline::Technical;
use crate::alarm::Priority;
use crate::clock::{Clock, Stamp, WALL_FLOOR_MS};
use crate::config::{ClockTrust, Gateway};
use crate::limits;

/// How often the machine is asked whether its clock was set, while it was not.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long the answer may take: it comes from a daemon that has to be started first.
const ASK_MAX: Duration = Duration::from_secs(4);
/// So often a bus that does not answer is asked again before it counts as one that knows nothing: a minute of starting.
const PATIENT_TURNS: u32 = 12;
/// A battery-backed clock that ours was taken from goes as ours does, seconds.
const BATTERY_OFF_MAX_S: u64 = 60;
/// Set anew by more than this, the times of receipts of before are wrong by as much.
const STEP_MAX: Duration = Duration::from_secs(60);
/// For so long it is told that the clock was set anew.
const STEP_TOLD: Duration = Duration::from_secs(86_400);

/// What the machine says of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Set,
    NotYet,
    Nothing,
}

/// Where the machine says it.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    trust: ClockTrust,
    /// It is there once the clock was set.
    file: PathBuf,
    /// `/sys/class/rtc`.
    batteries: PathBuf,
    /// A PC has a battery-backed clock, also a virtual one, where no driver tells of it.
    pc: bool,
}

impl Machine {
    /// The one we are on.
    pub(super) fn of(gateway: &Gateway) -> Self {
        let batteries = PathBuf::from("/sys/class/rtc");
        let pc = cfg!(any(target_arch = "x86", target_arch = "x86_64"));
        Self { trust: gateway.clock, file: gateway.clock_file.clone(), batteries, pc }
    }

    /// What its files say, at once. The clock is doubted, until it is asked, if they do not say that it was set.
    pub(super) fn judge(&self, clock: &Clock) {
        clock.doubt(self.by_files(clock) != Says::Set);
    }

    fn by_files(&self, clock: &Clock) -> Says {
        let wall_s = clock.now().wall_ms / 1_000;
        let battery = || self.trust == ClockTrust::Auto && has_the_time(&self.batteries, wall_s).unwrap_or(self.pc);
        match () {
            () if self.trust == ClockTrust::Always || self.file.exists() || battery() => Says::Set,
            // Its daemon runs, and has not written it yet.
            () if self.trust == ClockTrust::Synchronised || self.file.parent().is_some_and(Path::exists) => {
                Says::NotYet
            }
            () => Says::Nothing,
        }
    }

    /// The same, with the daemon that knows what other time servers' clients do. It may be slow to start: `patient`.
    async fn says(&self, clock: &Clock, patient: bool) -> Says {
        match self.by_files(clock) {
            Says::Set => Says::Set,
            by_files => match synchronised().await {
                Answer::Yes => Says::Set,
                Answer::No => Says::NotYet,
                Answer::Late if patient => Says::NotYet,
                Answer::Late | Answer::NobodyKnows => by_files,
            },
        }
    }
}

/// Whether the kernel took its time from a battery-backed clock, which goes as ours does. `None`: there is no such clock. One
/// whose battery is empty begins with a date of its own, and a file sets ours elsewhere.
fn has_the_time(batteries: &Path, wall_s: i64) -> Option<bool> {
    let mut clocks = std::fs::read_dir(batteries).ok()?.flatten().map(|entry| entry.path()).peekable();
    clocks.peek()?;
    let says = |clock: &Path, what: &str| std::fs::read_to_string(clock.join(what)).unwrap_or_default();
    let near = |said: String| said.trim().parse::<i64>().is_ok_and(|at| at.abs_diff(wall_s) <= BATTERY_OFF_MAX_S);
    Some(clocks.any(|clock| says(&clock, "hctosys").trim() == "1" && near(says(&clock, "since_epoch"))))
}

/// What the bus says.
enum Answer {
    Yes,
    No,
    /// Not in time, or not as it should.
    Late,
    /// There is no bus, or nobody on it who could know.
    NobodyKnows,
}

/// `NTPSynchronized` of org.freedesktop.timedate1: the kernel's word.
async fn synchronised() -> Answer {
    const NAME: &str = "org.freedesktop.timedate1";
    let ask = async {
        let Ok(bus) = zbus::connection::Builder::system() else { return Answer::NobodyKnows };
        let Ok(bus) = bus.build().await else { return Answer::NobodyKnows };
        let properties = Some("org.freedesktop.DBus.Properties");
        let what = (NAME, "NTPSynchronized");
        match bus.call_method(Some(NAME), "/org/freedesktop/timedate1", properties, "Get", &what).await {
            Ok(answer) => match answer.body().deserialize::<OwnedValue>().map(bool::try_from) {
                Ok(Ok(true)) => Answer::Yes,
                Ok(Ok(false)) => Answer::No,
                _ => Answer::Late,
            },
            Err(zbus::Error::MethodError(name, ..)) if name.ends_with(".ServiceUnknown") => Answer::NobodyKnows,
            Err(_) => Answer::Late,
        }
    };
    tokio::time::timeout(ASK_MAX, ask).await.unwrap_or(Answer::Late)
}

/// Asks until the clock was set; says so if that lasts, and whenever it is set anew.
pub(super) async fn watch(machine: Machine, clock: Clock, told: mpsc::Sender<Technical>, stop: CancellationToken) {
    let watched = Watch { started: clock.now(), unset: false, line: None, stepped: None };
    let asks = async {
        let mut turns = 0_u32;
        while !clock.now().trusted {
            // Before the time of this build there is nothing to ask about.
            if clock.now().wall_ms >= WALL_FLOOR_MS && machine.says(&clock, turns < PATIENT_TURNS).await != Says::NotYet
            {
                clock.doubt(false);
            } else {
                turns = turns.saturating_add(1);
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = async { tokio::join!(asks, watched.run(&clock, &told)); } => {}
        () = told.closed() => {}
    }
}

struct Watch {
    started: Stamp,
    /// It is told that the clock is not set.
    unset: bool,
    /// How far the wall clock is from the monotonic one, since it can be believed; milliseconds.
    line: Option<i64>,
    /// When it was last set anew.
    stepped: Option<Stamp>,
}

impl Watch {
    async fn run(mut self, clock: &Clock, told: &mpsc::Sender<Technical>) {
        let mut turn = tokio::time::interval(limits::CLOCK_LOOK_EVERY);
        loop {
            turn.tick().await;
            for condition in self.look(clock.now()) {
                if told.send(condition).await.is_err() {
                    return;
                }
            }
        }
    }

    /// What there is to tell at this moment.
    fn look(&mut self, now: Stamp) -> Vec<Technical> {
        let condition = |name: &str, active, text: String| {
            let name = name.into();
            Technical { name, active, priority: Priority::Medium, text }
        };
        let mut tells = Vec::new();
        // Once it was right it is set: time that is kept goes on being kept.
        let unset = !now.trusted && self.line.is_none() && now.since(self.started) >= limits::CLOCK_WRONG_ALERT;
        if unset != self.unset {
            let text = if unset { "it was never set: readings are kept, and sent when it is" } else { "it is set" };
            tells.push(condition("clock", unset, text.into()));
            self.unset = unset;
        }
        let line = now.wall_ms.saturating_sub(i64::try_from(now.mono_us / 1_000).unwrap_or(i64::MAX));
        let by_ms = self.line.map_or(0, |before| line.saturating_sub(before));
        if by_ms.unsigned_abs() > u64::try_from(STEP_MAX.as_millis()).unwrap_or(u64::MAX) {
            tracing::warn!(code = "WL-O017", seconds = by_ms / 1_000, "The clock was set anew.");
            tells.push(condition("clock-set-anew", true, said(by_ms)));
            self.stepped = Some(now);
        } else if self.stepped.is_some_and(|at| now.since(at) >= STEP_TOLD) {
            tells.push(condition("clock-set-anew", false, "a day ago".into()));
            self.stepped = None;
        }
        if now.trusted || self.line.is_some() {
            self.line = Some(line);
        }
        tells
    }
}

/// By how much, and what that means.
fn said(by_ms: i64) -> String {
    let seconds = by_ms.unsigned_abs() / 1_000;
    let way = if by_ms < 0 { "back" } else { "forward" };
    let (h, m, s) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!(
        "set {way} by {h} h {m} min {s} s while it was believed: what was received before, without a time of its own, \
         is dated wrong by as much"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSET: Stamp = Stamp { wall_ms: 0, mono_us: 0, boot: 1, trusted: false };

    fn machine(folder: &Path, trust: ClockTrust) -> Machine {
        Machine { trust, file: folder.join("timesync/synchronized"), batteries: folder.join("rtc"), pc: false }
    }

    fn put(file: &Path, text: &str) {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    #[test]
    fn a_clock_that_nobody_set_is_doubted_where_the_machine_can_tell() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let clock = Clock::system();
        let says = |trust| machine(folder, trust).by_files(&clock);
        let all = || [ClockTrust::Auto, ClockTrust::Synchronised, ClockTrust::Always].map(says);
        // Neither a battery, nor a daemon that would tell.
        assert_eq!(all(), [Says::Nothing, Says::NotYet, Says::Set]);
        // A clock whose battery is empty.
        put(&folder.join("rtc/rtc0/hctosys"), "0\n");
        assert_eq!(all(), [Says::Nothing, Says::NotYet, Says::Set]);
        std::fs::create_dir_all(folder.join("timesync")).unwrap();
        assert_eq!(all(), [Says::NotYet, Says::NotYet, Says::Set]);
        // The kernel read one that had begun anew, and a file set ours elsewhere.
        put(&folder.join("rtc/rtc1/hctosys"), "1\n");
        put(&folder.join("rtc/rtc1/since_epoch"), "1501804800\n");
        assert_eq!(all(), [Says::NotYet, Says::NotYet, Says::Set]);
        put(&folder.join("rtc/rtc1/since_epoch"), &format!("{}\n", clock.now().wall_ms / 1_000));
        assert_eq!(all(), [Says::Set, Says::NotYet, Says::Set]);
        std::fs::remove_dir_all(folder.join("rtc")).unwrap();
        put(&folder.join("timesync/synchronized"), "");
        assert_eq!(all(), [Says::Set; 3]);
        std::fs::remove_dir_all(folder.join("timesync")).unwrap();
        let pc = Machine { pc: true, ..machine(folder, ClockTrust::Auto) };
        assert_eq!(pc.by_files(&clock), Says::Set);
        put(&folder.join("rtc/rtc0/since_epoch"), "0\n");
        assert_eq!(pc.by_files(&clock), Says::Nothing, "its battery is empty");
    }

    #[tokio::test]
    async fn it_is_asked_until_it_was_set() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, clock) = (machine(folder.path(), ClockTrust::Synchronised), Clock::system());
        machine.judge(&clock);
        assert!(!clock.now().trusted);
        let (told, _hears) = mpsc::channel(8);
        let mut set = tokio::task::JoinSet::new();
        set.spawn(watch(machine.clone(), clock.clone(), told, CancellationToken::new()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!clock.now().trusted);
        put(&machine.file, "");
        while !clock.now().trusted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_not_set_is_a_condition_until_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let ours = Clock::manual(UNSET);
        let (told, mut hears) = mpsc::channel(8);
        let mut set = tokio::task::JoinSet::new();
        let machine = machine(folder.path(), ClockTrust::Auto);
        set.spawn(watch(machine, ours.clone(), told, CancellationToken::new()));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(hears.try_recv().is_err());
        ours.advance(limits::CLOCK_WRONG_ALERT);
        assert!(hears.recv().await.unwrap().active);
        ours.set(Stamp { trusted: true, ..ours.now() });
        assert!(!hears.recv().await.unwrap().active);
    }

    #[test]
    fn a_clock_that_is_set_anew_while_it_is_believed_is_told_for_a_day() {
        let mut watch = Watch { started: UNSET, unset: false, line: None, stepped: None };
        let mut told = |s: i64, off_s: i64, trusted: bool| {
            let now = Stamp { wall_ms: (s + off_s) * 1_000, mono_us: s.unsigned_abs() * 1_000_000, boot: 1, trusted };
            let tells = watch.look(now);
            tells.into_iter().map(|t| (t.name.to_string(), t.active, t.text)).collect::<Vec<_>>()
        };
        // Before it is believed it may be set as often as it likes; slewing and leap seconds are no steps.
        for (s, off_s, trusted) in [(1, 0, false), (2, 50_000, false), (3, 90_000, true), (4, 90_059, true)] {
            assert_eq!(told(s, off_s, trusted), [], "{s}");
        }
        let back = told(5, 86_396, true);
        assert_eq!((back[0].0.as_str(), back[0].1), ("clock-set-anew", true));
        assert!(back[0].2.starts_with("set back by 1 h 1 min 3 s"), "{}", back[0].2);
        // Far behind, it is not believed any more; and forward again.
        assert!(told(6, -90, false)[0].2.starts_with("set back by 24 h 1 min 26 s"));
        assert!(told(7, 86_400, true)[0].2.starts_with("set forward by 24 h 1 min 30 s"));
        assert_eq!(told(86_406, 86_400, true), []);
        let (name, active, _) = told(86_407, 86_400, true).remove(0);
        assert_eq!((name.as_str(), active), ("clock-set-anew", false));
        assert_eq!(told(86_408, 86_400, true), []);
    }
}
