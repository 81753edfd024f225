//! A program with a folder of its own, where its log is; both end with the handle.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A folder and, while it runs, a process.
pub struct Process {
    /// Who it is, where its log is shown.
    name: &'static str,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Process {
    /// A folder; nothing runs yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, folder: tempfile::tempdir().unwrap(), child: None }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it; what it says on standard error is its log.
    pub fn spawn(&mut self, command: &mut Command) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    /// Waits until it listens on these ports. `false`: it ended, or was ended because it does not.
    pub fn listens(&mut self, ports: &[u16]) -> bool {
        let since = Instant::now();
        while !ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
            if self.ended().is_some() || since.elapsed() > PATIENCE {
                self.kill();
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether it ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().unwrap().try_wait().unwrap()
    }

    /// Tells it something.
    pub fn signal(&self, name: &str) {
        Command::new("kill").args([name, &self.pid().to_string()]).status().unwrap();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in order and gives its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.child.as_ref()?;
        self.signal("-TERM");
        self.child.take()?.wait().unwrap().code()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}'s log ---\n{}", self.name, self.log());
        }
    }
}

/// An installed program; servers are not in everybody's PATH.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|f| f.join(name)).find(|p| p.is_file())
}
