//! What the documentation names is there: commands that this program takes, files, and places to jump to.
//!
//! The pages at the root and in `docs/` are read as text. A line of a block of code that begins with `evenkeel`, alone or
//! behind `$`, variables or a pipe, has to be a whole command line; `evenkeel ...` within a sentence may leave out what is
//! required, and has to have no more than what there is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{Parser as _, error::ErrorKind};
use evenkeel_shared::Code;

use crate::args::Cli;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What stands for further arguments.
const AND_SO_ON: [&str; 2] = ["...", "…"];
/// Endings of files that are looked for where a page names one.
const ENDINGS: [&str; 12] =
    [".rs", ".md", ".toml", ".proto", ".sh", ".py", ".yml", ".yaml", ".json", ".sql", ".c", "/run"];
/// What is no part of the repository.
const NOT_OURS: [&str; 3] = ["target", ".git", "corpus"];

/// A page, and where it is below the root.
struct Page {
    path: PathBuf,
    text: String,
}

fn pages() -> Vec<Page> {
    let of =
        |directory: &str| fs::read_dir(Path::new(ROOT).join(directory)).unwrap().map(|entry| entry.unwrap().path());
    let markdown = of(".").chain(of("docs")).filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let mut pages: Vec<Page> = markdown.map(|path| Page { text: fs::read_to_string(&path).unwrap(), path }).collect();
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(pages.len() > 20, "the documentation is elsewhere");
    pages
}

impl Page {
    /// Its lines within blocks of code, with what ends in a backslash joined; and all other text.
    fn parts(&self) -> (Vec<String>, String) {
        let (mut code, mut prose, mut in_code, mut goes_on) = (Vec::<String>::new(), String::new(), false, false);
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            } else if in_code {
                let (text, more) = line.strip_suffix('\\').map_or((line, false), |text| (text, true));
                match code.last_mut().filter(|_| goes_on) {
                    Some(begun) => begun.push_str(text),
                    None => code.push(text.to_owned()),
                }
                goes_on = more;
            } else {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        assert!(!in_code, "{}: a block of code does not end", self.path.display());
        (code, prose)
    }

    /// What stands between backticks in its sentences.
    fn spans(&self) -> Vec<String> {
        let (_, prose) = self.parts();
        let spans = prose.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
        spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// Where its links lead, those within this repository.
    fn links(&self) -> Vec<String> {
        let (_, prose) = self.parts();
        let ends = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        ends.map(|(link, _)| link.to_owned()).filter(|link| !link.contains("://")).collect()
    }
}

/// The commands of a line of shell, each as its words.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word, mut quoted) = (Vec::new(), Vec::new(), None::<String>, None);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quoted, letter) {
            (Some(quote), _) if letter == quote => quoted = None,
            (Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quoted = Some(letter);
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '&' | '>' | '<') => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    commands.push(words);
    commands
}

/// The arguments, where this is a command line of this program.
fn of_this_program(words: Vec<String>) -> Option<Vec<String>> {
    let is_variable = |word: &String| word.split_once('=').is_some_and(|(name, _)| name.chars().all(is_in_name));
    let mut words = words.into_iter().skip_while(|word| word == "$" || is_variable(word)).peekable();
    (words.peek()? == "evenkeel").then(|| words.collect())
}

fn is_in_name(letter: char) -> bool {
    letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
}

/// The command lines that this short form stands for: `a|b` for one of each, `[x]` for what may be left out.
fn forms(span: &str) -> Vec<Vec<String>> {
    let mut forms = vec![Vec::new()];
    let plain = span.replace(['[', ']'], "");
    for word in commands(&plain.replace('|', "\u{1}")).swap_remove(0) {
        let choices = word.split('\u{1}');
        forms =
            choices.flat_map(|choice| forms.iter().map(move |form| [&form[..], &[choice.into()]].concat())).collect();
    }
    forms
}

/// What is wrong with a command line; `whole` where nothing that is required may be missing.
fn problem(mut words: Vec<String>, whole: bool) -> Option<String> {
    let whole = whole && !words.iter().any(|word| AND_SO_ON.contains(&word.as_str()));
    words.retain(|word| !AND_SO_ON.contains(&word.as_str()));
    let shown = words.join(" ");
    let error = Cli::try_parse_from(words).err()?;
    let missing = [
        ErrorKind::MissingRequiredArgument,
        ErrorKind::MissingSubcommand,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        // A word such as ID stands for the value.
        ErrorKind::InvalidValue,
        ErrorKind::ValueValidation,
        ErrorKind::WrongNumberOfValues,
        ErrorKind::TooFewValues,
    ];
    let fine = matches!(error.kind(), ErrorKind::DisplayVersion | ErrorKind::DisplayHelp);
    (!fine && (whole || !missing.contains(&error.kind()))).then(|| format!("`{shown}`: {error}"))
}

#[test]
fn a_command_line_that_is_none_is_found_wherever_it_stands() {
    let wrong = |line: &str| {
        let lines = commands(line).into_iter().filter_map(of_this_program);
        lines.filter(|words| problem(words.clone(), true).is_some()).count()
    };
    assert_eq!(wrong("$ EVENKEEL_TOKEN=... evenkeel status | evenkeel stats; evenkeel task get"), 2);
    assert_eq!(
        wrong("evenkeel task submit --kind k --payload 'a; evenkeel nope' --retries 2   # and evenkeel nope"),
        0
    );
    assert_eq!(wrong("evenkeel task submit … && evenkeel status --nope >file"), 1);
    let short = |span: &str| forms(span).into_iter().filter_map(|words| problem(words, false)).count();
    assert_eq!(short("evenkeel config check|nope|show [-o json]"), 1);
    assert_eq!(short("evenkeel events [--after POSITION] [--nope]"), 1);
    assert_eq!(short("evenkeel agents drain"), 0);
}

