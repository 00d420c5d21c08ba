//! The engines agree: on every shipped pattern, on lines made to match it, nearly match it, or not at all.
//!
//! `PVETRAIL_GROK_LINES` says how many lines to make in all; without it a short run.

use crate::grok::*;

fn only(text: &str, library: &Library, engine: Engine) -> Option<Grok> {
    let options = Options {
        named_captures_only: false,
        only: Some(engine),
    };
    Pattern::new(text, library, options)
        .ok()
        .map(|pattern| Grok::new(vec![pattern]))
}

/// Places of the match and of all captures; none where it does not match.
type Places = Option<Vec<Option<(u32, u32)>>>;

/// Match or not, where, and all captures; none where the engine can not say.
fn answer(grok: &Grok, scratch: &mut Scratch, line: &str) -> Option<Places> {
    match grok.matches(scratch, line) {
        Outcome::Spent(_) => None,
        Outcome::NoMatch => Some(None),
        Outcome::Match(_) => {
            let groups = grok.patterns()[0].groups().len();
            let mut all = vec![Some(scratch.whole())];
            all.extend((0..groups).map(|group| scratch.span(group)));
            Some(Some(all))
        }
    }
}

#[test]
fn engines_agree_on_every_shipped_pattern() {
    let lines: usize = std::env::var("PVETRAIL_GROK_LINES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(12_000);
    let mut compared = 0;
    let mut engines = [0usize; 3];
    let mut undecided = [0usize; 3];
    let mut differ = Vec::new();
    for spelling in [Spelling::EcsV1, Spelling::Legacy] {
        let library = Library::shared(spelling);
        let names = library.names();
        for name in &names {
            // Each pattern by itself, and in the middle of a line.
            for (form, text) in [format!("%{{{name}}}"), format!("^a %{{{name}:x}} z$")]
                .into_iter()
                .enumerate()
            {
                let groks: Vec<_> = [Engine::Scan, Engine::Regex, Engine::Fancy]
                    .into_iter()
                    .filter_map(|engine| only(&text, library, engine).map(|grok| (engine, grok)))
                    .collect();
                for (engine, _) in &groks {
                    engines[*engine as usize] += 1;
                }
                assert!(
                    groks.iter().any(|(engine, _)| *engine == Engine::Fancy),
                    "{text} has no fallback"
                );
                let mut scratches: Vec<_> = groks.iter().map(|(_, grok)| grok.scratch()).collect();
                let mut generator = Generator::new(compared as u64 ^ 0x5eed);
                for _ in 0..(lines / (4 * names.len())).max(1) {
                    let mut line = generator.line(&groks[0].1.patterns()[0]);
                    if form == 0 && generator.chance(3) {
                        line = format!("{}{line}{}", generator.noise(), generator.noise());
                    }
                    let answers: Vec<_> = groks
                        .iter()
                        .zip(&mut scratches)
                        .filter_map(|((engine, grok), scratch)| {
                            let answer = answer(grok, scratch, &line);
                            undecided[*engine as usize] += usize::from(answer.is_none());
                            Some((*engine, answer?))
                        })
                        .collect();
                    compared += 1;
                    if answers.windows(2).any(|pair| pair[0].1 != pair[1].1) {
                        let says = |answer: &Places| match answer {
                            None => "no match".to_owned(),
                            Some(places) => {
                                let other = answers.iter().filter_map(|(_, other)| other.as_ref());
                                let at = (0..places.len())
                                    .find(|&at| other.clone().any(|other| other[at] != places[at]));
                                format!("first other place {at:?}: {:?}", at.map(|at| places[at]))
                            }
                        };
                        let all: Vec<_> = answers
                            .iter()
                            .map(|(engine, answer)| format!("{engine}: {}", says(answer)))
                            .collect();
                        differ.push(format!("{text} on {line:?}:\n   {}", all.join("\n   ")));
                    }
                }
            }
        }
    }
    eprintln!(
        "{compared} lines compared; patterns for scan, regex, fancy: {engines:?}; lines each handed on: {undecided:?}"
    );
    assert!(
        differ.is_empty(),
        "{} of {compared} differ, among them:\n{}",
        differ.len(),
        differ[..differ.len().min(12)].join("\n")
    );
}
