//! The project's example programs, run as their users run them.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::Process;

/// How long an example may take to print what is waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// A running example program. Killed when dropped, and when the test process ends in whatever way.
pub struct Example {
    name: String,
    process: Process,
}

/// Starts the example `name` with further environment variables.
///
/// # Panics
///
/// Panics if the example is not built; `cargo test` builds all of them first, but with `--test`,
/// `--lib` or `--doc` it does not.
#[must_use]
#[track_caller]
pub fn run(name: &str, env: &[(&str, &str)]) -> Example {
    let program = path(name);
    assert!(
        program.is_file(),
        "the example `{name}` is not built: run `cargo build --examples --all-features` in the \
         profile of this test"
    );
    start(name, &program, env)
}

fn start(name: &str, program: &Path, env: &[(&str, &str)]) -> Example {
    Example { name: name.to_owned(), process: Process::start(program.as_os_str(), &[], env) }
}

/// Where cargo puts an example: tests and benchmarks are in `deps` beside the folder `examples`.
fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("cannot tell where this test is");
    let profile = test.parent().and_then(Path::parent).expect("cargo puts tests into `deps`");
    profile.join("examples").join(name)
}

impl Example {
    /// Waits until a line of its output, standard output or error, contains `text`, and returns
    /// the first such line.
    ///
    /// # Panics
    ///
    /// Panics if the example ends, or 20 seconds pass, before there is one.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.process.wait_for(text, WAIT_LIMIT).unwrap_or_else(|| {
            panic!("the example `{}` has not printed `{text}`, but:\n{}", self.name, self.output())
        })
    }

    /// Waits until it has ended, and succeeded.
    ///
    /// # Panics
    ///
    /// Panics if it fails, or is still there after 20 seconds.
    #[track_caller]
    pub fn wait_for_success(&mut self) {
        let began = Instant::now();
        loop {
            match self.process.exited() {
                Some(status) if status.success() => return,
                None if began.elapsed() < WAIT_LIMIT => thread::sleep(Duration::from_millis(10)),
                status => panic!("the example `{}`: {status:?}\n{}", self.name, self.output()),
            }
        }
    }

    /// All it has printed so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_environment() {
        let example = start("env", Path::new("env"), &[("SUPPORT_EXAMPLE", "here")]);
        assert_eq!(example.wait_for("SUPPORT_EXAM"), "SUPPORT_EXAMPLE=here");
        assert!(example.output().contains("SUPPORT_EXAMPLE=here"));
    }

    #[test]
    #[should_panic(expected = "the example `no-such` is not built")]
    fn a_missing_example_is_named() {
        let _ = run("no-such", &[]);
    }

    #[test]
    #[should_panic(expected = "has not printed `SUPPORT_NOTHING`, but:")]
    fn a_wait_in_vain_ends_with_the_program() {
        start("env", Path::new("env"), &[]).wait_for("SUPPORT_NOTHING");
    }
}
