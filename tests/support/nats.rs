//! nats-server with JetStream, with a configuration and a folder of its own; and what a person at its console would do.

use std::future::Future;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wardline::nats::auth::Credential;
use wardline::nats::link::{Link, Reach};
use wardline::tls::Files;

use super::process::{Process, installed};
use super::{PATIENCE, free_port, skipped, within};

/// A running server; it ends with this handle.
pub struct Bus {
    pub port: u16,
    process: Process,
}

impl Bus {
    /// Starts one, or says loudly why not. `extra` are lines of its configuration.
    pub fn start(extra: &str) -> Option<Self> {
        if installed("nats-server").is_none() {
            skipped("nats-server is not installed: run `./dev test`, or `apt-get install nats-server`");
            return None;
        }
        let mut bus = Self { port: 0, process: Process::new("nats-server") };
        for _ in 0..5 {
            bus.port = free_port();
            let at = bus.process.folder().display();
            let text = format!(
                "listen: \"127.0.0.1:{}\"\nserver_name: test\njetstream {{ store_dir: \"{at}/store\", max_mem: 16M, max_file: 1G }}\n{extra}\n",
                bus.port
            );
            std::fs::write(bus.process.folder().join("nats.conf"), text).unwrap();
            if bus.spawn() {
                return Some(bus);
            }
        }
        panic!("nats-server does not start\n{}", bus.log());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, on the same port and folder.
    pub fn restart(&mut self) {
        assert!(self.spawn(), "nats-server does not start again\n{}", self.log());
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn spawn(&mut self) -> bool {
        let mut command = Command::new(installed("nats-server").unwrap());
        self.process.spawn(command.arg("-c").arg(self.process.folder().join("nats.conf")));
        self.process.listens(&[self.port])
    }
}

/// A person at the server's console.
pub struct Console {
    pub link: Link,
}

impl Console {
    /// Connects, without a credential; the server may not be ready yet.
    pub async fn connect(port: u16) -> Self {
        let reach =
            Reach::new(&[format!("nats://127.0.0.1:{port}")], Files::default(), Credential::None, "console").unwrap();
        let since = Instant::now();
        loop {
            match reach.connect().await {
                Ok(link) => return Self { link },
                Err(e) => assert!(since.elapsed() < PATIENCE, "the console does not connect: {e}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A call of the API, whatever it answers.
    pub async fn call(&mut self, what: &str, body: Value) -> Value {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let since = Instant::now();
        loop {
            // JetStream comes up a moment after the port.
            match self.link.request(&format!("$JS.API.{what}"), &body, Duration::from_secs(5)).await {
                Ok(answer) => return serde_json::from_slice(&answer.payload).unwrap(),
                Err(e) => assert!(since.elapsed() < PATIENCE, "{what}: {e}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Creates a stream as docs/nats.md says, with changes.
    pub async fn stream(&mut self, name: &str, subjects: &[&str], changes: Value) {
        let mut body = json!({
            "name": name, "subjects": subjects, "retention": "workqueue", "storage": "file", "discard": "new",
            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1,
            "max_msg_size": -1, "num_replicas": 1, "duplicate_window": 120_000_000_000_u64,
        });
        for (key, value) in changes.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let answer = self.call(&format!("STREAM.CREATE.{name}"), body).await;
        assert!(answer.get("error").is_none(), "{answer}");
    }

    /// Both streams of a relay.
    pub async fn streams(&mut self, changes: Value) {
        self.stream("WARDLINE", &["wardline.>"], changes).await;
        self.stream("REFUSED", &["wardline-rejected.>"], json!({ "retention": "limits" })).await;
    }

    /// How many messages a stream holds.
    pub async fn messages(&mut self, stream: &str) -> u64 {
        self.call(&format!("STREAM.INFO.{stream}"), Value::Null).await["state"]["messages"].as_u64().unwrap()
    }

    /// Waits until a stream holds as many messages as `is` wants.
    #[track_caller]
    pub fn until(&mut self, stream: &str, is: impl Fn(u64) -> bool) -> impl Future<Output = ()> {
        within("the wanted number of messages in the stream", async move {
            while !is(self.messages(stream).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    }

    /// A message of a stream: its subject, headers and body.
    pub async fn message(&mut self, stream: &str, seq: u64) -> (String, String, Vec<u8>) {
        let answer = self.call(&format!("STREAM.MSG.GET.{stream}"), json!({ "seq": seq })).await;
        let message = &answer["message"];
        let text = |key: &str| message[key].as_str().map(|t| STANDARD.decode(t).unwrap()).unwrap_or_default();
        (message["subject"].as_str().unwrap().into(), String::from_utf8(text("hdrs")).unwrap(), text("data"))
    }
}
