//! Scripted conversations. Input lines say what the client and the publisher do; the lines that begin with `<` or `!` are
//! what the machine answered and are checked. `UPDATE=1` rewrites them. The language:
//!
//! ```text
//! # comment                          kept
//! = delta | sotw                     opens a new stream
//! publish CDS a=1 b=1 / EDS a=1      the whole published set, one type after the other
//! > CDS [+name -name] [has:name=1] [ack[:nonce]] [nack[:nonce] "text"]      a delta request
//! > CDS [name] [version:x] [ack] [nack "text"]                              a state-of-the-world request
//! tick 5000                          milliseconds go by
//! status
//! ```
use std::{collections::BTreeMap, fmt::Write, fs, path::Path, sync::Arc};

use tidegate_xds::{
    Action, Bounds, DeltaRequest, Event, Hub, Resource, ResourceSet, SotwRequest, Stream, Variant, types,
};

const TYPES: [(&str, &str); 6] = [
    ("CDS", types::CLUSTER),
    ("EDS", types::ENDPOINT),
    ("LDS", types::LISTENER),
    ("RDS", types::ROUTE),
    ("ECDS", types::EXTENSION),
    ("MODELS", "type.googleapis.com/tidegate.worker.v1.ModelSet"),
];

fn url(short: &str) -> &'static str {
    TYPES.iter().find(|(name, _)| *name == short).unwrap_or_else(|| panic!("unknown type {short}")).1
}

fn short(url: &str) -> &'static str {
    TYPES.iter().find(|(_, long)| *long == url).unwrap().0
}

struct Play {
    hub: Hub,
    stream: Option<Stream>,
    variant: Variant,
    now: u64,
    nonces: BTreeMap<String, String>,
    versions: BTreeMap<String, String>,
    /// Content hashes to the short text that stands for them in a script.
    texts: BTreeMap<String, String>,
    out: String,
}

impl Play {
    fn new() -> Self {
        let (nonces, versions, texts) = Default::default();
        let variant = Variant::Delta;
        Self { hub: Hub::default(), stream: None, variant, now: 1000, nonces, versions, texts, out: String::new() }
    }

