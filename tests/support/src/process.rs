//! Child processes that never outlive the test process.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lock;

/// Runs the program given as its arguments in a folder of its own, until the program ends or
/// standard input does. Standard input is a pipe whose other end the test process alone holds, so
/// it ends with that process even when no destructor runs. Prints the folder, waits for a line, so
/// that files can be put there, and prints the program's id next.
const WATCHDOG: &str = r#"
folder=$(mktemp -d "${TMPDIR:-/tmp}/support.XXXXXX") && cd "$folder" && folder=$(pwd) || exit 1
exec 3<&0 </dev/null
echo "$folder"
read -r _ <&3 || { cd / && rm -rf "$folder"; exit 1; }
sh -c 'echo $$ && exec "$@"' sh "$@" 3<&- 2>&1 &
program=$!
( while read -r _; do :; done <&3; kill -9 $program ) &
guard=$!
wait $program
status=$?
kill -9 $guard
wait
cd / && rm -rf "$folder"
exit $status
"#;

/// What the shell exits with when it cannot find the program.
pub(crate) const NOT_FOUND: i32 = 127;

/// Files by their names.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

/// A running program and all it has printed. Killed when dropped.
pub(crate) struct Process {
    watchdog: Child,
    folder: PathBuf,
    pid: u32,
    output: Arc<Output>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Output {
    printed: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    ended: bool,
}

impl Process {
    /// Starts `program`; its standard output and error are collected together.
    pub(crate) fn start(program: &OsStr, args: &[String], env: &[(&str, &str)]) -> Self {
        Self::start_among(&Files::new(), program, args, env)
    }

    /// Starts `program` in a folder that has these files.
    pub(crate) fn start_among(
        files: &Files,
        program: &OsStr,
        args: &[String],
        env: &[(&str, &str)],
    ) -> Self {
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A Ctrl-C, or a kill of the tests' group, leaves the watchdog alive to clean up.
            .process_group(0)
            .spawn()
            .expect("cannot start `sh`");
        let mut stdout = BufReader::new(watchdog.stdout.take().expect("standard output is piped"));
        let mut line = || {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("cannot read from `sh`");
            line.trim_end().to_owned()
        };
        let folder = PathBuf::from(line());
        assert!(folder.is_absolute(), "cannot make a folder in the temporary folder");
        for (name, content) in files {
            fs::write(folder.join(name), content)
                .unwrap_or_else(|error| panic!("cannot write {name}: {error}"));
        }
        let stdin = watchdog.stdin.as_mut().expect("standard input is piped");
        stdin.write_all(b"\n").expect("cannot write to `sh`");
        let pid = line().parse().unwrap_or_else(|_| panic!("cannot start {program:?}"));
        let output = Arc::<Output>::default();
        let reader = thread::spawn({
            let output = output.clone();
            move || output.collect(stdout)
        });
        Self { watchdog, folder, pid, output, reader: Some(reader) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The folder in which it runs, gone once it has ended.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program's exit status, once it has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.watchdog.try_wait().expect("cannot ask for the state of a child process")
    }

    /// Kills the program and waits until it is gone, and its folder with it.
    pub(crate) fn kill(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }

    /// Sends a signal to the program, named as `kill` names it.
    pub(crate) fn signal(&self, signal: &str) {
        // The shell's own `kill`: the command of that name is missing from small systems.
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &self.pid.to_string()])
            .status()
            .expect("cannot start `sh`");
        assert!(status.success(), "cannot send {signal} to process {}", self.pid);
    }

    /// All output so far.
    pub(crate) fn output(&self) -> String {
        lock(&self.output.printed).lines.join("\n")
    }

    /// All output of a program that has ended.
    pub(crate) fn last_output(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.output()
    }

    /// The first line that contains `text`; none if the program ends, or time runs out, without it.
    pub(crate) fn wait_for(&self, text: &str, limit: Duration) -> Option<String> {
        let deadline = Instant::now() + limit;
        let mut printed = lock(&self.output.printed);
        let mut read = 0;
        loop {
            if let Some(line) = printed.lines[read..].iter().find(|line| line.contains(text)) {
                return Some(line.clone());
            }
            read = printed.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if printed.ended || left.is_zero() {
                return None;
            }
            let woken = self.output.changed.wait_timeout(printed, left);
            printed = woken.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Output {
    fn collect(&self, stdout: BufReader<ChildStdout>) {
        for line in stdout.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            lock(&self.printed).lines.push(line);
            self.changed.notify_all();
        }
        lock(&self.printed).ended = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::start(OsStr::new("sh"), &["-c".to_owned(), script.to_owned()], &[])
    }

    #[test]
    fn status_and_output_are_passed_on() {
        let mut process = shell("echo out; echo error >&2; exit 3");
        assert_eq!(process.last_output(), "out\nerror");
        assert_eq!(process.watchdog.wait().expect("status").code(), Some(3));
    }

    #[test]
    fn files_are_there_from_the_start() {
        let files = Files::from([("a", b"1\n".to_vec()), ("b", b"2".to_vec())]);
        let args = ["a", "b"].map(str::to_owned);
        let mut process = Process::start_among(&files, OsStr::new("cat"), &args, &[]);
        assert_eq!(process.last_output(), "1\n2");
        process.kill();
        assert!(!process.folder().exists());
    }

    #[test]
    fn a_missing_program_is_told_apart() {
        let mut process = Process::start(OsStr::new("no-such-program-here"), &[], &[]);
        process.last_output();
        assert_eq!(process.watchdog.wait().expect("status").code(), Some(NOT_FOUND));
    }

    #[test]
    fn waiting_ends_with_the_program_or_the_time() {
        let process = shell("echo one");
        assert_eq!(process.wait_for("n", Duration::from_secs(20)).as_deref(), Some("one"));
        assert_eq!(process.wait_for("two", Duration::from_secs(20)), None);
        let process = shell("exec sleep 60");
        assert_eq!(process.wait_for("two", Duration::from_millis(50)), None);
    }
}
