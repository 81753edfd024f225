//! A fake `org.bluez` on a private D-Bus: virtual peripherals of the lab behind the interfaces of BlueZ 5.66, and its faults.
//!
//! It answers what a gateway asks of the real one: objects, adapter, devices, GATT by introspection, agent, pairing.

mod adapter;
mod agent;
mod device;
mod gatt;
mod scale;

use std::collections::{BTreeMap, HashMap};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wardline::lab::device::{COMMON, Gatt, Tool, read_value};
use zbus::Connection;

pub use agent::Method;
use device::Device;
pub use gatt::number;
pub use scale::ScaleUser;

pub const ADAPTER: &str = "/org/bluez/hci0";

/// The private bus, a process that ends with this handle.
pub struct Bus {
    pub address: String,
    child: Child,
    folder: tempfile::TempDir,
}

impl Bus {
    /// Starts it, or says loudly why not.
    pub fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bus.conf");
        let text = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig><listen>unix:path={}/bus</listen><auth>EXTERNAL</auth><policy context=\"default\">\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
            folder.path().display()
        );
        std::fs::write(&file, text).unwrap();
        let Some((child, address)) = Self::launch(&file) else {
            crate::support::skipped("dbus-daemon is not installed: run `./dev test`, or `apt-get install dbus`");
            return None;
        };
        Some(Self { address, child, folder })
    }

    fn launch(file: &std::path::Path) -> Option<(Child, String)> {
        use std::io::{BufRead, BufReader};
        let child = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", file.display()))
            .args(["--nofork", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.ok()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(!address.trim().is_empty(), "dbus-daemon did not start");
        // A new one has another id, and the same socket: whoever is to find it again is told of the socket only.
        let address = address.trim().split(',').next().unwrap_or_default().to_owned();
        Some((child, address))
    }

    /// Starts it again at the same place.
    pub fn revive(&mut self) {
        let _ = std::fs::remove_file(self.folder.path().join("bus"));
        (self.child, _) = Self::launch(&self.folder.path().join("bus.conf")).unwrap();
    }

    /// Ends it, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a virtual peripheral behaves.
#[derive(Clone)]
pub struct Manners {
    /// It needs a bond, made like this, before it answers.
    pub pairing: Option<Method>,
    /// It is bonded from the start.
    pub bonded: bool,
    /// `Connect` never answers.
    pub stuck: bool,
    /// It connects only while it is awake.
    pub sleeps: bool,
    /// The news that an earlier link of it ended comes when the next one stands.
    pub belated_end: bool,
    /// Characteristics that it has and neither lets read nor written, bond or not.
    pub denies: Vec<&'static str>,
    /// bluetoothd takes so long to take its bond away.
    pub lingers: Duration,
    /// It has lost its bond and BlueZ has not: the encryption fails, and the link ends as soon as it stands.
    pub forgetful: bool,
    /// It connects, and no service is found.
    pub bare: bool,
    /// It hangs up after so many values of a connection.
    pub hangs_up_after: Option<usize>,
    /// It hangs up by itself when it has sent all.
    pub hangs_up: bool,
    /// It repeats its first value for ever, this often in a second.
    pub floods: Option<u64>,
    /// Between two records of its memory.
    pub pace: Duration,
    /// What its clock says, as octets of 2A2B.
    pub clock: Vec<u8>,
    /// What it tells when this is written to it, and by which characteristic.
    pub answers: Vec<Answer>,
    /// Users whose weights it gives for their codes.
    pub users: Vec<ScaleUser>,
    /// A connection of it leaks, until the adapter is switched off.
    pub leak: Leak,
    /// This record is lost on its way, once.
    pub loses: Option<u16>,
    /// So many records it says that it has, and never sends.
    pub withholds: u16,
    /// Its first value comes in one breath with the subscription, and the last before a break behind the news of it: what is
    /// asked is answered before, with an error. So a busy gateway sees it.
    pub hasty: bool,
}

/// What becomes of a connection that leaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leak {
    #[default]
    None,
    /// `Connect` never answers, and its attempt never ends: the place is taken.
    Connect,
    /// It stays connected, whoever hangs up.
    Link,
    /// And whoever switches the adapter off.
    Forever,
}

/// A question, and the values that follow it.
pub type Answer = (Vec<u8>, &'static str, Vec<Vec<u8>>);

impl Default for Manners {
    fn default() -> Self {
        Self {
            pairing: None,
            bonded: false,
            stuck: false,
            sleeps: false,
            belated_end: false,
            denies: Vec::new(),
            lingers: Duration::ZERO,
            forgetful: false,
            bare: false,
            hangs_up_after: None,
            hangs_up: true,
            floods: None,
            pace: Duration::from_millis(2),
            clock: wardline::lab::peripheral::CLOCK.to_vec(),
            answers: Vec::new(),
            users: Vec::new(),
            leak: Leak::None,
            loses: None,
            withholds: 0,
            hasty: false,
        }
    }
}

/// What a virtual peripheral is and what happened to it.
pub struct Peripheral {
    pub address: String,
    pub name: String,
    pub gatt: Vec<Gatt>,
    /// Values to push, oldest first: UUID, octets, and for a memory the record's number.
    pub values: Mutex<Vec<(String, Vec<u8>)>>,
    /// It keeps its values and sends them when asked.
    pub memory: bool,
    pub manners: Mutex<Manners>,
    /// Values pushed so far, when it has no memory.
    pub sent: AtomicUsize,
    /// Calls of `Connect`.
    pub connects: AtomicUsize,
    /// Links that came about.
    pub links: AtomicUsize,
    /// The host has a bond with it.
    pub bonded: AtomicBool,
    /// It has forgotten its half of the bond.
    pub wiped: AtomicBool,
    /// What is read of it, beside what all devices say.
    pub reads: Mutex<BTreeMap<&'static str, Vec<u8>>>,
    /// Broadcasts that were heard for the first time, each with when.
    pub told: Mutex<Vec<(Vec<u8>, i64)>>,
    /// What was written: UUID and octets.
    pub written: Mutex<Vec<(String, Vec<u8>)>>,
    /// What was done, in order: `read 2A2B`, `write 2A2B`, `subscribe 2A35`.
    pub done: Mutex<Vec<String>>,
    /// The link is as good as gone: nothing that is asked is answered.
    pub leaving: AtomicBool,
    /// Values that came behind such news.
    pub belated: AtomicUsize,
    /// Advertisements are heard.
    pub awake: AtomicBool,
    /// Broadcast data: service and octets.
    pub broadcast: Mutex<Option<(String, Vec<u8>)>>,
}

impl Peripheral {
    /// Of the lab's table.
    pub fn new(tool: Tool, address: &str, values: Vec<(String, Vec<u8>)>, manners: Manners) -> Arc<Self> {
        let gatt = tool.gatt().iter().chain(&COMMON).copied().collect();
        Self::with(address, &format!("Lab {tool:?}"), gatt, tool.has_memory(), values, manners)
    }

    pub fn with(
        address: &str,
        name: &str,
        gatt: Vec<Gatt>,
        memory: bool,
        values: Vec<(String, Vec<u8>)>,
        manners: Manners,
    ) -> Arc<Self> {
        Arc::new(Self {
            address: address.into(),
            name: name.into(),
            gatt,
            memory,
            values: Mutex::new(values),
            sent: AtomicUsize::new(0),
            leaving: AtomicBool::new(false),
            belated: AtomicUsize::new(0),
            connects: AtomicUsize::new(0),
            links: AtomicUsize::new(0),
            bonded: AtomicBool::new(manners.bonded),
            wiped: AtomicBool::new(false),
            reads: Mutex::default(),
            told: Mutex::default(),
            manners: Mutex::new(manners),
            written: Mutex::default(),
            done: Mutex::default(),
            awake: AtomicBool::new(true),
            broadcast: Mutex::default(),
        })
    }

    pub fn manners(&self) -> Manners {
        self.manners.lock().unwrap().clone()
    }

    pub fn path(&self) -> String {
        format!("{ADAPTER}/dev_{}", self.address.replace(':', "_"))
    }

    pub fn services(&self) -> Vec<String> {
        let mut all: Vec<String> = self.gatt.iter().map(|g| long(g.0)).collect();
        all.dedup();
        all
    }

    pub fn did(&self, what: String) {
        self.done.lock().unwrap().push(what);
    }

    /// What happened to it, in one line.
    pub fn story(&self) -> String {
        let (connects, sent) = (self.connects.load(Ordering::SeqCst), self.sent.load(Ordering::SeqCst));
        format!("{}: {connects} connects, {sent} sent, {:?}", self.address, self.done.lock().unwrap())
    }

    /// What a read of this characteristic gives.
    pub fn read(&self, uuid: &str) -> Vec<u8> {
        if let Some(octets) = self.reads.lock().unwrap().get(uuid) {
            return octets.clone();
        }
        if uuid == "2A2B" { self.manners().clock } else { read_value(uuid).unwrap_or_default().to_vec() }
    }
}

/// A 16-bit UUID in full; another as it is.
pub fn long(uuid: &str) -> String {
    if uuid.len() > 4 {
        return uuid.to_ascii_lowercase();
    }
    format!("0000{}-0000-1000-8000-00805f9b34fb", uuid.to_ascii_lowercase())
}

/// What bluetoothd has in common for all its objects.
pub struct State {
    pub peripherals: BTreeMap<String, Arc<Peripheral>>,
    pub powered: AtomicBool,
    pub discovering: AtomicBool,
    /// Advertisements are not heard, although the scan runs.
    pub deaf: AtomicBool,
    /// A scan that is started does not run.
    pub scanless: AtomicBool,
    /// Nothing that is asked of the adapter is answered.
    pub hung: AtomicBool,
    /// So many questions wait for that.
    pub hanging: AtomicUsize,
    /// `StartDiscovery` was called so often.
    pub scans: AtomicUsize,
    /// The adapter was switched off so often.
    pub switched_off: AtomicUsize,
    /// Connected now, and at most.
    pub connected: AtomicUsize,
    pub connected_most: AtomicUsize,
    /// As many connections as it can have.
    pub places: AtomicUsize,
    /// A device is heard each so many milliseconds.
    pub every_ms: AtomicUsize,
    /// Advertisements so far.
    pub heard: AtomicUsize,
    /// The agent: bus name, object path.
    pub agent: Mutex<Option<(String, String)>>,
}

/// A running fake bluetoothd.
pub struct Bluez {
    pub state: Arc<State>,
    connection: Connection,
    radio: tokio::task::JoinHandle<()>,
}

impl Bluez {
    /// Takes the name `org.bluez` on this bus.
    pub async fn start(bus: &Bus, peripherals: &[Arc<Peripheral>]) -> Self {
        let state = Arc::new(State {
            peripherals: peripherals.iter().map(|p| (p.address.clone(), p.clone())).collect(),
            powered: AtomicBool::new(true),
            discovering: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            scanless: AtomicBool::new(false),
            hung: AtomicBool::new(false),
            hanging: AtomicUsize::new(0),
            scans: AtomicUsize::new(0),
            switched_off: AtomicUsize::new(0),
            connected: AtomicUsize::new(0),
            connected_most: AtomicUsize::new(0),
            places: AtomicUsize::new(usize::MAX),
            every_ms: AtomicUsize::new(100),
            heard: AtomicUsize::new(0),
            agent: Mutex::new(None),
        });
        let connection = zbus::connection::Builder::address(bus.address.as_str())
            .unwrap()
            .serve_at("/", zbus::fdo::ObjectManager)
            .unwrap()
            .serve_at("/org/bluez", agent::Manager(state.clone()))
            .unwrap()
            .serve_at(ADAPTER, adapter::Adapter(state.clone()))
            .unwrap()
            .name("org.bluez")
            .unwrap()
            .build()
            .await
            .unwrap();
        // A real one knows bonded devices from before.
        for p in state.peripherals.values().filter(|p| p.bonded.load(Ordering::SeqCst)) {
            connection.object_server().at(p.path(), Device::new(p.clone(), state.clone())).await.unwrap();
        }
        let radio = tokio::spawn(advertise(connection.clone(), state.clone()));
        Self { state, connection, radio }
    }

    /// As a crash of bluetoothd would end it.
    pub async fn kill(self) {
        self.radio.abort();
        let _ = self.connection.close().await;
    }

    /// The adapter is pulled out.
    pub async fn unplug(&self) {
        self.state.deaf.store(true, Ordering::SeqCst);
        self.connection.object_server().remove::<adapter::Adapter, _>(ADAPTER).await.unwrap();
    }

    /// And put in again.
    pub async fn plug(&self) {
        self.connection.object_server().at(ADAPTER, adapter::Adapter(self.state.clone())).await.unwrap();
        self.state.deaf.store(false, Ordering::SeqCst);
    }

    /// The scan ends by itself.
    pub async fn end_scan(&self) {
        adapter::discovering(self.connection.object_server(), &self.state, false).await;
    }

    /// Somebody on the bus wants to pair a device: whether it worked.
    pub async fn pair(&self, p: &Arc<Peripheral>) -> bool {
        let paired = agent::pair(&self.connection, p, &self.state).await.is_ok();
        p.bonded.fetch_or(paired, Ordering::SeqCst);
        paired
    }

    /// A device hangs up.
    pub async fn hang_up(&self, p: &Arc<Peripheral>) {
        device::hang_up(self.connection.object_server(), &p.path()).await;
    }

    /// Connected now, as bluetoothd says.
    pub async fn is_connected(&self, p: &Arc<Peripheral>) -> bool {
        device::is_connected(self.connection.object_server(), &p.path()).await
    }

    /// A device loses its bond, or the box's side of it is taken away.
    pub async fn lose_bond(&self, p: &Arc<Peripheral>) {
        p.bonded.store(false, Ordering::SeqCst);
        device::changed(self.connection.object_server(), &p.path()).await;
    }
}

/// While the scan runs, every peripheral that is awake is heard ten times a second, or as often as is wanted.
async fn advertise(connection: Connection, state: Arc<State>) {
    let server = connection.object_server();
    let (mut off, mut next) = (0, tokio::time::Instant::now());
    loop {
        next += Duration::from_millis(state.every_ms.load(Ordering::SeqCst) as u64);
        tokio::time::sleep_until(next).await;
        // Without power there is no connection, and nothing that leaked.
        if std::mem::replace(&mut off, state.switched_off.load(Ordering::SeqCst)) != off {
            for p in state.peripherals.values() {
                device::power_lost(server, p).await;
            }
        }
        let scans = state.discovering.load(Ordering::SeqCst) && state.powered.load(Ordering::SeqCst);
        if !scans || state.deaf.load(Ordering::SeqCst) {
            continue;
        }
        for p in state.peripherals.values().filter(|p| p.awake.load(Ordering::SeqCst)) {
            device::heard(server, p, &state).await;
        }
    }
}

/// What BlueZ answers instead.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.bluez.Error")]
pub enum Refusal {
    #[zbus(error)]
    ZBus(zbus::Error),
    AlreadyExists(String),
    AuthenticationFailed(String),
    Failed(String),
    InProgress(String),
    NotPermitted(String),
}

/// Options of a call, which nobody looks at.
pub type Options = HashMap<String, zbus::zvariant::OwnedValue>;
