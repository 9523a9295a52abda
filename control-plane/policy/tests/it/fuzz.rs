//! A mutation fuzzer over the document parser, with a fixed seed. `TIDEGATE_TEST_FUZZ` sets the number of inputs. It runs on
//! every thread that the machine has, and prints how fast it was.
use std::{fs, path::PathBuf, time::Instant};

use tidegate_policy::{
    compile::{CompileInput, compile},
    ports::Everything,
    validate,
};

use crate::scenario::{now, stored};

const TOKENS: [&str; 36] = [
    "---\n",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "|",
    ">",
    "#",
    "\t",
    "\n",
    "null",
    "~",
    "true",
    "1e999",
    "-1",
    "18446744073709551616",
    "0x",
    ".nan",
    "\u{0}",
    "é",
    "\u{202e}",
    "type: Regex",
    "value: '(a*)*b'",
    "match: ",
    "spec: ",
    "kind: Model\n",
    "..",
    "%TAG ! x\n",
];

/// xorshift64*: small, seeded, the same everywhere.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap()
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() % n.max(1)
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/documents/in");
    let mut files: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort_by_key(|f| (!f.ends_with("valid.yaml"), f.clone()));
    files.iter().map(|f| fs::read(f).unwrap()).filter(|bytes| bytes.len() < 8192).collect()
}

fn mutate(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    // Half of the inputs begin as a valid body: the first of the corpus.
    let mut bytes = corpus[if rng.below(2) == 0 { 0 } else { rng.below(corpus.len()) }].clone();
    for _ in 0..=rng.below(6) {
        let at = rng.below(bytes.len() + 1);
        let len = rng.below(24).min(bytes.len() - at);
        match rng.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(rng.below(256)).unwrap(),
            2 => drop(bytes.drain(at..at + len)),
            3 => {
                let piece = bytes[at..at + len].to_vec();
                let to = rng.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            4 => {
                let other = &corpus[rng.below(corpus.len())];
                let from = rng.below(other.len());
                let piece = other[from..(from + rng.below(80)).min(other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => drop(bytes.splice(at..at, TOKENS[rng.below(TOKENS.len())].bytes())),
        }
    }
    bytes
}

/// How many inputs of one thread were valid.
fn run(seed: u64, inputs: usize, corpus: &[Vec<u8>]) -> usize {
    let mut rng = Rng(seed);
    let mut valid = 0;
    for _ in 0..inputs {
        let bytes = mutate(corpus, &mut rng);
        let Ok(objects) = validate::parse(&bytes) else { continue };
        valid += 1;
        let everything = Everything {
            objects: objects.iter().zip(0..).map(|(o, age)| stored(o, age)).collect(),
            ..Everything::default()
        };
        let compiled = compile(&CompileInput { everything: &everything, now: now() });
        assert_eq!(compiled.statuses.len(), objects.len());
    }
    valid
}

#[test]
fn the_parser_survives_mutated_documents() {
    let inputs: usize = std::env::var("TIDEGATE_TEST_FUZZ").map_or(20_000, |n| n.parse().expect("a number"));
    let corpus = corpus();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = inputs.div_ceil(threads);
    let began = Instant::now();
    let valid: usize = std::thread::scope(|scope| {
        let corpus = &corpus;
        let workers: Vec<_> =
            (1..).take(threads).map(|n| scope.spawn(move || run(0x9E37_79B9 * n, each, corpus))).collect();
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    let seconds = began.elapsed().as_secs_f64();
    println!("{} inputs in {seconds:.1} s on {threads} threads, {valid} of them valid", each * threads);
    assert!(valid > 0, "the mutations never leave a document valid: the compiler was not reached");
}
