//! Lists the pages of docs/errors for the library; it must never change one.
use std::{env, error::Error, fmt::Write as _, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let pages = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../docs/errors").canonicalize()?;
    println!("cargo:rerun-if-changed={}", pages.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&pages)? {
        let path = entry?.path();
        let code = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
        if code.starts_with("TG-") && path.extension().is_some_and(|e| e == "md") {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push((code, path));
        }
    }
    files.sort();
    let mut list = String::from("&[\n");
    for (code, path) in files {
        let text = fs::read_to_string(&path)?;
        let first = text.lines().next().unwrap_or_default();
        let title = first.strip_prefix(&format!("# {code}: "));
        let title = title.ok_or_else(|| format!("{}: the first line is not `# {code}: <title>`", path.display()))?;
        writeln!(list, "    Page {{ code: {code:?}, title: {title:?}, text: include_str!({path:?}) }},")?;
    }
    list.push(']');
    fs::write(Path::new(&env::var("OUT_DIR")?).join("pages.rs"), list)?;
    Ok(())
}