    fn line(&mut self, line: &str) {
        writeln!(self.out, "{line}").unwrap();
        let line = line.split('#').next().unwrap().trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => {}
            "=" => self.open(rest),
            "publish" => self.publish(rest),
            ">" => self.request(rest),
            "tick" => self.tick(rest.parse().unwrap()),
            "status" => self.status(),
            other => panic!("unknown word {other}"),
        }
    }

    fn open(&mut self, variant: &str) {
        self.variant = if variant == "sotw" { Variant::Sotw } else { Variant::Delta };
        let state = self.hub.group("g");
        self.stream = Some(Stream::new(self.variant, Bounds::default(), state, self.now));
        self.nonces.clear();
    }

    fn publish(&mut self, sets: &str) {
        let mut set = ResourceSet::default();
        for part in sets.split(" / ") {
            let mut words = part.split_whitespace();
            let Some(kind) = words.next() else { continue };
            for word in words {
                let (name, content) = word.split_once('=').unwrap();
                let version = Resource::new(content.to_owned()).version;
                self.texts.insert(version, content.to_owned());
                set.insert(url(kind), name, content.to_owned());
            }
        }
        let Some(next) = self.hub.publish(BTreeMap::from([("g".to_owned(), set)]), self.now) else {
            self.out.push_str("! nothing changed\n");
            return;
        };
        self.hub = next;
        let state = self.hub.group("g");
        let actions = self.stream.as_mut().map(|stream| stream.on_update(&state, self.now)).unwrap_or_default();
        self.show(actions);
    }

    fn request(&mut self, rest: &str) {
        let (rest, error) = match rest.split_once('"') {
            Some((rest, text)) => (rest, Some(text.trim_end_matches('"').to_owned())),
            None => (rest, None),
        };
        let mut words = rest.split_whitespace();
        let kind = words.next().unwrap();
        let mut delta = DeltaRequest { type_url: url(kind).into(), error: error.clone(), ..Default::default() };
        let mut sotw = SotwRequest { type_url: url(kind).into(), error, ..Default::default() };
        for word in words {
            if let Some(name) = word.strip_prefix('+') {
                delta.subscribe.push(name.into());
            } else if let Some(name) = word.strip_prefix('-') {
                delta.unsubscribe.push(name.into());
            } else if let Some((name, content)) = word.strip_prefix("has:").and_then(|has| has.split_once('=')) {
                delta.initial_versions.insert(name.into(), Resource::new(content.to_owned()).version);
            } else if word == "version:last" {
                sotw.version = self.versions[kind].clone();
            } else if word == "ack" || word == "nack" {
                delta.nonce = self.nonces[kind].clone();
                sotw.nonce = self.nonces[kind].clone();
            } else if let Some((_, nonce)) = word.split_once(':') {
                delta.nonce = nonce.into();
                sotw.nonce = nonce.into();
            } else {
                sotw.names.push(word.into());
            }
        }
        let stream = self.stream.as_mut().unwrap();
        let actions = match self.variant {
            Variant::Delta => stream.on_delta(&delta, self.now),
            Variant::Sotw => stream.on_sotw(&sotw, self.now),
        };
        self.show(actions);
    }

    fn tick(&mut self, ms: u64) {
        self.now += ms;
        let actions = self.stream.as_mut().unwrap().on_tick(self.now);
        self.show(actions);
    }

    fn status(&mut self) {
        for row in self.stream.as_mut().unwrap().status(self.now) {
            let refused: Vec<_> =
                row.refused.iter().map(|r| format!("{}@{}", r.name, self.texts[&*r.version])).collect();
            let (kind, generation) = (short(&row.type_url), row.generation);
            write!(self.out, "! {kind} {:?} generation {generation} has {}", row.state, row.resources).unwrap();
            if !refused.is_empty() {
                write!(self.out, " refuses {refused:?}").unwrap();
            }
            self.out.push('\n');
        }
    }

    fn show(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(response) => {
                    let kind = short(&response.type_url);
                    self.nonces.insert(kind.into(), response.nonce.clone());
                    self.versions.insert(kind.into(), response.version.clone());
                    let text = |e: &Arc<tidegate_xds::Entry>| format!("{}={}", e.name(), self.texts[&**e.version()]);
                    let names: Vec<_> = response.resources.iter().map(text).collect();
                    write!(self.out, "< {kind} n{} [{}]", response.nonce, names.join(" ")).unwrap();
                    if !response.removed.is_empty() {
                        write!(self.out, " removed [{}]", response.removed.join(" ")).unwrap();
                    }
                    self.out.push('\n');
                }
                Action::Close { code, message } => writeln!(self.out, "< close {code:?}: {message}").unwrap(),
                Action::Observe(Event::Acked { type_url, resources, published_ms }) => {
                    let push = if published_ms.is_some() { " push" } else { "" };
                    writeln!(self.out, "! acked {} {resources}{push}", short(&type_url)).unwrap();
                }
                Action::Observe(Event::Nacked(nack)) => {
                    writeln!(self.out, "! nacked {} refused {:?}", short(&nack.type_url), nack.refused).unwrap();
                }
                Action::Observe(Event::GaveUp { type_url }) => {
                    writeln!(self.out, "! gave up on {}", short(&type_url)).unwrap();
                }
            }
        }
    }
}

#[test]
fn every_conversation_goes_as_it_is_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scripts");
    let mut scripts: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 10, "scripts are missing");
    for path in scripts {
        let expected = fs::read_to_string(&path).unwrap();
        let mut play = Play::new();
        for line in expected.lines().filter(|line| !line.starts_with(['<', '!'])) {
            play.line(line);
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &play.out).unwrap();
        } else {
            assert_eq!(play.out, expected, "{} (UPDATE=1 rewrites)", path.display());
        }
    }
}
