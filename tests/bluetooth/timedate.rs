//! Whether our own clock was set, by the word of systemd's timedated on the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bluez::Bus;
use crate::support::gateway::{Gateway, until};

struct TimeDate(Arc<AtomicBool>);

#[zbus::interface(name = "org.freedesktop.timedate1")]
impl TimeDate {
    /// Whoever keeps the time: the kernel knows.
    #[zbus(property, name = "NTPSynchronized")]
    fn ntp_synchronized(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_clock_is_believed_once_the_machine_says_that_it_was_set() {
    let Some(bus) = Bus::start() else { return };
    let set = Arc::new(AtomicBool::new(false));
    let named = zbus::connection::Builder::address(bus.address.as_str()).unwrap();
    let named = named.name("org.freedesktop.timedate1").unwrap();
    let served = named.serve_at("/org/freedesktop/timedate1", TimeDate(set.clone())).unwrap();
    let _served = served.build().await.unwrap();
    let mut gateway = Gateway::new(
        "[journal]\nreserve_mib = 1\n[[destination]]\nkind = \"ndjson\"\nname = \"files\"\nfolder = \"files\"\n",
    );
    gateway.environment("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
    gateway.reword(|text| {
        text.replace("clock = \"always\"", "clock = \"synchronised\"\nclock_file = \"/nowhere/synchronised\"")
    });
    gateway.start();
    let trusted = |gateway: &Gateway| gateway.json(&["status"])["clock_trusted"] == true;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(!trusted(&gateway), "{}", gateway.log());
    set.store(true, Ordering::SeqCst);
    until("the clock", &gateway, || trusted(&gateway).then_some(())).await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
