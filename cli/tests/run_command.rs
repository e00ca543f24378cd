//! `evenkeel run` against a real `evenkeel dev`: the same bytes as the command itself, in the same order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod service;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nix::sys::signal::{Signal, kill};
use service::{Service, until};

/// A directory of files, and a fleet.
struct Bench {
    dev: Service,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new(files: usize) -> Self {
        let dev = Service::dev(&["--ephemeral", "--agents", "2", "--slots", "2"]);
        let bench = Self { dev, directory: tempfile::tempdir().unwrap() };
        for n in 0..files {
            let path = bench.path(&format!("d{}/f{n:03}.txt", n % 3));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("file {n}\n").repeat(n)).unwrap();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Command {
        let mut command = self.dev.command(&["run"]);
        command.args(args).current_dir(self.directory.path());
        command
    }

    fn tasks(&self) -> usize {
        self.dev.json(&["task", "list", "--limit", "100000"]).as_array().unwrap().len()
    }
}

/// What a shell's loop prints.
fn directly(directory: &Path, command: &str) -> Vec<u8> {
    let sort = "find . -name '*.txt' | sed 's|^./||' | LC_ALL=C sort";
    let script = format!("{sort} | while read -r f; do {command} \"$f\"; done");
    let output = Command::new("sh").args(["-c", &script]).current_dir(directory).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn outputs_are_those_of_the_command_itself_in_order() {
    let bench = Bench::new(40);
    for command in ["sha256sum", "cat"] {
        let output = bench.run(&["--each", "**/*.txt", "--", command, "{}"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(!output.stdout.is_empty());
        assert_eq!(output.stdout, directly(bench.directory.path(), command), "{command}");
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn lines_come_from_stdin_and_the_input_is_the_last_argument_by_default() {
    let bench = Bench::new(0);
    let mut child = bench
        .run(&["--lines", "-", "--jobs", "3", "--", "printf", "[%s]"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all("b\na b\n\n$HOME\nb".as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "[b][a b][][$HOME][b]");
}

#[test]
fn failures_are_listed_at_the_end_and_the_rest_is_printed() {
    let bench = Bench::new(0);
    fs::write(bench.path("lines"), "1\n2\n3\n").unwrap();
    let script = "echo $0; if [ $0 = 2 ]; then echo went wrong >&2; exit 9; fi";
    let args = ["--lines", "lines", "--", "sh", "-c", script, "{}"];
    let output = bench.run(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(output.stdout, b"1\n3\n");
    let errors = stderr(&output);
    assert!(errors.contains("1 of 3 failed") && errors.contains("exit code 9"), "{errors}");
    assert!(errors.contains("went wrong"), "{errors}");
}

#[test]
fn after_failures_the_same_command_tries_only_these_and_after_success_all() {
    let bench = Bench::new(0);
    fs::write(bench.path("lines"), "1\n2\n3\n").unwrap();
    // Fails for the input 2 until the file `mended` is there.
    let script = "if [ $0 = 2 ] && [ ! -e mended ]; then exit 1; fi; echo $0 >> ran; echo $0";
    let args = ["--lines", "lines", "--", "sh", "-c", script, "{}"];
    assert_eq!(bench.run(&args).output().unwrap().status.code(), Some(5));
    fs::write(bench.path("mended"), "").unwrap();

    let second = bench.run(&args).output().unwrap();
    assert_eq!((second.status.code(), &second.stdout[..]), (Some(0), &b"1\n2\n3\n"[..]), "{}", stderr(&second));
    assert!(stderr(&second).contains("going on with the unfinished run"), "{}", stderr(&second));
    let ran = || fs::read_to_string(bench.path("ran")).unwrap().lines().count();
    assert_eq!(ran(), 3);

    let third = bench.run(&args).output().unwrap();
    assert_eq!(third.stdout, b"1\n2\n3\n");
    assert_eq!(ran(), 6);
}

#[test]
fn an_interrupted_run_goes_on_where_it_stopped() {
    let bench = Bench::new(0);
    let inputs: String = (0..12).map(|n| format!("{n}\n")).collect();
    fs::write(bench.path("lines"), &inputs).unwrap();
    // Every task waits for the file `go` from the seventh on.
    let script = "if [ $0 -ge 6 ]; then while [ ! -e go ]; do sleep 0.05; done; fi; echo $0 >> ran; echo $0";
    let args = ["--lines", "lines", "--jobs", "4", "--", "sh", "-c", script, "{}"];
    let mut first = bench.run(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let ran = || fs::read_to_string(bench.path("ran")).unwrap_or_default().lines().count();
    until("six tasks to run", || ran() == 6);
    kill(nix::unistd::Pid::from_raw(first.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(service::wait(&mut first).code(), Some(130));

    fs::write(bench.path("go"), "").unwrap();
    let second = bench.run(&args).output().unwrap();
    assert!(second.status.success(), "{}", stderr(&second));
    assert_eq!(String::from_utf8(second.stdout).unwrap(), inputs);
    assert_eq!(ran(), 12);
    assert_eq!(bench.tasks(), 12);
}

#[test]
fn a_coordinator_that_stays_away_is_given_up_and_gone_back_to_later() {
    let mut bench = Bench::new(0);
    fs::write(bench.path("lines"), "1\n2\n").unwrap();
    // Orphans of the killed fleet end at the latest when the directory is removed.
    let script = "touch began; while [ -e began ]; do sleep 0.05; done; echo $0";
    let args = ["--lines", "lines", "--patience", "200ms", "--", "sh", "-c", script, "{}"];
    let run = bench.run(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("a task to run", || bench.path("began").exists());
    bench.dev.signal(Signal::SIGKILL);
    bench.dev.wait();
    let output = run.wait_with_output().unwrap();
    fs::remove_file(bench.path("began")).unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("goes on where it stopped"), "{}", stderr(&output));
}

#[test]
fn bad_inputs_change_nothing() {
    let bench = Bench::new(1);
    let check = |args: &[&str], code: i32, part: &str| {
        let output = bench.run(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    };
    check(&["--each", "a**", "--", "cat"], 2, "is not a pattern");
    check(&["--each", "*.none", "--", "cat"], 1, "no file matches");
    check(&["--lines", "missing", "--", "cat"], 1, "could not read");
    check(&["--", "cat"], 2, "--each");
    check(&["--each", "*"], 2, "CMD");
    assert_eq!(bench.tasks(), 0);
    check(&["--each", "**/*.txt", "--", "/no/such/program"], 5, "/no/such/program");
}
