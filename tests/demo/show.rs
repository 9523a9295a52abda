//! What the demo prints: numbered steps, one line for each claim, a summary. It decides nothing.
use std::{fs, os::unix::fs::PermissionsExt, time::Instant};

use anyhow::Result;
use system_tests::tidegate::Tidegate;

/// The printed story and its score.
pub struct Show {
    began: Instant,
    steps: usize,
    passed: usize,
    failed: usize,
    key_file: Option<String>,
}

impl Show {
    pub fn new(began: Instant) -> Self {
        Self { began, steps: 0, passed: 0, failed: 0, key_file: None }
    }

    /// A headline.
    pub fn step(&mut self, what: &str) {
        self.steps += 1;
        println!("\n[{:>2}] {what}  (at {:.1} s)", self.steps, self.began.elapsed().as_secs_f64());
    }

    /// A line of explanation.
    pub fn detail(&self, line: &str) {
        println!("       {line}");
    }

    /// A claim that was tried just now.
    pub fn claim(&mut self, claim: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("   OK  {claim}");
            }
            Err(error) => {
                self.failed += 1;
                println!(" FAIL  {claim}: {error:#}");
            }
        }
    }

    /// Keeps the demo's API key where only this user can read it.
    pub fn keep_key(&mut self, tidegate: &Tidegate, key: &str) -> Result<()> {
        let file = tidegate.scratch("api-key");
        fs::write(&file, key)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        self.key_file = Some(file.to_string_lossy().into_owned());
        Ok(())
    }

    /// The last words of a demo that stays up.
    pub fn stays_up(&self, tidegate: &Tidegate) -> Result<()> {
        let place = tidegate.place();
        let key = self.key_file.as_deref().unwrap_or("KEY_FILE");
        println!("\nEverything stays up until Ctrl-C.");
        println!("  gateway (OpenAI API)   http://{}/v1", place.gateway);
        println!(
            "  admin REST             http://{}/openapi.json   token in {}",
            place.admin,
            place.data.join("admin-token").display()
        );
        println!("  metrics                http://{}/metrics", place.admin);
        println!("  logs                   {}", place.data.join("logs").display());
        println!("\nTry it:");
        println!("  curl -s http://{}/v1/chat/completions -H \"Authorization: Bearer $(cat {key})\" \\", place.gateway);
        println!("    -H 'Content-Type: application/json' -H 'X-Gray-Tag: v2.1' \\");
        println!(
            "    -d '{{\"model\":\"tide-chat\",\"messages\":[{{\"role\":\"user\",\"content\":\"What is assert?\"}}]}}'"
        );
        Ok(())
    }

    /// The score; the exit status of the program.
    pub fn summary(&self) -> i32 {
        println!("\ndemo: took {:.1} s", self.began.elapsed().as_secs_f64());
        println!("{} passed, {} failed", self.passed, self.failed);
        i32::from(self.failed > 0)
    }
}
