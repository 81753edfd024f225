//! mosquitto, with a configuration and a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::{Process, installed};
use super::{PATIENCE, free_port, skipped};

/// How the listener under test lets clients in.
#[derive(Clone, Default)]
pub enum Door {
    /// Anybody, in the clear.
    #[default]
    Open,
    /// User and password, in the clear.
    Password { user: String, password: String },
    /// TLS, user and password.
    TlsPassword { user: String, password: String, certificates: PathBuf },
    /// TLS with a client certificate.
    TlsCertificate { certificates: PathBuf },
}

/// A running broker; it ends with this handle.
pub struct Broker {
    /// The listener under test.
    pub port: u16,
    /// A listener for devices: open, in the clear.
    pub device_port: u16,
    process: Process,
}

impl Broker {
    /// Starts one, or says loudly why not. `extra` are lines of its configuration.
    pub fn start(door: &Door, extra: &str) -> Option<Self> {
        Self::with(|folder, port, device_port| configuration(folder, port, device_port, door, extra))
    }

    /// Starts one with a configuration made for a folder and two ports; both must be listened on.
    pub fn with(configuration: impl Fn(&Path, u16, u16) -> String) -> Option<Self> {
        if installed("mosquitto").is_none() {
            skipped("mosquitto is not installed: run `./dev test`, or `apt-get install mosquitto`");
            return None;
        }
        let mut broker = Self { port: 0, device_port: 0, process: Process::new("mosquitto") };
        // A port that was free may be taken before mosquitto has it.
        for _ in 0..5 {
            (broker.port, broker.device_port) = (free_port(), free_port());
            let text = configuration(broker.process.folder(), broker.port, broker.device_port);
            std::fs::write(broker.process.folder().join("mosquitto.conf"), text).unwrap();
            if broker.spawn() {
                return Some(broker);
            }
        }
        panic!("mosquitto does not start");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it in order: it saves its queues.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Makes it save its queues now.
    pub fn save(&self) {
        let before = self.saved();
        self.process.signal("-USR1");
        let since = Instant::now();
        while self.saved() == before {
            assert!(since.elapsed() < PATIENCE, "mosquitto does not save");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it again, on the same ports and folder.
    pub fn restart(&mut self) {
        assert!(self.spawn(), "mosquitto does not start again");
    }

    /// Waits until it has seen `n` clients of this id leave in order: only then has it read all that they sent.
    pub async fn saw_leave(&self, client_id: &str, n: usize) {
        let line = format!("Client {client_id} disconnected.");
        let seen = async {
            while self.log().matches(&line).count() < n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        super::within("the broker's farewell", seen).await;
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn saved(&self) -> Option<std::time::SystemTime> {
        std::fs::metadata(self.process.folder().join("mosquitto.db")).and_then(|m| m.modified()).ok()
    }

    /// Whether it listens in the end.
    fn spawn(&mut self) -> bool {
        let mut command = Command::new(installed("mosquitto").unwrap());
        self.process.spawn(command.arg("-c").arg(self.process.folder().join("mosquitto.conf")));
        self.process.listens(&[self.port, self.device_port])
    }
}

fn configuration(folder: &Path, port: u16, device_port: u16, door: &Door, extra: &str) -> String {
    let at = folder.display();
    let door = match door {
        Door::Open => "allow_anonymous true".to_string(),
        Door::Password { user, password } => passwords(folder, user, password),
        Door::TlsPassword { user, password, certificates } => {
            let c = certificates.display();
            format!("{}\ncertfile {c}/server.pem\nkeyfile {c}/server.key", passwords(folder, user, password))
        }
        Door::TlsCertificate { certificates } => {
            let c = certificates.display();
            format!(
                "cafile {c}/ca.pem\ncertfile {c}/server.pem\nkeyfile {c}/server.key\n\
                 require_certificate true\nuse_identity_as_username true\nallow_anonymous false"
            )
        }
    };
    format!(
        "per_listener_settings true\n\
         user root\n\
         persistence true\npersistence_location {at}/\nautosave_interval 1800\n\
         log_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\n{extra}\n\
         listener {device_port} 127.0.0.1\nallow_anonymous true\n\
         listener {port} 127.0.0.1\n{door}\n"
    )
}

/// Makes a password file; answers with the lines that use it.
pub fn passwords(folder: &Path, user: &str, password: &str) -> String {
    let file = folder.join("passwords");
    let made = Command::new("mosquitto_passwd").arg("-b").arg("-c").arg(&file).args([user, password]).output();
    assert!(made.is_ok_and(|o| o.status.success()), "mosquitto_passwd fails");
    format!("allow_anonymous false\npassword_file {}", file.display())
}
