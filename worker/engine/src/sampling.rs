//! Choosing the next token from logits. Pure: the same logits, parameters and seed give the same tokens on every machine.
use crate::error::EngineError;

/// How a request wants its tokens chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SamplingParams {
    /// 0: always the most probable token (the first of equals). Else logits are divided by it.
    pub temperature: f32,
    /// Only the most probable tokens whose probabilities sum to this much; 1: all.
    pub top_p: f32,
    /// Subtracted once from the logit of each token that was answered before.
    pub presence_penalty: f32,
    /// Subtracted for each time that the token was answered before.
    pub frequency_penalty: f32,
    /// Start of the random sequence: `SplitMix64` (Steele, Lea, Flood 2014), one draw per token, also when greedy.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, presence_penalty: 0.0, frequency_penalty: 0.0, seed: 0 }
    }
}

/// The chooser of one answer.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    state: u64,
    /// How often each token was chosen; only kept when a penalty is set.
    counts: std::collections::HashMap<u32, u32>,
}

impl Sampler {
    pub fn new(params: SamplingParams) -> Self {
        Self { params, state: params.seed, counts: std::collections::HashMap::new() }
    }

    /// The next token. Fails when a logit is NaN or plus infinity, or none is finite; minus infinity means "never".
    pub fn pick(&mut self, logits: &[f32]) -> Result<u32, EngineError> {
        if logits.iter().any(|l| l.is_nan() || *l == f32::INFINITY) || !logits.iter().any(|l| l.is_finite()) {
            return Err(EngineError::NotFinite);
        }
        let draw = self.draw();
        let adjusted = self.penalised(logits);
        let logits = adjusted.as_deref().unwrap_or(logits);
        let token = if self.params.temperature > 0.0 { sample(logits, &self.params, draw) } else { greedy(logits) };
        if self.penalises() {
            *self.counts.entry(token).or_default() += 1;
        }
        Ok(token)
    }

    fn penalises(&self) -> bool {
        self.params.presence_penalty != 0.0 || self.params.frequency_penalty != 0.0
    }

    #[allow(clippy::cast_precision_loss)]
    fn penalised(&self, logits: &[f32]) -> Option<Vec<f32>> {
        if !self.penalises() || self.counts.is_empty() {
            return None;
        }
        let mut out = logits.to_vec();
        for (token, count) in &self.counts {
            if let Some(logit) = out.get_mut(*token as usize) {
                *logit -= self.params.presence_penalty + self.params.frequency_penalty * *count as f32;
            }
        }
        Some(out)
    }

    /// Uniform in [0, 1), 53 bits.
    #[allow(clippy::cast_precision_loss)]
    fn draw(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn greedy(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in (0u32..).zip(logits) {
        if *logit > best.1 {
            best = (token, *logit);
        }
    }
    best.0
}

/// Walks the tokens from the most probable down (equals by id) until the cumulative probability passes the draw.
fn sample(logits: &[f32], params: &SamplingParams, draw: f64) -> u32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let temperature = f64::from(params.temperature);
    let mut weights: Vec<(u32, f64)> =
        (0u32..).zip(logits).map(|(token, l)| (token, (f64::from(*l - max) / temperature).exp())).collect();
    weights.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let total: f64 = weights.iter().map(|w| w.1).sum();
    let nucleus = f64::from(params.top_p.clamp(0.0, 1.0)) * total;
    let mut kept = 0.0;
    let mut count = 0;
    for (_, weight) in &weights {
        kept += weight;
        count += 1;
        if kept >= nucleus {
            break;
        }
    }
    let mut left = draw * kept;
    for (token, weight) in weights.iter().take(count) {
        left -= weight;
        if left < 0.0 {
            return *token;
        }
    }
    weights.first().map_or(0, |w| w.0)
}

#[cfg(test)]
mod tests;
