//! The built binary, running with a configuration and a folder of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::process::Process;

/// The key of every test's journal.
pub const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A gateway's folder and, while it runs, its process; both end with this handle.
pub struct Gateway {
    process: Process,
    /// The program.
    pub binary: PathBuf,
    /// Words before the program's name: it runs under another program, in the same process.
    pub under: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Gateway {
    /// Writes the configuration: `[gateway]` and `[control]` are added, the rest is `settings`. Does not start it.
    pub fn new(settings: &str) -> Self {
        let process = Process::new("the gateway");
        let at = process.folder().display();
        // Encrypted, as boxes are.
        let key = process.folder().join("journal-key");
        std::fs::write(&key, KEY).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let journal = format!("[journal]\nkey_file = \"{at}/journal-key\"");
        let settings = if settings.contains("[journal]") {
            settings.replace("[journal]", &journal)
        } else {
            format!("{journal}\n{settings}")
        };
        let text = format!(
            "[gateway]\nid = \"test-box\"\nstate = \"{at}/state\"\nclock = \"always\"\n\
             [control]\nsocket = \"{at}/control.sock\"\nstatus_socket = \"{at}/status.sock\"\n{settings}"
        );
        std::fs::write(process.folder().join("wardline.toml"), enrolled(&text)).unwrap();
        let binary = env!("CARGO_BIN_EXE_wardline").into();
        Self { process, binary, under: vec![], environment: vec![] }
    }

    /// Changes the words of its configuration.
    pub fn reword(&self, change: impl FnOnce(String) -> String) {
        let file = self.path("wardline.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, enrolled(&change(text))).unwrap();
    }

    /// Sets a variable of its environment, from the next start on.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.process.folder().join(name)
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        self.spawn();
        let since = Instant::now();
        while !self.is_ready() {
            let ended = self.process.ended();
            assert!(ended.is_none(), "the gateway ended: {ended:?}\n{}", self.log());
            assert!(since.elapsed() < PATIENCE, "the gateway is not ready\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it and waits for nothing.
    pub fn spawn(&mut self) {
        let binary = self.binary.to_str().unwrap();
        let words: Vec<&str> = self.under.iter().map(String::as_str).chain([binary, "run", "--config"]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.path("wardline.toml"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process.spawn(&mut command);
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// CPU time so far, of which the kernel counts hundredths of a second.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name before it may hold spaces. User and system time are the 14th and 15th field of all.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|f| f.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory, KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it in order and gives its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.stop()
    }

    /// Runs a subcommand against it: standard output, standard error, exit code.
    pub fn cli(&self, arguments: &[&str]) -> (String, String, Option<i32>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardline"));
        command.args(arguments).arg("--config").arg(self.path("wardline.toml"));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.code())
    }

    /// The same with lines on its standard input.
    pub fn cli_told(&self, arguments: &[&str], told: &str) -> (String, String, Option<i32>) {
        use std::io::Write;
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardline"));
        command.args(arguments).arg("--config").arg(self.path("wardline.toml"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(told.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.code())
    }

    /// A subcommand's `--json` answer.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        self.json_of(arguments, 0)
    }

    /// The same, with another exit code.
    pub fn json_of(&self, arguments: &[&str], expected: i32) -> serde_json::Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let (out, err, code) = self.cli(&arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {err}\n{}", self.log());
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
    }

    /// An order without a body on the control socket.
    pub fn post(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(self.path("control.sock")).unwrap();
        write!(stream, "POST {path} HTTP/1.1\r\nHost: wardline\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn is_ready(&self) -> bool {
        http_over_unix(&self.path("status.sock"), "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }
}

/// Looks until there is something to see.
pub async fn until<T>(what: &str, gateway: &Gateway, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "{what} did not happen\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Destinations that do not say whose readings may go there take those of everybody.
fn enrolled(text: &str) -> String {
    let mut tables = text.split("[[destination]]\n");
    let mut out = tables.next().unwrap().to_owned();
    for table in tables {
        let own = table.split("\n[").next().unwrap();
        let consent = if own.contains("consent = ") { "" } else { "consent = \"enrolment\"\n" };
        out.push_str(&format!("[[destination]]\n{consent}{table}"));
    }
    out
}

/// A GET over a Unix socket: head and body.
pub fn http_over_unix(socket: &Path, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: wardline\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
