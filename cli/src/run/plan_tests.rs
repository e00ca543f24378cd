use std::{collections::BTreeSet, time::Duration};

use evenkeel_shared::limits::KEY_BYTES_MAX;

use super::*;

fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).collect()
}

/// A directory with these files, and the plan of `cat {}` over a pattern in it.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[&str]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for file in files {
            tree.write(file, file);
        }
        tree
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn plan(&self, pattern: &str, command: &str) -> Result<Plan, CliError> {
        // An absolute pattern, because a test must not change the directory of the whole process.
        let pattern = format!("{}/{pattern}", self.0.path().display());
        Plan::new(&Source::Files(pattern), &words(command), self.0.path())
    }

    fn lines(&self, content: &str) -> Result<Plan, CliError> {
        self.write("lines", content);
        Plan::new(&Source::Lines(self.0.path().join("lines")), &words("echo"), self.0.path())
    }

    fn names(&self, plan: &Plan) -> Vec<String> {
        let prefix = format!("{}/", self.0.path().display());
        plan.items.iter().map(|item| item.input.replace(&prefix, "")).collect()
    }
}

fn keys(plan: &Plan) -> Vec<String> {
    plan.items.iter().map(|item| Plan::key("r", item, 1)).collect()
}

fn command_of(plan: &Plan, at: usize) -> Vec<String> {
    let payload: CommandPayload = serde_json::from_slice(&plan.payload(&plan.items[at])).unwrap();
    std::iter::once(payload.program).chain(payload.args).collect()
}

#[test]
fn files_come_in_the_order_of_their_bytes_and_directories_and_hidden_ones_do_not() {
    let tree = Tree::new(&["b.rs", "a/z.rs", "a-b.rs", "B.rs", ".hidden/x.rs", "dir.rs/inner.txt", "a.txt"]);
    let plan = tree.plan("**/*.rs", "cat {}").unwrap();
    assert_eq!(tree.names(&plan), ["B.rs", "a-b.rs", "a/z.rs", "b.rs"]);
}

#[test]
fn the_input_takes_the_place_of_the_braces_or_comes_last() {
    let tree = Tree::new(&[]);
    let check = |command: &str, expected: &[&str]| {
        tree.write("lines", "x y\n");
        let source = Source::Lines(tree.0.path().join("lines"));
        let plan = Plan::new(&source, &words(command), tree.0.path()).unwrap();
        assert_eq!(command_of(&plan, 0), expected);
    };
    check("cat {}", &["cat", "x y"]);
    check("cat", &["cat", "x y"]);
    check("cp {} --to={}.bak", &["cp", "x y", "--to=x y.bak"]);
    check("{} --help", &["x y", "--help"]);
}

#[test]
fn a_task_keeps_its_key_until_something_that_decides_its_output_changes() {
    let tree = Tree::new(&["a", "b"]);
    let before = keys(&tree.plan("?", "cat {}").unwrap());
    assert_eq!(keys(&tree.plan("?", "cat {}").unwrap()), before);
    assert_ne!(keys(&tree.plan("?", "cat -n {}").unwrap())[0], before[0]);
    tree.write("a", "longer than before");
    let after = keys(&tree.plan("?", "cat {}").unwrap());
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
}

#[test]
fn an_edited_script_makes_other_tasks() {
    let tree = Tree::new(&["a", "script.sh"]);
    let before = keys(&tree.plan("a", "sh script.sh {}").unwrap());
    tree.write("script.sh", "another text");
    assert_ne!(keys(&tree.plan("a", "sh script.sh {}").unwrap()), before);
}

#[test]
fn the_same_size_at_another_time_is_another_content() {
    let tree = Tree::new(&["a"]);
    let before = keys(&tree.plan("a", "cat").unwrap());
    let file = fs::File::options().write(true).open(tree.0.path().join("a")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    assert_ne!(keys(&tree.plan("a", "cat").unwrap()), before);
}

#[test]
fn equal_lines_are_tasks_of_their_own_and_keep_their_keys_when_others_come_before() {
    let tree = Tree::new(&[]);
    let plan = tree.lines("same\nother\nsame\n\n").unwrap();
    assert_eq!(tree.names(&plan), ["same", "other", "same", ""]);
    let before = keys(&plan);
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 4);
    let after = keys(&tree.lines("new\nsame\nother\nsame\n\n").unwrap());
    assert_eq!(after[1..], before[..]);
}

#[test]
fn keys_fit_and_differ_by_run_and_generation() {
    let tree = Tree::new(&["a"]);
    let plan = tree.plan("a", "cat").unwrap();
    let item = &plan.items[0];
    let keys = [("r", 1), ("r", 2), ("s", 1)].map(|(run, generation)| Plan::key(run, item, generation));
    assert_eq!(BTreeSet::from(keys.clone()).len(), 3);
    assert!(keys.iter().all(|key| key.len() <= KEY_BYTES_MAX));
}

#[test]
fn bad_inputs_are_refused_before_anything_runs() {
    let tree = Tree::new(&["a"]);
    let check = |plan: Result<Plan, CliError>, exit, part: &str| {
        let error = plan.unwrap_err();
        assert_eq!(error.exit, exit, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    check(tree.plan("a**b", "cat"), Exit::Usage, "is not a pattern");
    check(tree.plan("*.none", "cat"), Exit::Error, "no file matches");
    check(tree.lines(""), Exit::Error, "no lines");
    check(tree.lines(&"x".repeat(PAYLOAD_BYTES_MAX + 1)), Exit::Usage, "line 1 is larger");
    std::os::unix::fs::symlink("nowhere", tree.0.path().join("dangling")).unwrap();
    check(tree.plan("d*", "cat"), Exit::Error, "could not read");
    let missing = Source::Lines(tree.0.path().join("missing"));
    check(Plan::new(&missing, &words("cat"), tree.0.path()), Exit::Error, "could not read");
}
