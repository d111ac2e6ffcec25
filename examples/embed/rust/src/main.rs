// SPDX-License-Identifier: Apache-2.0
//! Continues a text: continue BUNDLE PROMPT [TOKENS [TEMPERATURE [SEED]]]

mod lumen;

use lumen::{Decoder, Model, Sampler, Tokenizer};
use std::io::Write;

fn run(arguments: &[String]) -> lumen::Result<()> {
    let (bundle, prompt, rest) = match arguments {
        [bundle, prompt, rest @ ..] => (bundle, prompt, rest),
        _ => return Err("usage: continue BUNDLE PROMPT [TOKENS [TEMPERATURE [SEED]]]".into()),
    };
    let number = |place: usize, usual: f64| match rest.get(place) {
        Some(text) => text.parse::<f64>().map_err(|_| format!("{text:?} is no number")),
        None => Ok(usual),
    };
    let most = number(0, 64.0)? as usize;
    let mut model = Model::open(bundle)?;
    let tokenizer = Tokenizer::open(&format!("{bundle}/tokenizer.bin"))?;
    let mut decoder = Decoder::new(&tokenizer)?;
    let mut sampling = model.default_sampling();
    sampling.temperature = number(1, 0.0)?;
    sampling.seed = number(2, -1.0)? as i64;
    let mut sampler = Sampler::new(sampling)?;

    let mut next = tokenizer.encode(prompt)?;
    sampler.accept(&next)?;
    let mut logits = Vec::new();
    for _ in 0..most {
        if next.len() > model.room() {
            break;
        }
        model.step(&next, &mut logits)?;
        let token = sampler.sample(&logits)?;
        if tokenizer.ends(token) {
            break;
        }
        print!("{}", decoder.feed(token)?);
        std::io::stdout().flush().map_err(|error| error.to_string())?;
        next = vec![token];
    }
    println!();
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Err(text) = run(&arguments) {
        eprintln!("continue: {text}");
        std::process::exit(1);
    }
}
