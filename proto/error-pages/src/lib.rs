//! What each error code means and what to do, inside the programs: `tidegate errors`, `tidegate-worker errors` and the admin API's
//! `/errors/<code>` answer from here, so nobody needs this repository or the internet. Texts only; it never decides anything.
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

/// One page of docs/errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// `TG-nnnn`.
    pub code: &'static str,
    pub title: &'static str,
    /// The whole page, Markdown.
    pub text: &'static str,
}

const PAGES: &[Page] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// What the codes of a range are about, by their first three characters behind `TG-`.
const AREAS: &[(&str, &str)] = &[
    ("10", "The form of a document"),
    ("11", "What a document says"),
    ("12", "The policy store"),
    ("13", "The admin API"),
    ("14", "Gateways and workers at the control plane"),
    ("15", "The programs: settings, command line, supervisor"),
    ("20", "The inference engine and the files of a model"),
    ("21", "A worker: its start and what it is pushed"),
    ("22", "A request to a worker"),
    ("23", "Limits"),
];

/// Every page, by code.
#[must_use]
pub fn all() -> &'static [Page] {
    PAGES
}

/// The page of a code, however it is written: `TG-1301`, `tg-1301` or `1301`.
#[must_use]
pub fn find(code: &str) -> Option<&'static Page> {
    let code = code.trim().to_ascii_uppercase();
    let digits = code.strip_prefix("TG-").unwrap_or(&code);
    PAGES.iter().find(|page| &page.code[3..] == digits)
}

/// The codes that stand in a text, each once, in their order.
#[must_use]
pub fn codes(text: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("TG-") {
        if let Some(page) = text.get(at..at + 7).and_then(find)
            && !found.contains(&page.code)
        {
            found.push(page.code);
        }
    }
    found
}

/// Codes and titles, one a line, under the name of their area.
#[must_use]
pub fn list() -> String {
    let mut out = String::new();
    for (area, pages) in by_area() {
        let _ = writeln!(out, "{}{area}", if out.is_empty() { "" } else { "\n" });
        for page in pages {
            let _ = writeln!(out, "  {}  {}", page.code, page.title);
        }
    }
    out
}

/// The index docs/errors/README.md.
#[must_use]
pub fn index() -> String {
    let mut out = String::from(
        "# Error codes\n\nEvery error of Tidegate has a stable code, and every code a page: what happened, why, and what to do. \
         The programs have the pages inside: `tidegate errors TG-1301` prints one, `tidegate errors` this list, a worker's image \
         has `tidegate-worker errors`, and the admin API answers `GET /errors/TG-1301`.\n\n\
         This list is made from the pages: `UPDATE=1 cargo test -p tidegate-error-pages` rewrites it.\n",
    );
    for (area, pages) in by_area() {
        let _ = write!(out, "\n## {area}\n\n| code | what happened |\n|---|---|\n");
        for Page { code, title, .. } in pages {
            let _ = writeln!(out, "| [{code}]({code}.md) | {title} |");
        }
    }
    out
}

fn by_area() -> impl Iterator<Item = (&'static str, Vec<&'static Page>)> {
    AREAS.iter().map(|(digits, area)| (*area, PAGES.iter().filter(|page| page.code[3..].starts_with(digits)).collect()))
}

impl Page {
    /// The page for a terminal: links show where they lead, from the root of the repository; emphasis has no stars.
    #[must_use]
    pub fn plain(&self) -> String {
        let mut out = String::new();
        let mut rest = self.text;
        while let Some((before, after)) = rest.split_once("](") {
            let (Some((target, tail)), Some((head, label))) = (after.split_once(')'), before.rsplit_once('[')) else {
                break;
            };
            let target = target.split('#').next().unwrap_or_default();
            let target = match (target.strip_prefix("../"), target.contains('/')) {
                (Some(below), _) => format!("docs/{below}"),
                (None, false) => target.trim_end_matches(".md").to_owned(),
                (None, true) => target.to_owned(),
            };
            let _ = if label.replace('`', "") == target {
                write!(out, "{head}{target}")
            } else {
                write!(out, "{head}{label} ({target})")
            };
            rest = tail;
        }
        out.push_str(rest);
        let out = out.replace("**", "");
        format!("{}\n", out.trim_start_matches("# ").trim_end())
    }
}