#[test]
fn every_command_line_in_the_documentation_is_one() {
    let (mut problems, mut seen) = (Vec::new(), 0);
    for page in pages() {
        let lines = page.parts().0.into_iter().flat_map(|line| commands(&line));
        let lines = lines.filter_map(of_this_program).map(|words| (words, true));
        let spans = page.spans().into_iter().filter(|span| span.starts_with("evenkeel "));
        let spans = spans.flat_map(|span| forms(&span)).map(|words| (words, false));
        for (words, whole) in lines.chain(spans) {
            seen += 1;
            problems.extend(problem(words, whole).map(|problem| format!("{}: {problem}", page.path.display())));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 200, "{seen} command lines are too few: they are not found any more");
}

/// All files, by their path below the root.
fn files() -> BTreeSet<String> {
    let (mut files, mut open) = (BTreeSet::new(), vec![PathBuf::from(ROOT)]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                files.insert(entry.path().strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files
}

/// The places of a page that a link can name.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let letters = heading.to_lowercase().replace(' ', "-");
        letters.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_')).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in page.links() {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = if path.is_empty() { page.path.clone() } else { page.path.parent().unwrap().join(path) };
            let leads = to.exists()
                && (anchor.is_empty() || fs::read_to_string(&to).is_ok_and(|text| anchors(&text).contains(anchor)));
            if !leads {
                broken.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_of_the_repository_that_the_documentation_names_is_there() {
    let (files, mut missing, mut seen) = (files(), Vec::new(), 0);
    let is_there = |named: &str| files.iter().any(|file| file == named || file.ends_with(&format!("/{named}")));
    for page in pages() {
        let named = page.spans().into_iter().filter(|span| span.contains('/') && !span.starts_with(['/', '.', '-']));
        let named = named.filter(|span| ENDINGS.iter().any(|ending| span.ends_with(ending)));
        for named in named.filter(|span| !span.contains([' ', '*', '{', ':', '<'])) {
            seen += 1;
            if !is_there(&named) {
                missing.push(format!("{}: {named}", page.path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(seen > 30, "{seen} files are too few: they are not found any more");
}

#[test]
fn every_test_that_the_guarantees_rest_on_is_there() {
    let sources = files().into_iter().filter(|file| file.ends_with(".rs"));
    let sources: String = sources.map(|file| fs::read_to_string(Path::new(ROOT).join(file)).unwrap()).collect();
    let page = page("docs/guarantees.md");
    let is_name =
        |span: &String| span.matches('_').count() > 2 && span.chars().all(|l| l == '_' || l.is_alphanumeric());
    let named: Vec<_> = page.spans().into_iter().filter(is_name).collect();
    assert!(named.len() > 5, "they are named in another way now: {named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn page(name: &str) -> Page {
    pages().into_iter().find(|page| page.path.ends_with(name)).unwrap()
}

#[test]
fn every_call_is_on_the_page_of_the_api() {
    let spans = page("docs/api.md").spans();
    let ours = files().into_iter().filter(|file| file.starts_with("proto/evenkeel/") && file.ends_with(".proto"));
    let sources: String = ours.map(|file| fs::read_to_string(Path::new(ROOT).join(file)).unwrap()).collect();
    let name = |line: &str| Some(line.trim().strip_prefix("rpc ")?.split('(').next()?.trim().to_owned());
    let calls: Vec<String> = sources.lines().filter_map(name).collect();
    assert!(calls.len() > 50, "{} calls are too few: they are not found any more", calls.len());
    let missing: Vec<_> = calls.iter().filter(|call| !spans.contains(call)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_page_of_the_api_gives_each_code_its_status() {
    let text = page("docs/api.md").text;
    let rows: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | "))
        .filter_map(|(codes, rest)| Some((codes, rest.split_once(" | ")?.0)))
        .collect();
    // Nobody who asks sees these: a call that the caller gave up, and one that there is not.
    let said = Code::ALL.into_iter().filter(|code| !matches!(code, Code::Cancelled | Code::Unimplemented));
    for code in said {
        let row = rows.iter().find(|(codes, _)| format!("`{codes}").contains(&format!("`{code}`")));
        assert_eq!(row.map(|row| row.1), Some(code.http().to_string().as_str()), "{code}");
    }
}

#[test]
fn every_address_is_on_the_page_of_rest() {
    let spans = page("docs/rest.md").spans();
    let source = fs::read_to_string(Path::new(ROOT).join("coordinator/src/http/routes.rs")).unwrap();
    let verbs = ["get", "put", "post", "delete"];
    let address = |line: &str| {
        let (verb, rest) = line.trim().split_once("(\"/")?;
        // `{*limit.name}` is `{name}` to a reader.
        let path = rest.split_once('"')?.0.replace("{*", "{");
        let named = |part: &str| part.rsplit_once('.').map_or(part, |(_, name)| name).to_owned();
        let path = path.split('{').map(named).collect::<Vec<_>>().join("{");
        verbs.contains(&verb).then(|| format!("{} /{path}", verb.to_uppercase()))
    };
    let addresses: Vec<String> = source.lines().filter_map(address).collect();
    assert!(addresses.len() > 60, "{} addresses are too few: they are not found any more", addresses.len());
    let missing: Vec<_> = addresses.iter().filter(|address| !spans.contains(address)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
