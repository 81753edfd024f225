//! Devices, and what they measured: facts. Each fact can be told from all others by what a server gets to see of it.

use bytes::Bytes;
use wardline::reading::{DeviceId, Path};
use wardline_disk::Random;

use super::world::{HOUR, MINUTE, SECOND, State};

/// How a device works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Bluetooth, with a clock and a memory: sends again what was not taken.
    Cuff,
    /// Bluetooth, neither clock nor memory: what nobody takes is lost.
    Thermometer,
    /// MQTT, with time and number; the broker keeps what was not acknowledged.
    Hub,
    /// MQTT, with neither: only MQTT's marks tell a second sending.
    Plain,
    /// A hub of nobody.
    Stranger,
}

pub struct Device {
    pub make: Make,
    pub id: String,
    pub patient: Option<&'static str>,
    /// Between two measurements, on average.
    every_ms: i64,
    /// When it measures next.
    pub next_ms: i64,
    /// Of its own clock against the true time.
    wrong_by_ms: i64,
    stated_ms: i64,
    count: u64,
}

/// Something that was measured, or sent at least.
pub struct Fact {
    pub device: usize,
    pub bytes: Bytes,
    /// Nothing that can be understood.
    pub garbage: bool,
    /// Values as the server must get them.
    pub values: Vec<String>,
    /// What the device's clock said.
    pub stated_ms: Option<i64>,
    pub vital: &'static str,
    pub critical: bool,
    /// The server refuses it for good.
    pub poison: bool,
    /// When it was handed to the gateway, in which boot.
    pub handed: Vec<(i64, u64)>,
    /// A source was told that it is kept: it must arrive.
    pub kept: bool,
    /// Its identifier at the server.
    pub stored: Option<String>,
    pub refused: bool,
}

pub const PATIENTS: [&str; 2] = ["Patient/p1", "Patient/p2"];

impl Device {
    /// A home or a small ward.
    pub fn ward(random: &mut Random) -> Vec<Self> {
        let makes = [Make::Cuff, Make::Thermometer, Make::Hub, Make::Plain, Make::Stranger];
        let busy = random.one_in(15);
        let device = |n: usize, make: Make, random: &mut Random| {
            let patient = (make != Make::Stranger).then(|| PATIENTS[n % 2]);
            let id = match make {
                Make::Cuff | Make::Thermometer => format!("ble:C0:26:DF:00:11:0{n}"),
                Make::Hub | Make::Plain | Make::Stranger => format!("mqtt:dev-{n}"),
            };
            let hours = if busy { 1 } else { 6 + random.below(30) };
            let wrong_by_ms = random.below(120) as i64 * SECOND - MINUTE;
            let every_ms = hours as i64 * HOUR;
            Self { make, id, patient, every_ms, next_ms: 0, wrong_by_ms, stated_ms: 0, count: 0 }
        };
        makes.into_iter().enumerate().map(|(n, make)| device(n, make, random)).collect()
    }

    /// Which link it uses.
    pub fn link(&self) -> usize {
        usize::from(!matches!(self.make, Make::Cuff | Make::Thermometer))
    }

    pub fn path(&self) -> Path {
        let device = DeviceId(self.id.as_str().into());
        match self.make {
            Make::Cuff => Path::Characteristic { device, uuid: "2A35".into(), name: None },
            Make::Thermometer => Path::Characteristic { device, uuid: "2A1C".into(), name: None },
            Make::Hub | Make::Plain | Make::Stranger => {
                Path::Topic(format!("devices/{}/vitals", self.id.trim_start_matches("mqtt:")).into())
            }
        }
    }

    /// Whether it sends again what nobody took.
    pub fn has_memory(&self) -> bool {
        self.make != Make::Thermometer
    }

