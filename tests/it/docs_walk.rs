//! Every shell command of README.md and docs/ is run as it stands, page by page, in one bash, against a Tidegate that runs; only
//! addresses and places are those of the test. What cannot be run is named below with its reason. A new command is run, or fails.
#![allow(clippy::unwrap_used)]
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use system_tests::{documents::with_examples, ports, tidegate::Tidegate, tools};
use tokio::process;

/// Commands that are not run, by how they begin.
const NOT_RUN: [(&str, &str); 3] = [
    ("make demo", "it is a test run of its own, at the end of `make test`"),
    ("make test", "this is a part of it"),
    ("ssh ", "there is no second machine"),
];

/// Commands that go on: what comes after them waits until this succeeds.
const GO_ON: [(&str, &str); 4] = [
    ("tidegate up ", "grep -q ^ready \"$LOG\""),
    ("tidegate serve ", "command curl -sf --max-time 1 \"http://$TIDEGATE_ADMIN_LISTEN/readyz\""),
    ("envoy ", "command curl -sf --max-time 1 --unix-socket gateway-1-admin.sock http://envoy/ready"),
    ("tidegate-worker ", r#"bash -c "tidegate get wp chat-stable -o json | grep -Eq '\"ready\": [1-9]'""#),
];

/// Fences that hold no commands.
const NO_SHELL: [&str; 4] = ["", "yaml", "json", "text"];

/// What every page's bash begins with: a key takes a moment until the gateway knows it, so `curl` asks again.
const PREAMBLE: &str = r#"set -euo pipefail
await() { for _ in $(seq 450); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.2; done; echo "never: $*"; return 1; }
curl() { for _ in $(seq 25); do if command curl --fail-with-body -sS "$@"; then return 0; fi; sleep 0.2; done; return 1; }
leave() { local left; left=$(jobs -p); if [ -n "$left" ]; then kill $left || true; wait || true; fi; }
trap leave EXIT
"#;

/// A command, and where it stands.
#[derive(Debug)]
struct Command {
    line: usize,
    text: String,
}

/// Everything in fences of one page.
#[derive(Debug, Default)]
struct Page {
    name: String,
    commands: Vec<Command>,
    /// YAML that is a document of ours.
    documents: Vec<String>,
}

/// `console`: what follows a `$ `; `sh`: every line. A line that ends in a backslash goes on.
fn commands(fence: &[(usize, &str)], console: bool) -> Vec<Command> {
    let mut all: Vec<Command> = Vec::new();
    let mut goes_on = false;
    for (line, text) in fence {
        let begins = if console { text.strip_prefix("$ ") } else { Some(*text) };
        match (goes_on, begins) {
            (true, _) => {
                if let Some(last) = all.last_mut() {
                    last.text.push_str(&format!("\n{text}"));
                }
            }
            (false, Some(text)) if !text.trim().is_empty() => all.push(Command { line: *line, text: text.to_owned() }),
            (false, _) => continue,
        }
        goes_on = text.ends_with('\\');
    }
    all
}

fn page(root: &Path, file: &Path) -> Result<Page> {
    let name = file.strip_prefix(root)?.to_string_lossy().into_owned();
    let text = fs::read_to_string(file)?;
    let mut page = Page { name, ..Page::default() };
    let mut open: Option<(String, Vec<(usize, &str)>)> = None;
    for (n, line) in text.lines().enumerate() {
        let fence = line.trim().strip_prefix("```");
        match (fence, &mut open) {
            (Some(language), None) => open = Some((language.trim().to_owned(), Vec::new())),
            (None, Some((_, lines))) => lines.push((n + 1, line)),
            (None, None) => {}
            (Some(_), Some(_)) => {
                let Some((language, lines)) = open.take() else { continue };
                match language.as_str() {
                    "console" | "sh" => page.commands.extend(commands(&lines, language == "console")),
                    other => ensure!(NO_SHELL.contains(&other), "{}:{n}: a fence of {other:?}", page.name),
                }
                let body: Vec<&str> = lines.iter().map(|(_, line)| *line).collect();
                if language == "yaml" && body.first().is_some_and(|l| l.starts_with("apiVersion:")) {
                    page.documents.push(body.join("\n"));
                }
            }
        }
    }
    ensure!(open.is_none(), "{}: a fence is not closed", page.name);
    Ok(page)
}

fn markdown(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            markdown(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
    Ok(())
}

fn pages() -> Result<Vec<Page>> {
    let root = tools::repository();
    let mut files = vec![root.join("README.md")];
    markdown(&root.join("docs"), &mut files)?;
    files[1..].sort();
    let pages = files.iter().map(|file| page(&root, file)).collect::<Result<Vec<_>>>()?;
    Ok(pages.into_iter().filter(|p| !p.commands.is_empty() || !p.documents.is_empty()).collect())
}

/// Where a page is walked.
struct Place {
    dir: PathBuf,
    /// What is written in the documents, and what it is here.
    here: Vec<(String, String)>,
    variables: Vec<(&'static str, String)>,
}

impl Place {
    /// A folder that looks like a checkout with the programs built.
    fn new(name: &str, tidegate: &Tidegate) -> Result<Self> {
        let dir = tidegate.scratch(&name.replace('/', "-"));
        let programs = tools::program("tidegate")?;
        fs::create_dir_all(dir.join("target"))?;
        std::os::unix::fs::symlink(programs.parent().context("a folder")?, dir.join("target/debug"))?;
        std::os::unix::fs::symlink(tools::repository().join("examples"), dir.join("examples"))?;
        let cache = tools::cache().to_string_lossy().into_owned();
        let here =
            ["~/.cache/tidegate/tools", "$HOME/.cache/tidegate/tools"].map(|there| (there.to_owned(), cache.clone()));
        Ok(Self { dir, here: here.to_vec(), variables: vec![("TIDEGATE_TOOLS", cache)] })
    }

    fn addresses(&mut self, [gateway, admin, grpc]: [String; 3]) {
        for (there, here) in [(10_000, gateway), (9_080, admin), (18_000, grpc)] {
            self.here.push((format!("127.0.0.1:{there}"), here));
        }
    }

    /// Beside the instance that runs.
    fn beside(mut self, tidegate: &Tidegate) -> Self {
        let place = tidegate.place();
        self.addresses([place.gateway, place.admin, place.grpc].map(|a| a.to_string()));
        let data = place.data.to_string_lossy().into_owned();
        self.here.push((".tidegate/".to_owned(), format!("{data}/")));
        self.variables.push(("TIDEGATE_DATA_DIR", data));
        self
    }

    /// For a page or a command that starts a Tidegate of its own.
    fn of_its_own(mut self) -> Result<Self> {
        let [gateway, admin, grpc] = [ports::free()?, ports::free()?, ports::free()?].map(|a| a.to_string());
        self.variables.push(("TIDEGATE_ADMIN_LISTEN", admin.clone()));
        self.variables.push(("TIDEGATE_GRPC_LISTEN", grpc.clone()));
        self.variables.push(("TIDEGATE_GATEWAY_LISTEN", gateway.clone()));
        self.variables.push(("TIDEGATE_SERVER", format!("http://{admin}")));
        self.variables.push(("TIDEGATE_WORKER_LISTEN", ports::free()?.to_string()));
        // The page says what to add when `serve` does not listen where it does by default.
        self.here.push(("tidegate bootstrap ".to_owned(), format!("tidegate bootstrap --grpc {grpc} ")));
        self.addresses([gateway, admin, grpc]);
        Ok(self)
    }

    /// Runs a script, with the built programs on PATH, and fails with what it printed unless it succeeds.
    async fn run(&self, what: &str, script: &str) -> Result<()> {
        let script = self.here.iter().fold(script.to_owned(), |text, (there, here)| text.replace(there, here));
        fs::write(self.dir.join("walk.sh"), format!("{PREAMBLE}{script}"))?;
        let printed = fs::File::create(self.dir.join("printed"))?;
        let path = format!("{}:{}", self.dir.join("target/debug").display(), std::env::var("PATH").unwrap_or_default());
        let mut bash = process::Command::new("bash");
        bash.arg("walk.sh").current_dir(&self.dir).env("PATH", path).envs(self.variables.iter().map(|(n, v)| (n, v)));
        bash.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed).kill_on_drop(true);
        let ended = tokio::time::timeout(Duration::from_secs(240), bash.status()).await;
        let said = || fs::read_to_string(self.dir.join("printed")).unwrap_or_default();
        let status = ended.with_context(|| format!("{what} goes on: {}", said()))??;
        ensure!(status.success(), "{what} ended with {status}; it printed:\n{}", said());
        Ok(())
    }
}

/// The commands of a page as a script; each that is not run is ticked off.
fn script(page: &Page, ticked: &mut [bool]) -> String {
    let mut script = String::new();
    for command in &page.commands {
        let text = &command.text;
        if let Some(n) = NOT_RUN.iter().position(|(begin, _)| text.starts_with(begin)) {
            ticked[n] = true;
            continue;
        }
        script.push_str(&format!("echo '+ {}:{}'\n", page.name, command.line));
        match GO_ON.iter().find(|(begin, _)| text.starts_with(begin)) {
            Some((_, until)) => {
                let log = format!("$PWD/log-{}", command.line);
                script.push_str(&format!("LOG=\"{log}\"\n{text} > \"$LOG\" 2>&1 &\n"));
                script.push_str(&format!("await {until} || {{ cat \"$LOG\"; exit 1; }}\n"));
            }
            None => script.push_str(&format!("{text}\n")),
        }
    }
    script
}

/// A database of its own beside the one of the instance that runs: the URL.
async fn database(tidegate: &Tidegate) -> Result<String> {
    let url = fs::read_to_string(tidegate.data().join("run/database-url"))?.trim().to_owned();
    let mut psql = process::Command::from(tools::postgres("psql")?);
    let made = psql.arg(&url).args(["-qc", "CREATE DATABASE walked"]).output().await?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (head, tail) = url.split_once("://").context("a URL")?;
    let at = tail.find('/').context("a path")? + 1;
    let end = tail[at..].find('?').map_or(tail.len(), |n| at + n);
    Ok(format!("{head}://{}walked{}", &tail[..at], &tail[end..]))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_documents_does_what_they_say() -> Result<()> {
    let pages = pages()?;
    ensure!(pages.iter().any(|p| p.name == "README.md"), "README.md has no command");
    let (tidegate, _client) = with_examples(&[]).await?;
    let mut ticked = [false; NOT_RUN.len()];
    let mut commands = 0;
    for mut page in pages {
        commands += page.commands.len();
        for (n, document) in page.documents.iter().enumerate() {
            let file = tidegate.scratch("document.yaml");
            fs::write(&file, document)?;
            let said = tidegate.cli(&["apply", "--dry-run", "-f", &file.to_string_lossy()]).await?;
            ensure!(said.status == Some(0), "{}: document {n}: {said:?}", page.name);
        }
        // `up` needs nothing of what is around it, and all of its ports.
        let (ups, rest) = page.commands.into_iter().partition(|c| c.text.starts_with("tidegate up "));
        page.commands = rest;
        let own = page.commands.iter().any(|c| c.text.starts_with("tidegate serve "));
        let mut place = Place::new(&page.name, &tidegate)?;
        if own {
            place = place.of_its_own()?;
            let example = "postgres://tidegate:PASSWORD@db.internal:5432/tidegate".to_owned();
            place.here.push((example, database(&tidegate).await?));
        } else {
            place = place.beside(&tidegate);
        }
        place.run(&page.name, &script(&page, &mut ticked)).await?;
        page.commands = ups;
        if !page.commands.is_empty() {
            let mut place = Place::new(&format!("{}-up", page.name), &tidegate)?.of_its_own()?;
            let data = place.dir.join(".tidegate").to_string_lossy().into_owned();
            place.variables.push(("TIDEGATE_DATA_DIR", data));
            place.run(&page.name, &script(&page, &mut ticked)).await?;
        }
    }
    println!("{commands} commands");
    if let Some(n) = ticked.iter().position(|ticked| !ticked) {
        bail!("{:?} is in no document any more", NOT_RUN[n]);
    }
    Ok(())
}

#[test]
fn commands_are_found_as_a_reader_finds_them() {
    let texts = |fence: &[&str], console: bool| {
        let lines: Vec<_> = fence.iter().copied().enumerate().collect();
        commands(&lines, console).into_iter().map(|c| c.text).collect::<Vec<_>>()
    };
    let console = ["$ a b \\", "    --c", "printed", "$ d"];
    assert_eq!(texts(&console, true), ["a b \\\n    --c", "d"]);
    assert_eq!(texts(&["a", "", "b \\", "c"], false), ["a", "b \\\nc"]);
}

#[test]
fn a_page_with_commands_that_nobody_would_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        let file = dir.path().join("a.md");
        fs::write(&file, text).unwrap();
        page(dir.path(), &file)
    };
    assert_eq!(read("```console\n$ tidegate no-such-command\n```\n").unwrap().commands.len(), 1);
    for unknown in ["```bash\ntidegate get all\n```\n", "```console\n$ a\n"] {
        assert!(read(unknown).is_err(), "{unknown}");
    }
}
