//! Bytes that arrive in pieces, given out as whole characters. Holds back at most three bytes; never emits half a character.

/// What is not yet a whole character.
#[derive(Default, Debug)]
pub struct Utf8Buffer(Vec<u8>);

impl Utf8Buffer {
    /// Adds bytes and returns the characters that are whole now. A byte that can never be part of a character becomes U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.0) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.0.clear();
                    return text;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.0[..valid]));
                    let Some(bad) = error.error_len() else {
                        self.0.drain(..valid);
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.0.drain(..valid + bad);
                }
            }
        }
    }

    /// What is left; an unfinished character becomes one U+FFFD.
    pub fn finish(&mut self) -> String {
        let left = String::from_utf8_lossy(&self.0).into_owned();
        self.0.clear();
        left
    }
}

#[cfg(test)]
mod tests;