    /// One measurement more.
    fn measure(&mut self, now_ms: i64, critical: bool) -> Measured {
        self.count += 1;
        let n = self.count;
        // Its clock shows seconds, and never the same one twice.
        self.stated_ms = ((now_ms + self.wrong_by_ms) / SECOND * SECOND).max(self.stated_ms + SECOND);
        let stated = jiff::Timestamp::from_millisecond(self.stated_ms).unwrap();
        match self.make {
            Make::Cuff => {
                let (sys, dia) = (if critical { 191 } else { 110 } + n % 20, 60 + n % 17);
                let t = stated.to_zoned(jiff::tz::TimeZone::UTC).datetime();
                let mut bytes = vec![2];
                for value in [sys, dia, dia + 10] {
                    bytes.extend_from_slice(&u16::try_from(value).unwrap().to_le_bytes());
                }
                bytes.extend_from_slice(&t.year().to_le_bytes());
                bytes.extend([t.month(), t.day(), t.hour(), t.minute(), t.second()].map(i8::cast_unsigned));
                let values = [sys, dia].map(|v| v.to_string()).to_vec();
                Measured { bytes, values, stated_ms: Some(self.stated_ms), vital: "blood-pressure" }
            }
            Make::Thermometer => {
                let mantissa = if critical { 395_000 } else { 360_000 } + n % 15_000;
                let [a, b, c, _] = u32::try_from(mantissa).unwrap().to_le_bytes();
                let values = vec![format!("{}.{:04}", mantissa / 10_000, mantissa % 10_000)];
                Measured { bytes: vec![0, a, b, c, 0xFC], values, stated_ms: None, vital: "body-temperature" }
            }
            Make::Hub | Make::Plain | Make::Stranger => {
                let value = format!("{}.{:05}", if critical { 150 } else { 70 }, n);
                let time =
                    if self.make == Make::Plain { String::new() } else { format!(r#","seq":{n},"ts":"{stated}""#) };
                let text = format!(r#"{{"code":"8867-4","value":{value},"ucum":"/min"{time}}}"#);
                let stated_ms = (self.make != Make::Plain).then_some(self.stated_ms);
                Measured { bytes: text.into_bytes(), values: vec![value], stated_ms, vital: "heart-rate" }
            }
        }
    }
}

struct Measured {
    bytes: Vec<u8>,
    values: Vec<String>,
    stated_ms: Option<i64>,
    vital: &'static str,
}

impl State {
    /// Lets devices measure whose time has come. Answers when the next one measures.
    pub fn measure(&mut self, link: usize) -> i64 {
        let now = self.now();
        let mut next = i64::MAX;
        for at in 0..self.devices.len() {
            if self.devices[at].link() != link {
                continue;
            }
            if self.devices[at].next_ms == 0 {
                let every = self.devices[at].every_ms;
                self.devices[at].next_ms = now + self.between(0, every);
            }
            while self.devices[at].next_ms <= now {
                // Now and then a burst: a history, or a night under observation.
                let several = if self.random.one_in(60) { 10 + self.random.below(150) } else { 1 };
                let critical = self.random.one_in(25);
                for _ in 0..several {
                    self.fact(at, critical);
                }
                let every = self.devices[at].every_ms;
                self.devices[at].next_ms += self.between(every / 10, every * 2);
            }
            next = next.min(self.devices[at].next_ms);
        }
        next
    }

    /// A new fact of a device, on its way. Answers which.
    pub fn fact(&mut self, device: usize, critical: bool) -> usize {
        let now = self.now();
        let garbage = self.random.one_in(40);
        let critical = critical && !garbage;
        let Measured { mut bytes, values, stated_ms, vital } = self.devices[device].measure(now, critical);
        if garbage {
            bytes.truncate(bytes.len() / 2);
        }
        let poison = !garbage && !critical && self.random.one_in(150);
        let fact = Fact {
            device,
            bytes: bytes.into(),
            garbage,
            values,
            stated_ms,
            vital,
            critical,
            poison,
            handed: Vec::new(),
            kept: false,
            stored: None,
            refused: false,
        };
        let id = self.facts.len();
        if !garbage {
            self.known.insert((device, mark(&fact)), id);
        }
        self.facts.push(fact);
        let link = self.devices[device].link();
        self.links[link].queue.push_back(id);
        id
    }
}

/// What tells a fact from the others of its device: the time for a cuff, the value for the others.
fn mark(fact: &Fact) -> String {
    match (fact.vital, fact.stated_ms) {
        ("blood-pressure", Some(ms)) => ms.to_string(),
        _ => fact.values[0].clone(),
    }
}
