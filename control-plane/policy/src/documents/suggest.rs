//! "Did you mean": the nearest of the known names. Only for messages.

/// `, did you mean "x"?` when a known name is near, else the known names.
pub(crate) fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(found, &known) {
        Some(name) => format!(", did you mean \"{name}\"?"),
        None if known.is_empty() => String::new(),
        None => format!("; known: {}", known.join(", ")),
    }
}

/// As [`did_you_mean`] where the message names what is known already.
pub(super) fn near(found: &str, known: &[&str]) -> String {
    nearest(found, known).map_or_else(String::new, |name| format!(", did you mean \"{name}\"?"))
}

fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|name| (distance(&found.to_lowercase(), &name.to_lowercase()), *name));
    near.filter(|(d, name)| *d <= 1 + name.len() / 4).min().map(|(_, name)| name)
}

/// Edits (insert, remove, replace) between two short texts; long ones are simply far apart.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}
