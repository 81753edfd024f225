//! A whole set-up: bus, fake bluetoothd, gateway, endpoint; and what the lab's devices have to say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wardline::lab::device::{Device, Mishap, Tool};
use wardline::lab::endpoint::{Endpoint, Settings};
use wardline::lab::peripheral as table;

use crate::bluez::{Bluez, Bus, Manners, Peripheral};
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;

pub struct Rig {
    pub bus: Bus,
    pub bluez: Option<Bluez>,
    pub gateway: Gateway,
    pub endpoint: Endpoint,
    pub peripherals: Vec<Arc<Peripheral>>,
}

/// Address of the lab's device of this kind and number.
pub fn address(tool: Tool, number: u32) -> String {
    Device::new(tool, number).id.0.trim_start_matches("ble:").to_owned()
}

/// What a device of this kind measures in `n` hours, with the number of readings in it.
pub fn measured(tool: Tool, number: u32, n: u32, mishap: Mishap) -> (Vec<(String, Vec<u8>)>, usize) {
    let values = table::measured(tool, number, n, mishap).unwrap();
    let readings = values.iter().map(|v| v.2).sum();
    (values.into_iter().map(|(uuid, octets, _)| (uuid, octets)).collect(), readings)
}

/// A device of the lab that has measured `n` times.
pub fn peripheral(tool: Tool, number: u32, n: u32, manners: Manners) -> (Arc<Peripheral>, usize) {
    let (values, readings) = measured(tool, number, n, Mishap::None);
    (Peripheral::new(tool, &address(tool, number), values, manners), readings)
}

impl Rig {
    /// Everything running; the gateway knows all peripherals but `strangers`.
    pub async fn start(peripherals: Vec<Arc<Peripheral>>, strangers: &[&str], extra: &str) -> Option<Self> {
        let bus = Bus::start()?;
        let bluez = Bluez::start(&bus, &peripherals).await;
        let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
        // Each value of a stream, unless the test is about their means.
        let each = if extra.contains("stream_period_s") { "" } else { "stream_period_s = 0\n" };
        let mut text = format!(
            "[journal]\nreserve_mib = 1\n\
             [[source]]\nkind = \"bluetooth\"\nname = \"radio\"\n{each}{extra}\n\
             [[destination]]\nkind = \"fhir\"\nname = \"centre\"\nurl = \"{}\"\nidempotency = \"conditional-create\"\n\
             [[patient]]\nreference = \"Patient/p1\"\n",
            endpoint.url()
        );
        // One patient each: the scales of the lab are stood on by people of different weight.
        for (i, p) in peripherals.iter().filter(|p| !strangers.contains(&p.address.as_str())).enumerate() {
            let patient = format!("Patient/p{}", i + 1);
            text += &if i > 0 { format!("[[patient]]\nreference = \"{patient}\"\n") } else { String::new() };
            text += &format!("[[device]]\nid = \"ble:{}\"\npatient = \"{patient}\"\n", p.address);
        }
        let mut gateway = Gateway::new(&text);
        gateway.environment("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
        // Another build of it, for figures.
        if let Some(binary) = std::env::var_os("WARDLINE_BINARY") {
            gateway.binary = binary.into();
        }
        gateway.start();
        Some(Self { bus, bluez: Some(bluez), gateway, endpoint, peripherals })
    }

    /// Waits until the endpoint holds as many Observations, none twice.
    pub async fn holds(&self, n: usize) {
        self.until(&format!("{n} observations"), |rig| rig.endpoint.counts().observations == n as u64).await;
        let counts = self.endpoint.counts();
        assert_eq!((counts.duplicates, counts.conflicts), (0, 0));
    }

    /// Waits for something.
    pub async fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let since = Instant::now();
        while !done(self) {
            let counts = self.endpoint.counts();
            assert!(
                since.elapsed() < PATIENCE * 2,
                "{what} did not happen; {} observations\n{}\n{}",
                counts.observations,
                self.gateway.json(&["status"]),
                self.peripherals.iter().map(|p| p.story()).collect::<Vec<_>>().join("\n")
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What status says of a device.
    pub fn device(&self, p: &Peripheral) -> serde_json::Value {
        let status = self.gateway.json(&["status"]);
        let id = format!("ble:{}", p.address);
        let devices = status["radio"]["devices"].as_array().unwrap();
        devices.iter().find(|d| d["id"] == *id).cloned().unwrap_or_default()
    }

    /// The code of what went wrong last with a device.
    pub fn why(&self, p: &Peripheral) -> String {
        self.device(p)["why"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Open alerts that say this.
    pub fn alerts(&self, what: &str) -> usize {
        self.gateway.cli(&["alerts"]).0.lines().filter(|line| line.contains(what)).count()
    }

    /// The code of what is wrong with the radio.
    pub fn trouble(&self) -> String {
        self.gateway.json(&["status"])["sources"][0]["why"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Open files of the gateway.
    pub fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.gateway.pid())).unwrap().count()
    }

    /// Ends the gateway in order, and at once.
    pub fn stop(&mut self) {
        assert_eq!(self.gateway.stop(), Some(0), "{}", self.gateway.log());
        assert!(!self.gateway.log().contains("Shutdown took too long"), "{}", self.gateway.log());
    }
}
